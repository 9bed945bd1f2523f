"""A trained method on a data stage's query and gallery: its scores, and the features that the views look at.

Runs in every worker of the training group, or in the command's own process.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipelines.files import save_array
from reid_da import distributed
from reid_da.augment import normalise
from reid_da.images import ImageStore
from reid_da.ranking import RankMetrics, evaluate
from reid_da.retrieval import embed

SHOWN = 1000  # crops of a data set without persons whose features are kept, for the map of features


def looked_at(count: int) -> np.ndarray:
    """Rows of the crops of a training store of `count` whose features are kept where there are no query and gallery, ascending."""
    return np.linspace(0, count - 1, min(SHOWN, count)).astype(int)


def evaluate_on(
    method, data: Path, report: Callable | None = None, **protocol
) -> tuple[RankMetrics, dict[str, torch.Tensor]]:
    """The scores on a data stage's query and gallery, and their features, on the CPU.

    Each rank embeds its part, and the first one ranks, on its device. report: report(images done, in all). protocol: as for
    ranking.evaluate.
    """
    distributed.assert_equal(dict(method.named_buffers()))
    stores, features = {split: ImageStore(data / split) for split in ("query", "gallery")}, {}
    total, before = sum(map(len, stores.values())), 0
    for split, store in stores.items():
        progress = partial(_report, report, before, total) if report else None
        features[split] = features_of(method, store, np.arange(len(store)), progress)
        before += len(store)

    def ranked() -> RankMetrics:
        query, gallery = (
            (features[s].to(distributed.device()), stores[s].persons, stores[s].cameras) for s in ("query", "gallery")
        )
        return evaluate(*query, *gallery, **protocol)

    return distributed.of_first(ranked), features


def _report(report: Callable, before: int, total: int, done: int) -> None:
    report(min(before + done * distributed.world(), total), total)


def features_of(method, store: ImageStore, rows: np.ndarray, progress: Callable | None = None) -> torch.Tensor:
    """(len(rows), D) of these rows, on every rank; each embeds its part. progress: progress(rows that this rank has done)."""
    own = np.array_split(rows, distributed.world())[distributed.rank()]
    few, device = own if len(own) else rows[:1], distributed.device()
    embedded = embed(method, store, normalise, rows=few, device=device, progress=progress)
    return distributed.gather_uneven(embedded[: len(own)])  # of fewer rows than ranks some have none


def scores(method, job: dict, role: str) -> dict | None:
    """What result.json says of one of the stage's data sets, "target" or "source"; None of one without query and gallery.

    Rank 0 keeps the target's features: query_features.npy and gallery_features.npy, or train_features.npy of the rows looked_at.
    """
    data = Path(job["inputs"][role])
    judged = len(ImageStore(data / "query")) > 0
    if judged:
        metrics, features = evaluate_on(method, data, same_camera=job["settings"].get("same_camera", False))
    elif role == "target":
        distributed.assert_equal(dict(method.named_buffers()))
        store = ImageStore(data / "train")
        features = {"train": features_of(method, store, looked_at(len(store)))}
    if role == "target" and distributed.rank() == 0:
        for split, rows in features.items():
            save_array(Path(job["part"]) / f"{split}_features.npy", rows.cpu().numpy())
    return as_dict(metrics) if judged else None


def as_dict(metrics: RankMetrics) -> dict:
    """What result.json says of a ranking."""
    return {
        **{f"rank{k}": float(metrics.cmc[k - 1]) for k in (1, 5, 10, 20)},
        "mAP": metrics.mAP,
        "mAP_trapezoid": metrics.mAP_trapezoid,
        "mINP": metrics.mINP,
        "num_queries": metrics.num_queries,
        "num_valid_queries": metrics.num_valid_queries,
        "cmc": [float(value) for value in metrics.cmc[:50]],
    }
