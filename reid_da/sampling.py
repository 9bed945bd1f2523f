"""Which images stand in which step: index streams and random draws, all pure functions of (seed, step).

A stream answers `indices(step)` for the GLOBAL batch and holds no state, so that a resumed run, another number of workers
and a sweep trial all see the same batches.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import torch

Draw = Callable[[str, tuple[int, ...]], torch.Tensor]


def generator(*key: object) -> torch.Generator:
    """CPU generator whose seed is a hash of `key` (ints, strings): the same key gives the same numbers anywhere."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()  # str: 3 and numpy's 3 are the same
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draws(seed: int, step: int, rank: int = 0, world: int = 1) -> Draw:
    """Random numbers of one step: draw(purpose, shape) -> uniform [0, 1) float32 on the CPU.

    `shape` is one rank's share along dimension 0. The numbers are drawn for the global batch (world times as many rows)
    and sliced, so that N ranks together hold exactly what one rank would.
    """

    def draw(purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
        rows = shape[0]
        everything = torch.rand((rows * world, *shape[1:]), generator=generator(seed, step, purpose))
        return everything[rank * rows : (rank + 1) * rows]

    return draw


def share(size: int, world: int, what: str) -> int:
    """One rank's part of a global size. Raises ValueError when `world` does not divide it."""
    if size % world:
        raise ValueError(
            f"{what} is {size}, which {world} workers cannot share equally: choose cluster.num_workers among the "
            f"divisors of {size}, or change {what}"
        )
    return size // world


class Shuffled:
    """Uniform shuffle in epochs, the incomplete last batch dropped: `batch` distinct rows of `length` in each step.

    Args:
        length: number of rows to draw from.
        batch: global batch size, 1..length.
        seed, name: what the permutation of each epoch is seeded by, beside the epoch's number.
    Raises:
        ValueError: when a batch is larger than the set.
    """

    def __init__(self, length: int, batch: int, *, seed: int, name: str):
        if not 1 <= batch <= length:
            raise ValueError(f"stream '{name}': a batch of {batch} from {length} images; expected 1 to {length}")
        self.length, self.batch, self.key = length, batch, (seed, name)
        self.steps_per_epoch = length // batch
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """(batch,) int64 rows of step `step` (0-based)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # only a memory of a pure function
            order = torch.randperm(self.length, generator=generator(*self.key, epoch)).numpy()
            self._epoch, self._order = epoch, order
        return self._order[place * self.batch : (place + 1) * self.batch].copy()


class PK:
    """P identities x K images for batch-hard mining (Hermans et al. 2017; HHL's identity sampler).

    In passes over the identities: each pass is a permutation, `persons` of them a step, an incomplete last step dropped. An
    identity gives K images without replacement if it has K, else with replacement.

    Args:
        labels: (N,) int identities of the rows.
        persons: P, 1..number of identities. images: K.
    Raises:
        ValueError: when fewer than P identities are there, or K is less than 1.
    """

    def __init__(self, labels: np.ndarray, persons: int, images: int, *, seed: int, name: str):
        self.rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if not 1 <= persons <= len(self.rows) or images < 1:
            raise ValueError(
                f"stream '{name}': a batch of {persons} persons x {images} images from {len(self.rows)} persons; expected "
                f"1 to {len(self.rows)} persons and at least 1 image of each"
            )
        self.persons, self.images, self.key = persons, images, (seed, name)
        self.steps_per_pass = len(self.rows) // persons

    def indices(self, step: int) -> np.ndarray:
        """(P * K,) int64 rows of step `step`, the K images of an identity side by side."""
        turn, place = divmod(step, self.steps_per_pass)
        order = torch.randperm(len(self.rows), generator=generator(*self.key, "pass", turn)).numpy()
        chosen = order[place * self.persons : (place + 1) * self.persons]
        g = generator(*self.key, "step", step)
        return np.concatenate([self._images(self.rows[person], g) for person in chosen])

    def _images(self, rows: np.ndarray, g: torch.Generator) -> np.ndarray:
        if len(rows) >= self.images:
            return rows[torch.randperm(len(rows), generator=g)[: self.images].numpy()]
        return rows[torch.randint(len(rows), (self.images,), generator=g).numpy()]


class Alternating:
    """FTL's batches: the whole set up to `start`, then stage 1 and stage 2 by turns, of `period` steps each.

    A step's kind is "whole" before `start`; in stage 1 "regular", "under", "transferred", by turns; in stage 2 "compact".
    "under" takes rows of under-represented identities, "regular" and "transferred" take others, and each kind passes over
    its rows in shuffled epochs, a batch that reaches beyond one going on in the next.

    Args:
        under: (N,) bool, the rows of under-represented identities; some, and not all. batch: global batch size.
        start: first step of the first stage 1. period: at least 3, so that stage 1 has a step of each kind.
        seed, name: what the permutation of each epoch is seeded by, beside kind and epoch.
    """

    STAGE_1 = ("regular", "under", "transferred")

    def __init__(self, under: np.ndarray, batch: int, *, start: int, period: int, seed: int, name: str):
        assert period >= len(self.STAGE_1) and 0 < under.sum() < len(under)
        self.under, self.batch, self.start, self.period, self.key = under, batch, start, period, (seed, name)

    def turn(self, step: int) -> tuple[str, int]:
        """The step's kind, and how many steps over the same rows, in the same order, came before."""
        if step < self.start:
            return "whole", step
        cycle, place = divmod(step - self.start, 2 * self.period)
        if place >= self.period:
            return "compact", self.start + cycle * self.period + place - self.period
        third = place % 3
        return self.STAGE_1[third], cycle * len(range(third, self.period, 3)) + place // 3

    def opens(self, step: int) -> bool:
        """Whether a stage 1 begins with this step."""
        return step >= self.start and (step - self.start) % (2 * self.period) == 0

    def indices(self, step: int) -> np.ndarray:
        """(batch,) int64 rows of step `step` (0-based)."""
        kind, number = self.turn(step)
        kind = "whole" if kind == "compact" else kind
        which = {"whole": np.ones_like(self.under), "under": self.under}
        rows = np.flatnonzero(which.get(kind, ~self.under))
        epochs, places = np.divmod(np.arange(number * self.batch, (number + 1) * self.batch), len(rows))
        orders = {
            epoch: torch.randperm(len(rows), generator=generator(*self.key, kind, epoch)).numpy()
            for epoch in np.unique(epochs)
        }
        return rows[[orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)]]
