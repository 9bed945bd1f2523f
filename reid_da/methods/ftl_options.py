"""Which of FTL's options are refused: those out of their range, and what they leave of the source."""

import numpy as np

STAGES = 3  # kinds of batches in stage 1


def check(
    *,
    under: int = 20,
    directions: int = 150,
    pretrain_share: float = 0.5,
    period: int = 100,
    weight_rec: float = 1.0,
    weight_reg: float = 0.25,
    map_size: tuple[int, int] = (8, 4),
    decoder_width: int = 512,
    steps: int | None = None,
    **others,
) -> None:
    """Raise ValueError for the first thing that is wrong, with what was found, what is expected and what to do."""
    for name, value in (("rec", weight_rec), ("reg", weight_reg)):
        if value < 0:
            raise ValueError(f"ftl.weight_{name} is {value}; expected at least 0 (0: without that term)")
    least = {"under": (under, 2), "directions": (directions, 1), "period": (period, STAGES)}
    for name, (value, smallest) in (least | {"decoder_width": (decoder_width, 1)}).items():
        if value < smallest:
            raise ValueError(f"ftl.{name} is {value}; expected at least {smallest}")
    if not 0 <= pretrain_share < 1:
        raise ValueError(f"ftl.pretrain_share is {pretrain_share}; expected 0 (none) to below 1, such as 0.5")
    if len(map_size) != 2 or not all(isinstance(side, int) and side > 0 for side in map_size):
        raise ValueError(f"ftl.map_size is {map_size}; expected height and width of the trunk's maps, such as [8,4]")
    if steps is not None and (left := steps - round(pretrain_share * steps)) < 2 * period:
        raise ValueError(
            f"ftl: after pre-training {left} of {steps} steps are left, and stages 1 and 2 take {2 * period} at least; "
            "lower ftl.period or ftl.pretrain_share, or train longer"
        )


def under_represented(labels: np.ndarray, under: int) -> np.ndarray:
    """(C,) bool: identities with fewer than `under` images.

    labels: (N,) 0-based. Raises ValueError where these are all or none: there must be some to give a spread, and some to take it.
    """
    counts = np.bincount(labels)
    found = counts < under
    if found.all() or not found.any():
        much = "all" if found.all() else "none"
        span = f"ftl.under as {counts.min() + 1} to {counts.max()}"
        span = span if counts.min() < counts.max() else "a source of unequal numbers"
        raise ValueError(
            f"ftl.under is {under}, and of the source's {len(counts)} persons, who have {counts.min()} to {counts.max()} images, "
            f"{much} have fewer: expected some with fewer and some with as many; give {span}"
        )
    return found


def check_map(size: tuple[int, int], map_size: tuple[int, int], stride: int) -> None:
    """Raise ValueError where the decoder would make images of another size than the source's, size = (height, width)."""
    if tuple(size) != tuple(side * stride for side in map_size):
        fit = f"give ftl.map_size=[{size[0] // stride},{size[1] // stride}]"
        fit = (
            fit
            if not any(side % stride for side in size)
            else f"give images.height and images.width as multiples of {stride}"
        )
        made, found = (f"{height}x{width}" for height, width in ([side * stride for side in map_size], size))
        raise ValueError(
            f"ftl.map_size is {list(map_size)}, from which Dec makes images of {made}, and the source's are {found}; {fit}"
        )
