"""Features of a store of images, and an exact FAISS index to search a gallery with them.

Evaluation embeds query and gallery here, ranked lists search the index, HHL samples from the clusters. This
is the only module that imports faiss, and only when index() or clusters() is called.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def embed(
    method: nn.Module,
    store,
    to_input: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    rows=None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The test features of a store's images: method.embed in evaluation mode, without gradient, batch by batch.

    The features are what method.embed gives (HHL: L2-normalised pool5); nothing is normalised here. Every module's
    training flag is put back afterwards, also when embedding fails.

    Args: method, on `device`, with embed((B, 3, H, W) float) -> (B, D); store, with `images` (N, H, W, 3) uint8
    (numpy array or memmap) and a length; to_input, from (B, H, W, 3) uint8 on `device` to what embed takes; rows,
    integers into the store (all by default), in the order wanted: a rank passes its share; progress, told the number of rows
    done after each batch.
    Returns (len(rows), D) float32 on the CPU. Raises ValueError for no rows, rows outside the store or features that
    are not (B, D).
    """
    rows = np.arange(len(store)) if rows is None else np.asarray(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(store):
        limits = f"{rows.min()} to {rows.max()}" if rows.size else "none"
        found = f"rows {limits}, {rows.dtype} {rows.shape}"
        raise ValueError(f"found {found}; expected one or more integers in 0..{len(store) - 1}, in one dimension")
    training, parts = {module: module.training for module in method.modules()}, []
    method.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                parts.append(_embed_batch(method, store, to_input, rows[start : start + batch_size], device))
                if progress:
                    progress(min(start + batch_size, len(rows)))
    finally:
        for module, flag in training.items():
            module.training = flag
    return torch.cat(parts)  # outside inference mode, so that the result is an ordinary tensor


def _embed_batch(method: nn.Module, store, to_input, rows: np.ndarray, device) -> Tensor:
    images = torch.from_numpy(np.array(store.images[rows])).to(device, non_blocking=True)
    features = method.embed(to_input(images))
    if features.ndim != 2 or len(features) != len(rows):
        raise ValueError(f"method.embed gave features {tuple(features.shape)} for {len(rows)} images, expected (B, D)")
    return features.float().cpu()


def index(features):
    """An exact FAISS index (IndexFlatL2) of features (N, D), torch or numpy; row i of the answers is features[i].

    It ranks by Euclidean distance, as reid_da.ranking.evaluate does; for L2-normalised features that is the order of
    the cosine too. Raises ValueError unless features are (N, D) and finite.
    """
    import faiss

    features = _vectors(features)
    flat = faiss.IndexFlatL2(features.shape[1])
    flat.add(features)
    return flat


def nearest(index, features, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest indexed rows of each of (Q, D) features: Euclidean distances (Q, k) float32, ascending, rows (Q, k) int64.

    Raises ValueError unless features are (Q, D) with the index's D and finite, and 1 <= k <= number of indexed rows.
    """
    features = _vectors(features)
    if features.shape[1] != index.d or not 1 <= k <= index.ntotal:
        expected = f"expected {index.d} dimensions and k in 1..{index.ntotal}"
        raise ValueError(f"found {features.shape[1]} dimensions and k = {k}, {expected}")
    squared, rows = index.search(features, k)
    return torch.from_numpy(squared).clamp_(min=0).sqrt_(), torch.from_numpy(rows)


def clusters(features, count: int, *, seed: int = 0) -> np.ndarray:
    """(N,) int64 numbers 0..count-1: k-means clusters (FAISS, 20 iterations, Euclidean) of features (N, D).

    features: torch or numpy. The best of five starts; deterministic for a seed. Raises ValueError unless features are (N, D)
    and finite, and 1 <= count <= N, and every cluster has a row.
    """
    import faiss

    features = _vectors(features)
    if not 1 <= count <= len(features):
        raise ValueError(f"found {count} clusters of {len(features)} rows; expected 1 to {len(features)}")
    points = max(1, -(-len(features) // count))  # FAISS would take a sample of more, and warn of fewer than 39
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": points}
    means = faiss.Kmeans(features.shape[1], count, niter=20, nredo=5, seed=seed, **limits)
    means.train(features)
    found = means.index.search(features, 1)[1][:, 0]
    if (distinct := len(np.unique(found))) < count:
        raise ValueError(f"found {distinct} clusters of {len(features)} rows, many of them alike; expected {count}")
    return found


def _vectors(features) -> np.ndarray:
    features = features.detach().cpu().float().numpy() if isinstance(features, Tensor) else features
    features = np.ascontiguousarray(features, dtype=np.float32)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"found features {features.shape}, expected (N, D), all finite")
    return features
