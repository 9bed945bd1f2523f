"""Pictures of what identity losses do: 2-D features over a training, and norms against images per person. matplotlib, SciPy."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

COLOURS = plt.get_cmap("tab10").colors
BINS = (2, 4, 7, 10, 13)  # of images per person: a bin's fewest
POINT, MEDIAN = "#8da0b3", "#b3231b"
IMAGES = "training images of the person"
AGAINST = {  # of norms, what each is set against
    "class weight's norm": IMAGES,
    "mean feature norm": IMAGES,
    "image's feature norm": "cosine to the class weight",
}


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


class Norms(NamedTuple):
    """What a training left.

    images: (C,) training images of each person. weights: (C,) norms of the class weights. labels: (N,) 0-based persons of the
    images. features: (N,) norms of their embeddings. cosines: (N,) of the embeddings to their persons' class weights.
    """

    images: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    cosines: np.ndarray

    def of_persons(self) -> np.ndarray:
        """(C,) mean norm of each person's embeddings."""
        return np.bincount(self.labels, self.features) / np.bincount(self.labels)

    def pairs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The norms and what they are set against, in AGAINST's order: name -> (x, y)."""
        pairs = ((self.images, self.weights), (self.images, self.of_persons()), (self.cosines, self.features))
        return dict(zip(AGAINST, pairs, strict=True))

    def correlations(self) -> dict[str, float]:
        """Spearman's rank correlation of each of the pairs."""
        from scipy.stats import spearmanr  # slow to import

        return {name: float(spearmanr(*pair).statistic) for name, pair in self.pairs().items()}


def norm_charts(losses: dict[str, Norms], title: str) -> plt.Figure:
    """A column per loss: class weights' norms and persons' mean feature norms against their images, and each image's feature norm
    against its cosine to the class weight, how easy it is. Medians of bins as a line; rank correlations above.
    """
    figure, axes = plt.subplots(
        3, len(losses), figsize=(3.3 * len(losses) + 0.6, 8), squeeze=False, sharex="row", layout="constrained"
    )
    for column, (name, norms) in zip(axes.T, losses.items(), strict=True):
        correlations = norms.correlations()
        for axis, (what, (x, y)) in zip(column, norms.pairs().items(), strict=True):
            by_images = AGAINST[what] == IMAGES
            edges = np.array(BINS) if by_images else np.quantile(x, np.linspace(0, 0.9, 10))
            shift = np.random.default_rng(0).uniform(-0.3, 0.3, len(x)) if by_images else 0  # counts are whole
            axis.scatter(x + shift, y, s=10 if by_images else 3, color=POINT, alpha=0.6, linewidths=0)
            axis.plot(*binned(x, y, edges), "o-", color=MEDIAN, markersize=5, linewidth=1.6, label="median")
            axis.set(xlabel=AGAINST[what], ylabel=what)
            axis.set_title(f"rank correlation {correlations[what]:+.2f}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_ylim(0, 1.08 * y.max())
        column[0].set_title(f"{name}\n{column[0].get_title()}", fontsize=10)
    axes[0][0].legend(frameon=False, loc="lower right", fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of x and of y in each bin [edge, next edge), the last one open; empty bins are left out."""
    bins = np.searchsorted(edges, x, side="right")
    return tuple(np.array([np.median(values[bins == one]) for one in np.unique(bins)]) for values in (x, y))
