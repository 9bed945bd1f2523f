"""Who counts as a true match of whom in a gallery, by the Market-1501 protocol."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

JUNK = -1  # a gallery person that counts neither as right nor as wrong


class Protocol(NamedTuple):
    """Who matches whom, as slices of one order of the gallery: by person, then camera, so that junk comes first."""

    order: np.ndarray  # (G,) gallery rows
    num_junk: int
    person: np.ndarray  # (Q, 2) first and end of the query's person in that order
    camera: np.ndarray  # (Q, 2) first and end of what does not count of it, the query's camera, or twice the first
    num_matches: np.ndarray  # (Q,)
    starts: np.ndarray  # (P + 1,) first of each person that is not junk, distractors being one, and the end of all

    def matches(self, query: int) -> np.ndarray:
        """The gallery rows of the query's true matches."""
        (first, end), (out_first, out_end) = self.person[query], self.camera[query]
        return np.concatenate([self.order[first:out_first], self.order[out_end:end]])


def protocol(
    query_persons, query_cameras, gallery_persons, gallery_cameras, shape: tuple[int, int], same_camera: bool = False
) -> Protocol:
    """Whom each query matches; see ranking.rank_metrics for the rules, the arguments and the errors. shape: (Q, G)."""
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
    camera = person[:, [0, 0]] if same_camera else _slices(gallery_codes[order], query_codes)
    num_matches = np.where(queries[:, 0] == JUNK, 0, (person - camera) @ [-1, 1])
    if not num_matches.any():
        shared = np.setdiff1d(np.intersect1d(queries[:, 0], persons), [JUNK])
        num_shared = np.isin(queries[:, 0], shared).sum()
        where = "the gallery" if same_camera else "another camera"
        raise ValueError(
            f"none of {len(queries)} queries has a true match in {where}: {len(shared)} persons are in query and gallery"
            + f", and their {num_shared} queries find them only in the query's own camera" * bool(num_shared)
        )
    junk = int(np.searchsorted(persons, JUNK, "right"))
    return Protocol(order, junk, person, camera, num_matches, _starts(persons[junk:]) + junk)


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


def _starts(ordered: np.ndarray) -> np.ndarray:
    """Where each value begins among ordered ones, and where the last ends."""
    return np.append(np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1)), len(ordered))
