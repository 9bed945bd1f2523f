"""Retrieval quality by the Market-1501 protocol: CMC, mAP and mINP from distances or from features.

Called by pipelines (evaluation of a method, tables) and benchmarks/ranking.py. Nothing is sorted but each query's own
true matches: the rank of a match is found by counting, which is several times faster than sorting the gallery. Matrix
products run on the device of the features; the counting runs in numpy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_da.distances import as_tensor, at_least_float32, squared_euclidean_chunks
from reid_da.reranking import k_reciprocal_rerank

__all__ = ["RankMetrics", "evaluate", "k_reciprocal_rerank", "rank_metrics"]

JUNK = -1  # a gallery person that counts neither as right nor as wrong
MIN_RANKS = 50  # the least length of a cmc


@dataclass(frozen=True, eq=False)
class RankMetrics:
    """What a ranking is worth: fractions 0..1, means over the valid queries.

    cmc: float64, cmc[k - 1] = share of queries with a true match among the first k; max(50, G) entries, the last is 1.
    mAP: mean over queries of the mean precision at the true matches (literature since 2020, torchreid, fast-reid).
    mAP_trapezoid: as mAP, with the mean of the precision at the match and just before it (1 before the first item):
        the AP of the official Market-1501 code and of HHL, never above mAP. Compare with HHL and ARN by this one.
    mINP: mean over queries of number of true matches / rank of the last of them (Ye et al., TPAMI 2021).
    num_queries, num_valid_queries: the difference had no true match left in the gallery and was skipped.
    """

    cmc: np.ndarray
    mAP: float
    mAP_trapezoid: float
    mINP: float
    num_queries: int
    num_valid_queries: int

    def rank(self, k: int) -> float:
        """cmc at rank k = 1, 2, ...; constant beyond the gallery. Raises ValueError for k < 1."""
        if k < 1:
            raise ValueError(f"found rank {k}, expected 1 or more: ranks count from 1")
        return float(self.cmc[min(k, len(self.cmc)) - 1])


@torch.no_grad()
def rank_metrics(distances, query_persons, query_cameras, gallery_persons, gallery_cameras) -> RankMetrics:
    """CMC, both mAPs and mINP of a distance matrix, by the Market-1501 single-query protocol.

    For each query, gallery items of the same person AND the same camera are taken out, and items of person -1 (junk)
    for all queries. Person 0 (distractors) needs no rule: no query has it, so it is a wrong answer to all. Queries
    without a true match left are skipped and counted.
    Ties count against the ranking: among items at one distance the true matches come last, that is, the k-th nearest
    true match has rank k + number of wrong items at its distance or nearer. So a model that gives one feature to all
    images is worth little whatever the order of the gallery (peers leave that to an unstable sort).

    Args: distances (Q, G), smaller is nearer, any sign; integer ids and cameras (Q,), (Q,), (G,), (G,). Torch tensors
    on any device, or whatever numpy takes. Nothing is computed below float32 or the input's precision.
    Raises ValueError for shapes or types that do not fit, a distance that is not finite, or no valid query at all.
    """
    distances = as_tensor(distances)
    distances = at_least_float32(distances) if distances.is_floating_point() else distances.double()
    protocol = _protocol(query_persons, query_cameras, gallery_persons, gallery_cameras, tuple(distances.shape))
    if not torch.stack(distances.aminmax()).isfinite().all():
        raise ValueError("found distances that are NaN or infinite, expected finite ones: look at the features")
    return _metrics(_match_ranks(enumerate(distances[:, None]), protocol), protocol)


@torch.no_grad()
def evaluate(
    query_features, query_persons, query_cameras, gallery_features, gallery_persons, gallery_cameras
) -> RankMetrics:
    """rank_metrics of the Euclidean distances between features as given (they are not normalised here).

    Computed by chunks of queries, never holding a Q x G matrix, from squared distances (the same ranking), in at least
    float32. Ties are those of computed distances: in some matrix products equal features differ by the last digit.

    Args: query_features (Q, D) and gallery_features (G, D), floats on one device; the others, the result and the errors
    are those of rank_metrics.
    """
    query_features, gallery_features = as_tensor(query_features), as_tensor(gallery_features)
    shape = (len(query_features), len(gallery_features))
    protocol = _protocol(query_persons, query_cameras, gallery_persons, gallery_cameras, shape)
    return _metrics(_match_ranks(squared_euclidean_chunks(query_features, gallery_features), protocol), protocol)


class _Protocol(NamedTuple):
    """Who matches whom, as slices of one order of the gallery: by person, then camera, so that junk comes first."""

    order: np.ndarray  # (G,) gallery rows
    num_junk: int
    person: np.ndarray  # (Q, 2) first and end of the query's person in that order
    camera: np.ndarray  # (Q, 2) first and end of the query's person in the query's camera
    num_matches: np.ndarray  # (Q,)


def _protocol(query_persons, query_cameras, gallery_persons, gallery_cameras, shape) -> _Protocol:
    queries = _pairs("query", query_persons, query_cameras)
    gallery = _pairs("gallery", gallery_persons, gallery_cameras)
    if shape != (len(queries), len(gallery)):
        raise ValueError(
            f"found distances or features of {shape} query and gallery items, expected as many as there are persons: "
            f"{(len(queries), len(gallery))}"
        )
    _, codes = np.unique(np.concatenate([gallery, queries]), axis=0, return_inverse=True)  # ordered by person, camera
    gallery_codes, query_codes = np.split(codes.reshape(-1), [len(gallery)])
    order = np.argsort(gallery_codes, kind="stable")
    persons = gallery[order, 0]
    person = _slices(persons, queries[:, 0])
    camera = _slices(gallery_codes[order], query_codes)
    num_matches = np.where(queries[:, 0] == JUNK, 0, (person - camera) @ [-1, 1])
    if not num_matches.any():
        shared = np.setdiff1d(np.intersect1d(queries[:, 0], persons), [JUNK])
        num_shared = np.isin(queries[:, 0], shared).sum()
        raise ValueError(
            f"none of {len(queries)} queries has a true match in another camera: {len(shared)} persons are in query and "
            f"gallery, and their {num_shared} queries find them only in the query's own camera"
        )
    return _Protocol(order, int(np.searchsorted(persons, JUNK, "right")), person, camera, num_matches)


def _pairs(name: str, persons, cameras) -> np.ndarray:
    both = [values.cpu() if isinstance(values, Tensor) else values for values in (persons, cameras)]
    both = [np.asarray(values) for values in both]
    if any(v.ndim != 1 or v.dtype.kind not in "iu" for v in both) or len(both[0]) != len(both[1]):
        found = " and ".join(f"{v.dtype} {v.shape}" for v in both)
        raise ValueError(f"found {name} persons and cameras {found}, expected integers (N,) and (N,)")
    if (both[0] < JUNK).any():
        raise ValueError(f"found {name} person {both[0].min()}, expected {JUNK} (junk), 0 (distractor) or more")
    return np.stack(both, axis=1).astype(np.int64)


def _slices(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.searchsorted(ordered, values, side) for side in ("left", "right")], axis=1)


def _match_ranks(blocks: Iterable[tuple[int, Tensor]], protocol: _Protocol) -> np.ndarray:
    """The ranks of all true matches, from 1: query after query, ascending within each. (sum of num_matches,)"""
    ranks = []
    for start, block in blocks:
        for query, row in enumerate(block.cpu().numpy(), start):
            if protocol.num_matches[query]:
                ranks.append(_ranks_in_row(row, query, protocol))
    return np.concatenate(ranks)


def _ranks_in_row(row: np.ndarray, query: int, protocol: _Protocol) -> np.ndarray:
    first, end = protocol.person[query]
    same_first, same_end = protocol.camera[query]
    person = row[protocol.order[first:end]]
    matches = np.sort(np.concatenate([person[: same_first - first], person[same_end - first :]]))
    # One limit at a time: a row stays in the cache, and numpy counts bools faster than anything sorts. No threads: they
    # would gain little in steps this small and lose much on a busy machine.
    near = np.empty(len(row), dtype=bool)
    items = [np.count_nonzero(np.less_equal(row, match, out=near)) for match in matches]
    no_answers = np.sort(np.concatenate([person, row[protocol.order[: protocol.num_junk]]]))
    wrong = items - np.searchsorted(no_answers, matches, "right")
    return wrong + np.arange(1, len(matches) + 1)


def _metrics(ranks: np.ndarray, protocol: _Protocol) -> RankMetrics:
    lengths = protocol.num_matches[protocol.num_matches > 0]
    starts = np.cumsum(lengths) - lengths
    nth = np.arange(1, len(ranks) + 1) - np.repeat(starts, lengths)  # nth match of its query, from 1
    precision = nth / ranks
    before = np.where(ranks > 1, (nth - 1) / np.maximum(ranks - 1, 1), 1.0)
    found_by = np.bincount(ranks[starts], minlength=max(MIN_RANKS, len(protocol.order)) + 1)[1:].cumsum()
    return RankMetrics(
        cmc=found_by / len(lengths),
        mAP=float((np.add.reduceat(precision, starts) / lengths).mean()),
        mAP_trapezoid=float((np.add.reduceat((precision + before) / 2, starts) / lengths).mean()),
        mINP=float((lengths / ranks[starts + lengths - 1]).mean()),
        num_queries=len(protocol.num_matches),
        num_valid_queries=len(lengths),
    )
