"""Maps of the target's features under each method: do a camera's images lie together, or a person's? matplotlib, scikit-learn."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from reid_da import sampling
from reid_da.camera_gap import other_camera_share
from reid_da.images import ImageStore

POINTS, LEAST, COLOURED = 1000, 10, 12  # images at most and at least; persons in colour
GREY = "#d5d8dc"
COLOURS = "#1f77b4 #ff7f0e #2ca02c #d62728 #9467bd #8c564b #e377c2 #17becf #bcbd22 #000000 #1c2b8f #7ee03a".split()


def tsne_maps(methods: dict[str, Path], data: Path, title: str, seed: int) -> plt.Figure | None:
    """t-SNE (van der Maaten and Hinton, 2008) of gallery features, coloured by camera above and by person below; None: too few.

    A column per method, each map made on its own: what lies where can be compared within a map, not between two. Its title says
    in a number what the colours by camera show, measured among the features themselves.

    Args:
        methods: name -> folder of its stage, with gallery_features.npy. data: folder of the target's data stage.
        seed: of the persons that are chosen, as many whole ones as POINTS images hold.
    """
    gallery = ImageStore(data / "gallery")
    rows, persons = whole_persons(gallery.persons, seed)
    if len(rows) < LEAST:
        return None
    cameras = gallery.cameras[rows]
    seen = {person: len(np.unique(cameras[gallery.persons[rows] == person])) for person in persons}
    coloured = np.array(
        [person for person in persons if seen[person] > 1][:COLOURED]
    )  # others have nothing to come together
    size = (3.3 * len(methods) + 1.1, 7.4)
    figure, axes = plt.subplots(2, len(methods), figsize=size, squeeze=False, layout="constrained")
    for column, (name, folder) in enumerate(methods.items()):
        features = _normalised(np.load(folder / "gallery_features.npy")[rows])
        share, chance = other_camera_share(features, cameras)
        places = embedded(features)
        _scatter(axes[0][column], places, cameras, np.unique(cameras))
        _scatter(axes[1][column], places, gallery.persons[rows], coloured, size=16)
        told = f"nearest 10 of another camera: {100 * share:.0f} % (chance {100 * chance:.0f} %)"
        axes[0][column].set_title(f"{name}\n{told}", fontsize=8)
    for axis, label in zip(
        axes[:, 0], ("by camera", f"by person ({len(coloured)} of several cameras in colour)"), strict=True
    ):
        axis.set_ylabel(label, fontsize=9)
    axes[0][-1].legend(
        title="camera", fontsize=7, title_fontsize=8, markerscale=1.5, loc="upper left", bbox_to_anchor=(1, 1)
    )
    figure.suptitle(f"{title}\nt-SNE of {len(rows)} gallery images of {len(persons)} persons", fontsize=9)
    return figure


def whole_persons(persons: np.ndarray, seed: int, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the persons that come first in the seed's order, as many as fit whole, and these persons in that order.

    Distractors (0) and junk (-1) are nobody.
    """
    names, counts = np.unique(persons[persons > 0], return_counts=True)
    order = torch.randperm(len(names), generator=sampling.generator(seed, "map")).numpy()
    chosen = names[order][np.cumsum(counts[order]) <= most]
    return np.flatnonzero(np.isin(persons, chosen)), chosen


def embedded(features: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, 2), always the same. On one thread: more of them change the digits, and are slower here."""
    from sklearn.manifold import TSNE  # slow to import
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(features) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=0).fit_transform(features)


def _normalised(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _scatter(axis, places: np.ndarray, names: np.ndarray, coloured: np.ndarray, size: float = 9) -> None:
    """Points in the colour of their name, grey where it has none."""
    many = plt.get_cmap("turbo")(np.linspace(0.03, 0.97, len(coloured)))
    colours = COLOURS if len(coloured) <= len(COLOURS) else many
    axis.scatter(*places[~np.isin(names, coloured)].T, s=size / 2, color=GREY, linewidths=0)
    for name, colour in zip(coloured, colours, strict=False):
        axis.scatter(*places[names == name].T, s=size, color=[colour], linewidths=0, label=str(name))
    axis.set(xticks=[], yticks=[])
