"""Maps of the target's features under each method: do a camera's images lie together, or a person's? matplotlib, scikit-learn."""

from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from pipelines import evaluating
from reid_da import sampling
from reid_da.camera_gap import other_camera_share
from reid_da.images import ImageStore

POINTS, LEAST, COLOURED = evaluating.SHOWN, 10, 12  # images at most and at least; persons in colour
GREY = "#d5d8dc"
COLOURS = "#1f77b4 #ff7f0e #2ca02c #d62728 #9467bd #8c564b #e377c2 #17becf #bcbd22 #000000 #1c2b8f #7ee03a".split()


def tsne_maps(methods: dict[str, Path], data: Path, title: str, seed: int) -> plt.Figure | None:
    """t-SNE (van der Maaten and Hinton, 2008) of gallery features, coloured by camera above and by person below; None: too few.

    Of a target without a gallery: of training crops, by camera alone.

    A column per method, each map made on its own: what lies where can be compared within a map, not between two. Its title says
    in a number what the colours by camera show, measured among the features themselves.

    Args:
        methods: name -> folder of its stage, with the features that evaluating.scores keeps. data: folder of the target's
            data stage.
        seed: of the persons that are chosen, as many whole ones as POINTS images hold.
    """
    shown = _shown(data, seed)
    if len(shown.rows) < LEAST:
        return None
    cameras, coloured = shown.cameras, _of_several_cameras(shown)[:COLOURED]
    named = len(shown.names) > 0
    size = (3.3 * len(methods) + 1.1, 7.4 if named else 4.1)
    figure, axes = plt.subplots(1 + named, len(methods), figsize=size, squeeze=False, layout="constrained")
    for column, (name, folder) in enumerate(methods.items()):
        features = _normalised(np.load(features_of(folder))[shown.rows])
        share, chance = other_camera_share(features, cameras)
        places = embedded(features)
        _scatter(axes[0][column], places, cameras, np.unique(cameras))
        if named:
            _scatter(axes[1][column], places, shown.persons, coloured, size=16)
        told = f"nearest 10 of another camera: {100 * share:.0f} % (chance {100 * chance:.0f} %)"
        axes[0][column].set_title(f"{name}\n{told}", fontsize=8)
    axes[0][0].set_ylabel("by camera", fontsize=9)
    if named:
        axes[1][0].set_ylabel(f"by person ({len(coloured)} of several cameras in colour)", fontsize=9)
    axes[0][-1].legend(
        title="camera", fontsize=7, title_fontsize=8, markerscale=1.5, loc="upper left", bbox_to_anchor=(1, 1)
    )
    of = f"gallery images of {len(shown.names)} persons" if named else "training crops, persons unknown"
    figure.suptitle(f"{title}\nt-SNE of {len(shown.rows)} {of}", fontsize=9)
    return figure


def features_of(folder: Path) -> Path:
    """The features of a method's folder that a map is of: the gallery's, or training crops' where there is no gallery."""
    gallery = folder / "gallery_features.npy"
    return gallery if gallery.exists() else folder / "train_features.npy"


class _Shown(NamedTuple):
    """The images of a map: rows in the features' file, cameras and persons of each, and the persons' names in the seed's order."""

    rows: np.ndarray
    cameras: np.ndarray
    persons: np.ndarray
    names: np.ndarray


def _shown(data: Path, seed: int) -> _Shown:
    gallery = ImageStore(data / "gallery")
    if len(gallery):
        rows, names = whole_persons(gallery.persons, seed)
        return _Shown(rows, gallery.cameras[rows], gallery.persons[rows], names)
    train = ImageStore(data / "train")
    looked = evaluating.looked_at(len(train))  # the rows whose features were kept
    return _Shown(np.arange(len(looked)), train.cameras[looked], train.persons[looked], np.empty(0, dtype=np.int64))


def _of_several_cameras(shown: _Shown) -> np.ndarray:
    """The persons, in their order, whom more than one camera has seen: others have nothing to come together."""
    seen = [len(np.unique(shown.cameras[shown.persons == name])) for name in shown.names]
    return shown.names[np.array(seen, dtype=int) > 1]


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
