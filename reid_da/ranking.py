"""Retrieval quality by the Market-1501 protocol: CMC, mAP and mINP from distances or from features.

The rank of a true match is found by counting, and only what is about as near as the nearest is sorted, which is several
times faster than sorting the gallery. Matrix products run on the device of the features; the counting runs in numpy, on
a GPU there, where sorting is fast.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_da.distances import as_tensor, at_least_float32, squared_euclidean_chunks
from reid_da.protocol import Protocol, protocol
from reid_da.reranking import k_reciprocal_rerank

__all__ = ["RankMetrics", "evaluate", "k_reciprocal_rerank", "rank_metrics"]

MIN_RANKS = 50  # the least length of a cmc
FEW = 32  # a gallery's part, 1 in so many, that is sooner sorted than counted again
ROWS = 1024  # queries handled at once: bounds the memory, changes no result


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
def rank_metrics(
    distances,
    query_persons,
    query_cameras,
    gallery_persons,
    gallery_cameras,
    *,
    same_camera: bool = False,
    single_shot: int = 0,
    seed: int = 0,
) -> RankMetrics:
    """CMC, both mAPs and mINP of a distance matrix, by the Market-1501 single-query protocol.

    For each query, gallery items of the same person AND the same camera are taken out, and items of person -1 (junk)
    for all queries. Person 0 (distractors) needs no rule: in sets that have them no query shows it, so it is a wrong answer
    to all; were one to, it would match as others do. Queries without a true match left are skipped and counted.
    Ties count against the ranking: among items at one distance the true matches come last, that is, the k-th nearest
    true match has rank k + number of wrong items at its distance or nearer. So a model that gives one feature to all
    images is worth little whatever the order of the gallery (peers leave that to an unstable sort).

    Args: distances (Q, G), smaller is nearer, any sign; integer ids and cameras (Q,), (Q,), (G,), (G,). Torch tensors
    on any device, or whatever numpy takes. Nothing is computed below float32 or the input's precision.
    same_camera: items of the query's person in its own camera count as matches, for a network of one camera.
    single_shot: number of draws of a gallery with one image of each person (single-gallery-shot, Li et al., CVPR 2014, of
    CUHK03); all figures are means over them. 0: all images, by which Market-1501, DukeMTMC-reID and MSMT17 are compared.
    Each query's draws are a pure function of (seed, query); of its own person a true match is drawn, of distractors one.
    Raises ValueError for shapes or types that do not fit, a distance that is not finite, or no valid query at all.
    """
    distances = as_tensor(distances)
    distances = at_least_float32(distances) if distances.is_floating_point() else distances.double()
    who = protocol(query_persons, query_cameras, gallery_persons, gallery_cameras, tuple(distances.shape), same_camera)
    if not torch.stack(distances.aminmax()).isfinite().all():
        raise ValueError("found distances that are NaN or infinite, expected finite ones: look at the features")
    return _metrics(zip(range(0, len(distances), ROWS), distances.split(ROWS), strict=True), who, single_shot, seed)


@torch.no_grad()
def evaluate(
    query_features,
    query_persons,
    query_cameras,
    gallery_features,
    gallery_persons,
    gallery_cameras,
    *,
    same_camera: bool = False,
    single_shot: int = 0,
    seed: int = 0,
) -> RankMetrics:
    """rank_metrics of the Euclidean distances between features as given (they are not normalised here).

    Computed by chunks of queries, never holding a Q x G matrix, from squared distances (the same ranking), in at least
    float32. Ties are those of computed distances: in some matrix products equal features differ by the last digit.

    Args: query_features (Q, D) and gallery_features (G, D), floats on one device; the others, the result and the errors
    are those of rank_metrics.
    """
    query_features, gallery_features = as_tensor(query_features), as_tensor(gallery_features)
    shape = (len(query_features), len(gallery_features))
    who = protocol(query_persons, query_cameras, gallery_persons, gallery_cameras, shape, same_camera)
    return _metrics(squared_euclidean_chunks(query_features, gallery_features, ROWS), who, single_shot, seed)


def _metrics(blocks: Iterable[tuple[int, Tensor]], who: Protocol, single_shot: int, seed: int) -> RankMetrics:
    """blocks: (first query, its and the next queries' distances (B, G)), in turn."""
    if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in (single_shot, seed)):
        raise ValueError(
            f"found single_shot={single_shot}, seed={seed}; expected a number of draws, 0 for none, and a seed"
        )
    ranks, valid = [], np.flatnonzero(who.num_matches)
    for start, block in blocks:
        queries = valid[slice(*np.searchsorted(valid, [start, start + len(block)]))]
        if not len(queries):
            continue
        if block.is_cuda and not single_shot:
            ranks.append(_ranks_in_block(block[torch.from_numpy(queries - start)], queries, who))
            continue
        rows = block.cpu().numpy()
        for query in queries:
            row = rows[query - start]
            ranks.append(
                _drawn_ranks(row, query, who, single_shot, seed) if single_shot else _ranks_in_row(row, query, who)
            )
    lengths = np.ones(len(valid) * single_shot, dtype=int) if single_shot else who.num_matches[valid]
    return _summed_up(np.concatenate(ranks), lengths, who, len(valid))


def _ranks_in_row(row: np.ndarray, query: int, who: Protocol) -> np.ndarray:
    """The ranks of the query's true matches, from 1, ascending."""
    first, end = who.person[query]
    matches = row[who.matches(query)]
    matches.sort()
    # One match at a time, from the farthest: a row stays in the cache, and numpy counts bools faster than anything sorts.
    # No threads: they would gain little in steps this small and lose much on a busy machine.
    near, items = np.empty(len(row), dtype=bool), np.empty(len(matches), dtype=np.int64)
    for nth in reversed(range(len(matches))):
        items[nth] = np.count_nonzero(np.less_equal(row, matches[nth], out=near))
        if items[nth] * FEW <= len(row):
            nearest = row[near]
            nearest.sort()
            items[:nth] = nearest.searchsorted(matches[:nth], "right")
            break
    no_answers = row[who.order[first:end]]
    if who.num_junk:
        no_answers = np.concatenate([no_answers, row[who.order[: who.num_junk]]])
    no_answers.sort()
    return items - no_answers.searchsorted(matches, "right") + np.arange(1, len(matches) + 1)


def _ranks_in_block(block: Tensor, queries: np.ndarray, who: Protocol) -> np.ndarray:
    """_ranks_in_row of all `queries` at once, one after the other, for a device that sorts faster than it is told to count.

    block: (len(queries), G) their distances, finite; overwritten.
    """
    counts = torch.from_numpy(who.num_matches[queries])
    own = [who.order[first:end] for first, end in who.person[queries]]
    row = torch.arange(len(queries))
    nth = torch.arange(int(counts.max()))
    given = nth < counts[:, None]  # (B, M): the matches of each query, and places for more
    columns = torch.zeros(given.shape, dtype=torch.int64)
    columns[given] = torch.from_numpy(np.concatenate([who.matches(query) for query in queries]))
    given, columns = given.to(block.device), columns.to(block.device)
    matches = block.gather(1, columns).masked_fill_(~given, torch.inf).sort(1).values
    rows = row.repeat_interleave(torch.tensor([len(items) for items in own]))
    block[rows.to(block.device), torch.from_numpy(np.concatenate(own)).to(block.device)] = torch.inf
    block[:, torch.from_numpy(who.order[: who.num_junk]).to(block.device)] = torch.inf
    wrong = torch.searchsorted(block.sort(1).values, matches, right=True)
    return (wrong + nth.to(block.device) + 1)[given].cpu().numpy()


def _drawn_ranks(row: np.ndarray, query: int, who: Protocol, draws: int, seed: int) -> np.ndarray:
    """(draws,): the true match's rank in a gallery of one image per person, again and again."""
    matches, starts = who.matches(query), who.starts
    uniform = np.random.default_rng([seed, query]).random((draws, len(starts)))
    own = row[matches[(uniform[:, -1] * len(matches)).astype(int)]][:, None]
    others = row[who.order[starts[:-1] + (uniform[:, :-1] * np.diff(starts)).astype(int)]]
    wrong = (others <= own) & (starts[:-1] != who.person[query, 0])
    return 1 + wrong.sum(axis=1)


def _summed_up(ranks: np.ndarray, lengths: np.ndarray, who: Protocol, num_valid: int) -> RankMetrics:
    """lengths: how many of the ranks belong to each query, or to each of its draws."""
    starts = np.cumsum(lengths) - lengths
    nth = np.arange(1, len(ranks) + 1) - np.repeat(starts, lengths)  # nth match of its query, from 1
    precision = nth / ranks
    before = np.where(ranks > 1, (nth - 1) / np.maximum(ranks - 1, 1), 1.0)
    found_by = np.bincount(ranks[starts], minlength=max(MIN_RANKS, len(who.order)) + 1)[1:].cumsum()
    return RankMetrics(
        cmc=found_by / len(lengths),
        mAP=float((np.add.reduceat(precision, starts) / lengths).mean()),
        mAP_trapezoid=float((np.add.reduceat((precision + before) / 2, starts) / lengths).mean()),
        mINP=float((lengths / ranks[starts + lengths - 1]).mean()),
        num_queries=len(who.num_matches),
        num_valid_queries=num_valid,
    )
