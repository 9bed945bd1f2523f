"""The style_retrieval stage's work: does a trained method find the originals of styled images? It asks for no label."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from gan.translate import translate
from pipelines import cache
from pipelines.device import stage_work
from pipelines.styling import trained_generator
from pipelines.training import trained_method
from reid_da import distributed
from reid_da.augment import normalise
from reid_da.images import ImageStore
from reid_da.style_features import retrieval_measure

IMAGES = 512  # held-out crops at most, evenly over query and gallery
CHUNK = 256  # images embedded together


@stage_work
def retrieve(job: dict) -> None:
    """One style_retrieval stage; a finished one is passed over. Rank 0 of the group does it.

    Inputs: method, target, generator. result.json: style_retrieval and style_rank1 (null where the target has one camera),
    images (how many were asked for).
    """
    first = distributed.rank() == 0
    with cache.writing(job) if first else nullcontext():
        if first and not Path(job["folder"]).is_dir():
            method = trained_method(Path(job["inputs"]["method"])).to(distributed.device())
            result = style_retrieval(method, Path(job["inputs"]["target"]), job["inputs"]["generator"])
            cache.write_json(Path(job["part"]) / "result.json", result)
            cache.finish(job)
        distributed.broadcast(None)  # nobody goes on before the folder is in place


@torch.inference_mode()
def style_retrieval(method, data: Path, generator: str) -> dict:
    """What result.json says. The crops are query and gallery images, which no training sees; persons are not looked at.

    Args:
        method: a module with `embed`; left in evaluation mode. data, generator: folders of the target's stages.
    """
    train = ImageStore(data / "train")
    images, cameras = _held_out(data, train.camera_names)
    if len(train.camera_names) < 2 or not len(images):
        return {"style_retrieval": None, "style_rank1": None, "images": len(images)}
    device = distributed.device()
    translator = trained_generator(generator, train.num_cameras, device)
    method.eval()
    features = []
    size = max(1, CHUNK // (1 + train.num_cameras))
    for start in range(0, len(images), size):
        real = torch.from_numpy(images[start : start + size])
        variants = torch.cat([real[:, None], translate(translator, real, train.num_cameras)], dim=1)
        embedded = method.embed(normalise(variants.flatten(0, 1).to(device))).float().cpu()
        features.append(embedded.unflatten(0, variants.shape[:2]))
    both = torch.cat(features).numpy()
    score, rank1 = retrieval_measure(both[:, 0], both[:, 1:], cameras)
    return {"style_retrieval": score, "style_rank1": rank1, "images": len(images)}


def _held_out(data: Path, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, 3) and their cameras' places among the training images' cameras; N at most IMAGES."""
    stores = [ImageStore(data / split) for split in ("query", "gallery")]
    known = [(s, row) for s, store in enumerate(stores) for row in np.flatnonzero(np.isin(store.cameras, names))]
    chosen = [known[place] for place in np.linspace(0, len(known) - 1, min(IMAGES, len(known))).astype(int)]
    images = np.array([stores[s].images[row] for s, row in chosen])
    cameras = np.searchsorted(names, np.array([stores[s].cameras[row] for s, row in chosen], dtype=int))
    return images, cameras
