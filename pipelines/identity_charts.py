"""Pictures of what identity losses do: 2-D features over a training. matplotlib only."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

COLOURS = plt.get_cmap("tab10").colors


class Frame(NamedTuple):
    """A loss after so many steps.

    features: (N, 2), of N images. weights: (C, 2) class weights. centres: (C, 2), those of centre loss, or None. right: share of
    the images, 0..1, whose person has the largest logit.
    """

    step: int
    features: np.ndarray
    weights: np.ndarray
    centres: np.ndarray | None
    right: float


def feature_frames(losses: dict[str, list[Frame]], labels: np.ndarray, pictures: Sequence[np.ndarray]) -> plt.Figure:
    """A row per loss, a column per step; below, who has which colour.

    Args:
        losses: name -> its frames, of the same steps for all. labels: (N,) 0-based persons of the images, ten at most.
        pictures: one (H, W, 3) uint8 picture of each person.
    """
    columns = max(len(frames) for frames in losses.values())
    figure, axes, faces = _sheet(len(losses), columns)
    for row, (name, frames) in zip(axes, losses.items(), strict=True):
        for axis, frame in zip(row, frames, strict=True):
            draw_features(axis, frame, labels)
        row[0].set_ylabel(name, fontsize=10, fontweight="bold")
    _faces(faces, pictures)
    return figure


def feature_film(losses: dict[str, list[Frame]], labels: np.ndarray, pictures: Sequence[np.ndarray]) -> FuncAnimation:
    """The same as a film: a panel per loss, a picture per step. Arguments as of `feature_frames`."""
    figure, (axes,), faces = _sheet(1, len(losses), side=3.4)
    _faces(faces, pictures)

    def show(index: int) -> None:
        for axis, (name, frames) in zip(axes, losses.items(), strict=True):
            axis.clear()
            draw_features(axis, frames[index], labels)
            axis.set_title(f"{name}\n{axis.get_title()}", fontsize=10)

    return FuncAnimation(figure, show, frames=len(next(iter(losses.values()))), interval=150)


def _sheet(rows: int, columns: int, side: float = 2.4) -> tuple[plt.Figure, np.ndarray, plt.Axes]:
    """A figure, rows x columns square axes, and a strip for the persons below them."""
    figure = plt.figure(figsize=(columns * side + 0.4, rows * (side + 0.25) + 0.8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(rows * (side + 0.25), 0.8))
    return figure, above.subplots(rows, columns, squeeze=False), below.subplots()


def draw_features(axis: plt.Axes, frame: Frame, labels: np.ndarray) -> None:
    """Features coloured by person, the directions of the class weights as rays, centres as black crosses, on equal axes around 0.

    The axes hold what is drawn, up to a thousandth of the images: their scale is the frame's own, told at its corner.
    """
    reach = 1.12 * np.quantile(np.abs(frame.features).max(1), 0.999)
    lengths = np.maximum(np.linalg.norm(frame.weights, axis=1, keepdims=True), 1e-12)
    for person, (x, y) in enumerate(1.5 * reach * frame.weights / lengths):  # beyond the corners
        axis.plot([0, x], [0, y], color=COLOURS[person], linewidth=0.9, alpha=0.55, zorder=1)
    axis.scatter(*frame.features.T, s=7, c=[COLOURS[person] for person in labels], alpha=0.75, linewidths=0, zorder=2)
    if frame.centres is not None:
        axis.scatter(*frame.centres.T, s=70, marker="+", c="black", linewidths=0.9, zorder=3)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    axis.set_title(f"step {frame.step}: {100 * frame.right:.0f} % right", fontsize=9)
    axis.text(0.98, 0.02, f"\u00b1{reach:.2g}", transform=axis.transAxes, ha="right", fontsize=7, color="grey")


def _faces(axis: plt.Axes, pictures: Sequence[np.ndarray]) -> None:
    """The persons side by side, each framed in its colour."""
    height, width = pictures[0].shape[:2]
    border = max(2, width // 12)
    framed = []
    for colour, picture in zip(COLOURS, pictures, strict=False):
        frame = np.full((height + 2 * border, width + 2 * border, 3), np.multiply(colour, 255), dtype=np.uint8)
        frame[border:-border, border:-border] = picture
        framed += [frame, np.full((len(frame), 3 * border, 3), 255, dtype=np.uint8)]
    axis.imshow(np.hstack(framed[:-1]))
    axis.set_axis_off()
