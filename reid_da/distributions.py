"""Distances between two clouds of features: Fréchet (FID) and kernel (KID).

Both are known with the features of a network trained on ImageNet, from which the figures in the literature come. Here they
are of whatever features are given, so they compare within a run and not with published figures.
"""

import numpy as np


def frechet_distance(first, second) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017, eq. 6).

        d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2),   m, S: mean and covariance (n - 1)
    As the field does, the squared distance is what is called FID. tr (S1 S2)^1/2 is the nuclear norm of X1 X2^T over
    sqrt((n1 - 1)(n2 - 1)), X the centred features, so that no D x D root is taken: n1 x n2 is enough. With few images
    it is too large: compare sets of equal sizes only.

    Args:
        first, second: (n1, D), (n2, D), at least two rows each.
    Returns:
        at least 0 up to rounding, in float64.
    Raises:
        ValueError: shapes that do not fit.
    """
    first, second = _features(first, second)
    m1, m2 = first.mean(axis=0), second.mean(axis=0)
    x1, x2 = first - m1, second - m2
    n1, n2 = len(x1) - 1, len(x2) - 1
    traces = np.square(x1).sum() / n1 + np.square(x2).sum() / n2
    cross = np.linalg.norm(x1 @ x2.T, "nuc") / np.sqrt(n1 * n2)
    return float(np.square(m1 - m2).sum() + traces - 2 * cross)


def kernel_distance(first, second) -> float:
    """Unbiased squared maximum mean discrepancy with KID's cubic kernel (Binkowski et al., ICLR 2018, eq. 4).

        KID = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),   k(a, b) = (a.b / s + 1)^3
    s is the mean of |a|^2 over both sets, where the authors divide by the dimension D, which is that mean for features of
    unit variance: so features that are L2-normalised and those that are not are looked at alike.

    Args:
        first, second: (n1, D), (n2, D), at least two rows each.
    Returns:
        around 0 (also below) for two samples of one distribution, whatever their sizes; in float64.
    Raises:
        ValueError: shapes that do not fit.
    """
    first, second = _features(first, second)
    scale = np.concatenate([np.square(x).sum(axis=1) for x in (first, second)]).mean() or 1.0
    within = 0.0
    for x in (first, second):
        kernel = (x @ x.T / scale + 1) ** 3
        within += (kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1))
    return float(within - 2 * ((first @ second.T / scale + 1) ** 3).mean())


def _features(*sets) -> list[np.ndarray]:
    arrays = [np.asarray(features, dtype=np.float64) for features in sets]
    shapes = [array.shape for array in arrays]
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or len({s[-1] for s in shapes}) > 1:
        raise ValueError(f"features are {' and '.join(map(str, shapes))}; expected (n, D) with one D, n at least 2")
    return arrays
