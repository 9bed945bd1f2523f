"""k-reciprocal re-ranking (Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017).

Same numbers as the authors' Python code (zhunzhong07/person-re-ranking), whose three
dense matrices of all images by all images are replaced by their few non-zero entries.
"""

import numpy as np
import torch
from torch import Tensor

from reid_da.distances import as_tensor, at_least_float32, squared_euclidean_chunks

ROWS = 512  # images, or pairs of images, handled at once: bounds the memory, changes no result


@torch.no_grad()
def k_reciprocal_rerank(query_features, gallery_features, k1: int = 20, k2: int = 6, lambda_value: float = 0.3):
    """Re-ranked distances (1 - lambda) * Jaccard + lambda * original of queries to gallery (the paper's d*).

    All N = Q + G images are compared. original: d_ij = |x_i - x_j|^2 / max_j |x_i - x_j|^2. R(i): the k1-reciprocal
    neighbours of i, each image counted as its own first neighbour (so k1 + 1 of them), joined by those
    k1/2-reciprocal sets of its members of which more than 2/3 lies in R(i). V_i = exp(-d_i) on R(i), normalised to
    sum 1, then averaged over the k2 nearest images of i (i itself among them). Jaccard_ij = 1 - m / (2 - m) with m =
    sum of min(V_i, V_j).

    Args: query_features (Q, D), gallery_features (G, D): floats, numpy or torch on one device, as for `evaluate`
    (usually L2-normalised by the model); 1 <= k1, k2; 0 <= lambda_value <= 1.
    Returns (Q, G) distances: numpy if the queries are numpy, else a tensor; float64 for float64, else float32.
    Raises ValueError for arguments out of range, shapes that do not fit and values that are not finite.
    Differs from the authors' code in ties only: there equal distances fall as the sort has it, here an image always
    precedes its duplicates in its own list. Memory: two (Q, G) matrices, one of which is the result (7.1 GiB at MSMT17's size,
    0.4 at Market-1501's), a few (512, N) blocks and about 100 entries per image.
    """
    if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(
            f"found k1={k1}, k2={k2}, lambda_value={lambda_value}; expected k1, k2 >= 1 and lambda in 0..1"
        )
    queries, gallery = as_tensor(query_features), as_tensor(gallery_features)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"found {tuple(queries.shape)} and {tuple(gallery.shape)}, expected (Q, D) and (G, D)")
    features = at_least_float32(torch.cat([queries, gallery]))
    original, near, largest = _neighbours(features, len(queries), max(k1 + 1, k2))
    rows, columns = _reciprocal_sets(near[:, : k1 + 1], round(k1 / 2) + 1)
    weights = _weights(features, rows, columns, largest)
    if k2 > 1:
        rows, columns, weights = _average(rows, columns, weights, near[:, :k2])
    result = _jaccard(rows, columns, weights, *original.shape).mul_(1 - lambda_value).add_(original.mul_(lambda_value))
    return result.numpy() if isinstance(query_features, np.ndarray) else result


def _neighbours(features: Tensor, num_queries: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """original (Q, G); near (N, k), the nearest images of each, itself first; largest (N,), its largest squared distance."""
    num_images = len(features)
    original = features.new_empty(num_queries, num_images - num_queries)
    near = torch.empty(num_images, min(k, num_images), dtype=torch.int64, device=features.device)
    largest = features.new_empty(num_images)
    for start, block in squared_euclidean_chunks(features, features, ROWS):
        rows = slice(start, start + len(block))
        block.diagonal(start).fill_(-1)
        near[rows] = block.topk(near.shape[1], largest=False).indices
        largest[rows] = block.amax(1).clamp(min=torch.finfo(block.dtype).tiny)
        part = original[rows]  # no rows of it once the queries are done
        torch.div(block[: len(part), num_queries:], largest[rows][: len(part), None], out=part)
    return original, near, largest


def _reciprocal_sets(near: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """The expanded sets R(i) as pairs (i, member), ordered by i, then by member."""
    none = len(near)  # stands for no image
    mutual = _mutual(near)
    short = near[:, :half].masked_fill(~_mutual(near[:, :half]), none)
    sizes = (short < none).sum(1)
    rows, columns = [], []
    for start in range(0, len(near), ROWS):
        candidates, accepted = near[start : start + ROWS], mutual[start : start + ROWS]
        others = short[candidates]  # (rows, k1 + 1, half)
        own = candidates.masked_fill(~accepted, -1)
        shared = (others[..., None] == own[:, None, None, :]).any(3).sum(2)
        joined = accepted & (3 * shared > 2 * sizes[candidates])
        members = [candidates.masked_fill(~accepted, none), others.masked_fill(~joined[..., None], none).flatten(1)]
        inside = near.new_zeros(len(candidates), none + 1, dtype=torch.bool).scatter_(1, torch.cat(members, 1), True)
        row, column = inside[:, :none].nonzero(as_tuple=True)
        rows.append(row + start)
        columns.append(column)
    return torch.cat(rows), torch.cat(columns)


def _mutual(near: Tensor) -> Tensor:
    """(N, k) bool: is i among the k nearest of its own neighbour near[i, j]?"""
    images = torch.arange(len(near), device=near.device)[:, None, None]
    parts = zip(near.split(ROWS), images.split(ROWS), strict=True)
    return torch.cat([(near[part] == image).any(2) for part, image in parts])


def _weights(features: Tensor, rows: Tensor, columns: Tensor, largest: Tensor) -> Tensor:
    """V at the pairs: exp(-original distance), divided by its sum over a row."""
    squared, (ours, theirs) = largest.new_empty(len(rows)), features.new_empty(2, ROWS, features.shape[1])
    # into the same memory: the C library may not find what was freed fit to be used again
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        one, other = ours[: len(rows[part])], theirs[: len(rows[part])]
        torch.index_select(features, 0, rows[part], out=one)
        torch.index_select(features, 0, columns[part], out=other)
        torch.sum(one.sub_(other).square_(), 1, out=squared[part])
    weights = torch.exp(-squared / largest[rows])
    # a GPU adds in any order, of which float64 leaves nothing in what is rounded to float32
    sums = largest.new_zeros(len(largest), dtype=torch.float64)
    return weights / sums.index_add_(0, rows, weights.double()).to(weights.dtype)[rows]


def _average(rows: Tensor, columns: Tensor, weights: Tensor, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of the rows V_j over the images j in near[i], for each i; pairs ordered as before."""
    num_images, k = near.shape
    counts = torch.bincount(rows, minlength=num_images)
    first = counts.cumsum(0) - counts
    segment, entry = _ragged(first[near.flatten()], counts[near.flatten()])
    indices = torch.stack([segment // k, columns[entry]])
    mean = torch.sparse_coo_tensor(indices, weights[entry] / k, (num_images, num_images), check_invariants=False)
    mean = mean.coalesce()
    return *mean.indices(), mean.values()


def _jaccard(rows: Tensor, columns: Tensor, weights: Tensor, num_queries: int, num_gallery: int) -> Tensor:
    """1 - m / (2 - m), m the sum over columns of the smaller of two rows' weights: (Q, G).

    Column by column, since only the queries and the gallery images that share a non-zero column have something to add.
    """
    columns, order = columns.sort(stable=True)  # within a column the rows still ascend: queries first
    rows, weights = rows[order], weights[order]
    num_images = num_queries + num_gallery
    ends = torch.bincount(columns, minlength=num_images).cumsum(0).tolist()
    queries_in = torch.bincount(columns[rows < num_queries], minlength=num_images).tolist()
    shared = weights.new_zeros(num_queries, num_gallery)
    for start, count, end in zip([0, *ends], queries_in, ends, strict=False):
        middle = start + count
        if start < middle < end:
            smaller = torch.minimum(weights[start:middle, None], weights[middle:end])
            shared[rows[start:middle, None], rows[middle:end] - num_queries] += smaller
    for part in shared.split(ROWS):  # in place: there may be gigabytes of it
        part.div_(2 - part).neg_().add_(1)
    return shared


def _ragged(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The entries first[s], first[s] + 1, ... (counts[s] of them) of all segments s in turn: (segment, entry)."""
    segment = torch.repeat_interleave(counts)
    begin = counts.cumsum(0) - counts
    return segment, torch.arange(len(segment), device=counts.device) + (first - begin)[segment]
