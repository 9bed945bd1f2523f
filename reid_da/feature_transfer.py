"""The spread of features that identities share, and its transfer to those with few images; sums and matrices, rank-free.

Feature transfer learning (Yin, Yu, Sohn, Liu, Chandraker, CVPR 2019): how an identity's images lie about its centre is taken to
be the same for all, told from those with many images, and given to those with few.

    c_i = mean of g over the images of identity i and their flips
    V   = mean of (g - c)(g - c)^T over the images of the regular identities; Q = its k leading eigenvectors
    g~  = c_u + Q Q^T (g_r - c_r)
"""

import torch
from torch import Tensor


def sums_by_label(features: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """(num_labels, D) float64: the sum of each label's rows; 0 where a label has none.

    Args: features (N, D) float; labels (N,) int64, 0 to num_labels - 1.
    """
    sums = torch.zeros(num_labels, features.shape[1], dtype=torch.float64, device=features.device)
    return sums.index_add_(0, labels, features.double())


def leading_directions(covariance: Tensor, count: int) -> Tensor:
    """Q, (D, count) float64: the eigenvectors of the largest eigenvalues, the largest first; Q^T Q = 1.

    Each one's entry of largest size is positive, so that the sign is not the solver's whim. covariance: (D, D), symmetric.
    """
    vectors = torch.linalg.eigh(covariance.double()).eigenvectors.flip(1)[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return (vectors * largest.sign()).contiguous()


def transferred(centres: Tensor, deviations: Tensor, directions: Tensor) -> Tensor:
    """g~ = c_u + Q Q^T (g_r - c_r), (B, D). centres: (B, D) = c_u. deviations: (B, D) = g_r - c_r. directions: (D, k) = Q."""
    return centres + deviations @ directions @ directions.T
