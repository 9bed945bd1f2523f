"""How good are camera-styled images? Does a styled image show the wanted camera, and still the person?

Measures per pair (own camera i, wanted camera k), as matrices (K, K) with i in rows, each with one number over all pairs
i != k. Here those of answers and pixels, in reid_da/style_features.py those of a re-ID model's features:
    camera      is it taken for an image of the wanted camera? (StarGAN's evaluation, Choi et al., CVPR 2018: a classifier
                that has seen real images only)
    colour      how much of the way have its colours gone?
NaN stands where a camera has no images.
"""

import numpy as np

from reid_da.images import ImageStore


class CameraStore:
    """Some rows of a store, with cameras in the place of persons: what a camera classifier learns from. See ImageStore.take."""

    def __init__(self, store: ImageStore, rows: np.ndarray):
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> dict:
        fields = self.store.take(self.rows[rows])
        return fields | {"labels": fields["cameras"]}


def camera_measure(real, styled, cameras) -> tuple[np.ndarray, np.ndarray, float]:
    """How often styled images are classified as the wanted camera's, and how often real ones as their own's.

        share_ik = mean over images n of camera i of [styled_nk = k]
        accuracy_k = mean over images n of camera k of [real_n = k]
        ratio = sum_k (mean over images n of cameras other than k of [styled_nk = k] - 1/K) / sum_k (accuracy_k - 1/K)
    Wanted cameras have equal weight above and below, so 1 is what true images of all cameras would reach; 1/K is what a
    classifier gets that knows nothing, and 0 the ratio of styles that tell it nothing.

    Args:
        real: (N,) ints, the classifier's answer to each real image. styled: (N, K), to the image styled for camera k.
        cameras: (N,), the images' own, 0..K-1.
    Returns:
        share (K, K) and accuracy (K,) in 0..1, and the ratio, over the k that have both; NaN where the classifier tells real
        cameras hardly better than chance (a mean accuracy below 1/K + 0.1): it can judge nothing.
    Raises:
        ValueError: shapes that do not fit, or a camera out of range.
    """
    real, styled, cameras = np.asarray(real), np.asarray(styled), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    right = styled == np.arange(count)
    accuracy = mean_by_camera(real == cameras, cameras, count)
    other = cameras[:, None] != np.arange(count)
    share = divide((right & other).sum(axis=0), other.sum(axis=0))
    both = np.isfinite(share) & np.isfinite(accuracy)
    knows = both.any() and accuracy[both].mean() >= 1 / count + 0.1
    ratio = divide((share[both] - 1 / count).sum(), (accuracy[both] - 1 / count).sum()) if knows else np.nan
    return mean_by_camera(right, cameras, count), accuracy, float(ratio)


def colour_moments(images) -> np.ndarray:
    """Mean and mean square of each image's RGB channels; what colour_measure takes, so that styles need not lie in memory.

    images: (..., H, W, 3) uint8 -> (..., 2, 3) float64.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype} {images.shape}; expected uint8 (..., H, W, 3)")
    squares = np.square(images, dtype=np.float32)  # exact: below 2^24
    return np.stack([x.mean(axis=(-3, -2), dtype=np.float64) for x in (images, squares)], axis=-2)


def colour_measure(real, styled, cameras) -> tuple[np.ndarray, float]:
    """The share of the way from camera i's colours to camera k's that styling has gone.

        moved_ik = 1 - |m(styled i -> k) - m(real k)| / |m(real i) - m(real k)|,   i != k
        ratio = 1 - sum of the numerators / sum of the denominators
    m: mean and standard deviation of each RGB channel over all pixels of the images, 6 numbers; |.| Euclidean.
    1: camera k's colours; 0: as far from them as before; negative: farther.

    Args:
        real: (N, 2, 3) colour_moments of the real images. styled: (N, K, 2, 3), of the images styled for camera k.
        cameras: (N,) ints, 0..K-1.
    Returns:
        moved (K, K), NaN on the diagonal, and the ratio; both at most 1.
    Raises:
        ValueError: shapes that do not fit, or a camera out of range.
    """
    real, styled, cameras = np.asarray(real), np.asarray(styled), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    own = _colours(mean_by_camera(real, cameras, count))
    reached = _colours(mean_by_camera(styled, cameras, count))
    left = np.linalg.norm(reached - own[None], axis=-1)
    way = np.linalg.norm(own[:, None] - own[None], axis=-1)
    known = ~np.eye(count, dtype=bool) & np.isfinite(left) & np.isfinite(way)
    moved = np.where(known, 1 - divide(left, way), np.nan)
    return moved, float(1 - divide(left[known].sum(), way[known].sum()))


def _colours(moments: np.ndarray) -> np.ndarray:
    """(..., 2, 3) mean and mean square -> (..., 6) mean and standard deviation."""
    mean, square = moments[..., 0, :], moments[..., 1, :]
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0))], axis=-1)


def mean_by_camera(values: np.ndarray, cameras: np.ndarray, count: int) -> np.ndarray:
    """(N, ...) -> (K, ...) means over the images of each camera, NaN where it has none."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, cameras, values)
    counts = np.bincount(cameras, minlength=count)
    return divide(sums, counts.reshape(-1, *[1] * (values.ndim - 1)))


def divide(a, b):
    """a / b, NaN where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(b) == 0, np.nan, np.divide(a, b))


def num_cameras(cameras: np.ndarray, **values) -> int:
    """K, of `styled`; refuses values for other numbers of images."""
    for name, value in values.items():
        if len(value) != len(cameras):
            raise ValueError(
                f"{name} is {tuple(value.shape)} for {len(cameras)} cameras of images; expected ({len(cameras)}, ...)"
            )
    if values["styled"].ndim < 2:
        raise ValueError(
            f"styled is {tuple(values['styled'].shape)}; expected (N, K, ...), a value for each wanted camera"
        )
    count = values["styled"].shape[1]
    if len(cameras) and not 0 <= cameras.min() <= cameras.max() < count:
        raise ValueError(f"cameras {cameras.min()} to {cameras.max()}; expected 0 to {count - 1}")
    return count
