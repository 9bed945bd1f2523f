"""The camera gap: how far does another camera move an image's features, against a crop and a mirror?

HHL's premise (Zhong et al., ECCV 2018): a model of the source alone hardly minds where on the image a person stands, which every
training's crops and flips have taught it, but minds the target's cameras, which no source image can teach. So camera styles are
copies worth learning from.
"""

import numpy as np
import torch

from reid_da.augment import normalise, random_area_crop
from reid_da.distances import squared_euclidean
from reid_da.sampling import Draw


def cropped_and_mirrored(images: torch.Tensor, sizes: torch.Tensor, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Both kinds of copy that training makes of an image, apart: a random part of it, not flipped; and its exact mirror image.

    images: (B, H, W, 3) uint8; sizes, draw: as augment.random_area_crop takes them. Two of (B, 3, H, W) float32, normalised.
    """
    return random_area_crop(images, sizes, draw, flip=0), normalise(images.flip(2))


def feature_gap(real, copies, counted=None) -> float:
    """How far are images' features from those of their copies?

        gap = mean over images n and counted copies c of |f_n / |f_n| - g_nc / |g_nc||^2,   0 to 4; 2 - 2 cos
    The squared Euclidean distance of L2-normalised features is what the authors rank by (HHL, reid/evaluators.py). The paper's own
    figures (pipelines/results.py) are known second hand, and without a word on which distance they are of.

    Args:
        real: (N, D) features. copies: (N, C, D), of C copies of each. counted: (N, C) bools; by default all are.
    Returns:
        the gap; NaN where nothing is counted.
    Raises:
        ValueError: shapes that do not fit.
    """
    real, copies = (np.asarray(x, dtype=np.float64) for x in (real, copies))
    if copies.ndim != 3 or real.shape != (len(copies), copies.shape[-1]):
        raise ValueError(f"found features {real.shape} and copies {copies.shape}; expected (N, D) and (N, C, D)")
    real, copies = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (real, copies))
    squared = np.square(real[:, None] - copies).sum(axis=-1)
    counted = np.ones(squared.shape, bool) if counted is None else np.asarray(counted)
    return float(squared[counted].mean()) if counted.any() else float("nan")


def other_camera_share(features, cameras, neighbours: int = 10) -> tuple[float, float]:
    """How mixed are the cameras? The share of images' nearest neighbours that another camera took.

        share = mean over images n and their `neighbours` nearest m of [camera_m != camera_n]
        chance = mean over images n of (images of other cameras than n's) / (N - 1)
    Far below chance, a camera's images lie together, whoever is on them. Euclidean; an image is no neighbour of its own.

    Args:
        features: (N, D). cameras: (N,) ints.
    Returns:
        share and chance in 0..1.
    Raises:
        ValueError: fewer than two images, or shapes that do not fit.
    """
    features, cameras = torch.as_tensor(np.asarray(features)), np.asarray(cameras)
    if len(features) < 2 or cameras.shape != (len(features),):
        raise ValueError(
            f"found features {tuple(features.shape)} and cameras {cameras.shape}; expected two images or more"
        )
    distances = squared_euclidean(features, features).fill_diagonal_(float("inf"))
    nearest = distances.topk(min(neighbours, len(features) - 1), largest=False).indices.numpy()
    differ = cameras[:, None] != cameras
    return float((cameras[nearest] != cameras[:, None]).mean()), float(
        differ.sum() / (len(cameras) * (len(cameras) - 1))
    )
