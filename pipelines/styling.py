"""The styles stage's work: every target training image in every target camera's style, in shards that actors make.

Knows no ray, no mlflow, no hydra.
"""

import json
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan.translate import translate
from pipelines import cache
from pipelines.build import build
from pipelines.data_stage import SPLITS
from pipelines.files import load_weights, reporter, save_array
from reid_da import distributed, images
from reid_da.augment import colour_jitter
from reid_da.datasets.synthetic import redraw
from reid_da.images import ImageStore

SHARD = 512  # images in a shard of styles


def style(job: dict) -> None:
    """The whole stage in one process; a finished one is passed over."""
    with cache.writing(job):
        if not Path(job["folder"]).is_dir():
            for shard in style_shards(job):
                _save_shard(shard, _styled(shard))
            _merge(job)


def style_shards(job: dict) -> list[dict]:
    """The job's shards that are not on disk yet: deterministic ranges of the target's training images."""
    count = len(ImageStore(Path(job["inputs"]["target"]) / "train"))
    shards = [{**job, "rows": [a, min(a + SHARD, count)], "count": count} for a in range(0, count, SHARD)]
    return [shard for shard in shards if not _shard_path(shard).exists()]


def style_shard(job: dict) -> None:
    """One shard of many actors': images rows[0]..rows[1] in every camera's style, written whole to its own file."""
    styled = _styled(job)
    with cache.writing(job):
        _save_shard(job, styled)


def _styled(job: dict) -> np.ndarray:
    torch.set_num_threads(job["threads"])
    store = _store(str(Path(job["inputs"]["target"]) / "train"))
    make = {"generator": _translated, "jitter": _jittered, "redrawn": _redrawn}[job["settings"]["styles"]]
    return make(job, store, np.arange(*job["rows"]))


def _save_shard(job: dict, styled: np.ndarray) -> None:
    path = _shard_path(job)
    path.parent.mkdir(exist_ok=True)
    save_array(path, styled)
    done = sum(1 for _ in path.parent.glob("*.npy")) * SHARD
    reporter(job)(min(done, job["count"]), job["count"])


def _translated(job: dict, store: ImageStore, rows: np.ndarray) -> np.ndarray:
    generator = trained_generator(job["inputs"]["generator"], store.num_cameras, distributed.device())
    return translate(generator, store.images[rows[0] : rows[-1] + 1], store.num_cameras).numpy()


def _jittered(job: dict, store: ImageStore, rows: np.ndarray) -> np.ndarray:
    return colour_jitter(store.images[rows], store.num_cameras, rows, job["settings"]["jitter"])


def _redrawn(job: dict, store: ImageStore, rows: np.ndarray) -> np.ndarray:
    """What the other cameras would really have shown: only a drawn world can tell."""
    draw, (height, width) = job["settings"]["draw"], store.images.shape[1:3]
    styled = np.empty((len(rows), store.num_cameras, height, width, 3), dtype=np.uint8)
    for i, row in enumerate(rows):
        for k, camera in enumerate(store.camera_names):
            image = redraw(draw["world"], draw["seed"], store.paths[row], int(camera))
            styled[i, k] = Image.fromarray(image).resize((width, height), images.FILTERS[SPLITS["train"]])
    return styled


def merge_styles(job: dict) -> None:
    """All shards as one array styled.npy, (N, K, H, W, 3) uint8."""
    with cache.writing(job):
        _merge(job)


def _merge(job: dict) -> None:
    part = Path(job["part"])
    shards = sorted((part / "shards").glob("*.npy"))
    first = np.load(shards[0], mmap_mode="r")
    count = len(ImageStore(Path(job["inputs"]["target"]) / "train"))
    merged = images.allocate(part / "styled.npy", (count, *first.shape[1:]))
    place = 0
    for shard in shards:
        rows = np.load(shard)
        merged[place : place + len(rows)] = rows
        place += len(rows)
    assert place == count, (place, count)
    merged.flush()
    shutil.rmtree(part / "shards")  # with what a killed actor had not written whole
    cache.finish(job)


def _shard_path(job: dict) -> Path:
    return Path(job["part"]) / "shards" / f"{job['rows'][0]:08d}.npy"


_store = lru_cache(maxsize=2)(ImageStore)  # an actor does many shards


@lru_cache(maxsize=1)
def trained_generator(folder: str, num_cameras: int, device: str):
    block = json.loads((Path(folder) / "stage.json").read_text())["settings"]["generator"]
    generator = build(block, num_cameras)
    generator.load_state_dict(load_weights(Path(folder) / "generator.pt"))
    return generator.to(device).eval()
