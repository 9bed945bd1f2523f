"""Pairwise Euclidean distances, for losses (differentiable) and for ranking (chunked).

All of it computes in at least float32, under
autocast too: |a|^2 + |b|^2 - 2 a.b cancels badly in half precision. Nothing is computed below its input's precision:
float64 stays float64.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

MIN_SQUARED = 1e-12  # the floor under a square root: a distance is at least 1e-6 and its gradient is finite


def as_tensor(values) -> Tensor:
    """A detached tensor, on its device; or a CPU tensor of whatever numpy takes, sharing its memory where torch can."""
    if isinstance(values, Tensor):
        return values.detach()
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def at_least_float32(x: Tensor) -> Tensor:
    """x as it is if float32 or float64, in float32 if half or bfloat16. Raises ValueError for other types."""
    if not x.is_floating_point():
        raise ValueError(f"found values of type {x.dtype}, expected floating point; convert them first")
    return x.to(torch.promote_types(x.dtype, torch.float32))


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances |a_i - b_j|^2 by the expansion |a_i|^2 + |b_j|^2 - 2 a_i.b_j, never negative.

    Args: a (A, D) and b (B, D), floating point, on one device. Returns (A, B), float64 if either input is, else
    float32; the rounding error is about 1e-7 (float32) of the squared norms, not of the distance. Raises ValueError
    for other shapes or types.
    """
    a, b = _matched(a, b)
    with torch.autocast(a.device.type, enabled=False):
        norms = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
        return torch.addmm(norms, a, b.T, alpha=-2).clamp(min=0)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Distances sqrt(max(|a_i - b_j|^2, 1e-12)): at least 1e-6; where two rows are equal the gradient is zero, not NaN.

    The floor is that of the authors' code (HHL, reid/loss/triplet.py). Arguments, result and errors as
    squared_euclidean.
    """
    return squared_euclidean(a, b).clamp(min=MIN_SQUARED).sqrt()


@torch.no_grad()
def squared_euclidean_chunks(a: Tensor, b: Tensor, rows: int = 512) -> Iterator[tuple[int, Tensor]]:
    """squared_euclidean(a, b) by blocks of `rows` rows: yields (first row, (<= rows, B) block), without gradient.

    Memory is one block, reused: the caller may write in it, and must copy what it keeps, since the next step
    overwrites it.
    Raises ValueError as squared_euclidean does, and where a value or its square is not finite: a NaN would rank as
    never near.
    """
    a, b = _matched(a, b)
    a_norms, b_norms = (torch.cat([part.square().sum(1) for part in side.split(4096)]) for side in (a, b))
    for name, norms in (("first", a_norms), ("second", b_norms)):
        bad = int((~norms.isfinite()).sum())
        if bad:
            raise ValueError(
                f"{bad} of {len(norms)} rows of the {name} features hold NaN, infinite or overflowing values"
            )
    buffer = a.new_empty(min(rows, len(a)), len(b))
    for start in range(0, len(a), rows):
        part = a[start : start + rows]
        block = buffer[: len(part)]
        with torch.autocast(a.device.type, enabled=False):
            torch.addmm(b_norms, part, b.T, alpha=-2, out=block)
        yield start, block.add_(a_norms[start : start + rows, None]).clamp_(min=0)


def _matched(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"found shapes {tuple(a.shape)} and {tuple(b.shape)}, expected (A, D) and (B, D) with one D")
    a, b = at_least_float32(a), at_least_float32(b)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)
