"""A trained method on a data stage's query and gallery: its scores, and the features that the views look at.

Runs in every worker of the training group, or in the command's own process. Knows no ray, no mlflow, no hydra.
"""

from pathlib import Path

import numpy as np
import torch

from pipelines.files import save_array
from reid_da import distributed
from reid_da.augment import normalise
from reid_da.images import ImageStore
from reid_da.ranking import RankMetrics, evaluate
from reid_da.retrieval import embed


def evaluate_on(method, data: Path) -> tuple[RankMetrics, dict[str, torch.Tensor]]:
    """The scores on a data stage's query and gallery, and their features; each rank embeds its part."""
    distributed.assert_equal(dict(method.named_buffers()))
    stores, features = {}, {}
    for split in ("query", "gallery"):
        store = stores[split] = ImageStore(data / split)
        rows = np.array_split(np.arange(len(store)), distributed.world())[distributed.rank()]
        features[split] = distributed.gather_uneven(
            embed(method, store, normalise, rows=rows, device=distributed.device())
        )
    sides = [(features[s], stores[s].persons, stores[s].cameras) for s in ("query", "gallery")]
    return evaluate(*sides[0], *sides[1]), features


def scores(method, job: dict, role: str) -> dict:
    """What result.json says of one of the stage's data sets, "target" or "source". Rank 0 keeps the target's features."""
    metrics, features = evaluate_on(method, Path(job["inputs"][role]))
    if role == "target" and distributed.rank() == 0:
        for split, rows in features.items():
            save_array(Path(job["part"]) / f"{split}_features.npy", rows.cpu().numpy())
    return {
        **{f"rank{k}": float(metrics.cmc[k - 1]) for k in (1, 5, 10, 20)},
        "mAP": metrics.mAP,
        "mAP_trapezoid": metrics.mAP_trapezoid,
        "num_valid_queries": metrics.num_valid_queries,
        "cmc": [float(value) for value in metrics.cmc[:50]],
    }
