"""Losses of HHL and ARN as pure functions: tensors in, a scalar out.

They know no ranks: a term that is not a mean over samples must be given rows gathered from all ranks by its caller.
They compute in at least float32 under autocast, and in float64 for float64. Sources: HHL = Zhong et al., Generalizing
a Person Retrieval Model Hetero- and Homogeneously, ECCV 2018, code zhunzhong07/HHL@7ea2655; ARN = Li et al.,
Adaptation and Re-Identification Network, CVPR Workshops 2018, code yujheli/ARN@32a1c4c.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_da.distances import MIN_SQUARED, at_least_float32, squared_euclidean


def batch_hard_triplet(
    embeddings: Tensor,
    labels: Tensor,
    margin: float = 0.3,
    *,
    soft: bool = False,
    squared: bool = False,
    anchors: Tensor | None = None,
) -> Tensor:
    """Triplet loss on the hardest positive and negative of each anchor (HHL's L_T, L_C, L_D and L_CD).

    L = mean over anchors a of max(0, margin + max_{p: y_p = y_a} d(a, p) - min_{n: y_n != y_a} d(a, n)), where d is the
    Euclidean distance, not squared; soft=True replaces the hinge by log(1 + exp(d_ap - d_an)), without margin (Hermans
    et al. 2017), and squared=True every d by d^2 (Schroff et al., FaceNet, CVPR 2015). The positives include the anchor
    itself, so an anchor alone with its label has d_ap = 1e-6 (the floor under the root) and a finite gradient.

    Args: embeddings (N, D) float, not normalised; labels (N,) integers; margin in units of the distance; anchors (N,)
    bool, the rows that count as anchors (all by default): rows left out still serve as positives and negatives.
    Returns a scalar. Raises ValueError for wrong shapes, if no row is an anchor or if an anchor has no negative; the
    latter two give NaN for labels on a GPU, where looking would stop the training until the GPU has caught up.
    Differs from the authors' code: the pairs are mined on expanded distances without gradient, then the mined
    distances are computed from differences: same value, more exact in float32; where two rows are equally hard, one
    gets the gradient.
    """
    embeddings = _embeddings(embeddings, labels)
    anchors = torch.ones_like(labels, dtype=torch.bool) if anchors is None else anchors
    if anchors.shape != labels.shape or anchors.dtype != torch.bool:
        raise ValueError(
            f"found anchors {tuple(anchors.shape)} of {anchors.dtype}, expected bools {tuple(labels.shape)}"
        )
    different = labels[:, None] != labels[None, :]
    lonely = anchors & ~different.any(1)
    if labels.device.type == "cpu" and (lonely.any() or not anchors.any()):
        raise ValueError(
            f"{int(anchors.sum())} anchors, of which {int(lonely.sum())} have no negative among {len(labels)} rows: "
            "batch-hard triplets need an anchor, and two labels in a batch"
        )
    with torch.no_grad():
        distances = squared_euclidean(embeddings, embeddings)
        positives = distances.masked_fill(different, -1).argmax(1)
        negatives = distances.masked_fill(~different, torch.inf).argmin(1)
    far, near = ((embeddings - embeddings[mined]).square().sum(1) for mined in (positives, negatives))
    gap = far - near if squared else _root(far) - _root(near)
    losses = (F.softplus(gap) if soft else F.relu(gap + margin)).masked_fill(lonely, torch.nan)
    return losses.where(anchors, 0).sum() / anchors.sum()


def contrastive(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Contrastive loss over all pairs of the batch (ARN's L_ctrs, the paper's form).

    L = mean over i < j of d_ij^2 if y_i = y_j, else max(0, margin - d_ij)^2, with d the Euclidean distance.

    Two things that the paper's known text leaves open are fixed so: a pair counts once and a row is no pair with
    itself (it would add zero and dilute the mean by the batch size); d is not divided by the dimension, so the margin
    is in the features' own units and the loss of a pair does not depend on D behind the caller's back. Scale the
    embeddings to change units.

    Args: embeddings (N, D) float; labels (N,) integers; margin > 0. Returns a scalar.
    Raises ValueError for wrong shapes, fewer than two rows, or a margin that is not positive.
    Differs from the authors' code: there d is the SQUARED distance / 2048, the hinge max(0, 2 - d) is not squared,
    and the sum over i <= j is divided by N (N - 1) / 2; embeddings / sqrt(2048) give that code's positive term.
    """
    embeddings = _embeddings(embeddings, labels)
    if len(labels) < 2 or margin <= 0:
        raise ValueError(
            f"found {len(labels)} rows and margin {margin}, expected two rows or more and a positive margin"
        )
    squared = squared_euclidean(embeddings, embeddings)
    hinge = F.relu(margin - squared.clamp(min=MIN_SQUARED).sqrt()).square()
    pair = torch.where(labels[:, None] == labels[None, :], squared, hinge)
    i, j = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    return pair[i, j].mean()


def reconstruction(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of a reconstruction (ARN's L_rec on the features X): mean over all entries of (X_hat - X)^2.

    No gradient reaches the target: else X -> 0 would be the best answer. The mean, where the paper's notes have a
    sum, keeps the published weight 2.0 meaningful for any batch and feature size.

    Args: prediction and target, any equal shape, float. Returns a scalar. Raises ValueError if the shapes differ.
    Differs from the authors' code, which reconstructs the image, in L1.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"found shapes {tuple(prediction.shape)} and {tuple(target.shape)}, expected equal shapes")
    return (at_least_float32(prediction) - at_least_float32(target.detach())).square().mean()


def image_reconstruction(prediction: Tensor, image: Tensor) -> Tensor:
    """L1 error of a reconstructed image (ARN's L_rec in the released code): mean over pixels of sum over channels |y - x|.

    So it is 3 times the mean absolute error of a colour image; it lies in [0, 6] for values in [-1, 1].

    Args: prediction and image, (B, C, H, W) float. Returns a scalar. Raises ValueError if the shapes differ.
    """
    if prediction.shape != image.shape:
        raise ValueError(
            f"found a decoded image of {tuple(prediction.shape)} for one of {tuple(image.shape)}, expected equal shapes: "
            "height and width must be multiples of the trunk's stride"
        )
    return (at_least_float32(prediction) - at_least_float32(image.detach())).abs().sum(1).mean()


def mmd(a: Tensor, b: Tensor, sigmas: tuple[float, ...] = (1.0, 2.0, 10.0)) -> Tensor:
    """Maximum mean discrepancy of two sets of rows (Gretton et al. 2012), the term that ARN's released code adds.

        MMD = sqrt(max(0, mean_ij k(a_i, a_j) + mean_ij k(b_i, b_j) - 2 mean_ij k(a_i, b_j)) + 1e-12)
        k(x, y) = sum over sigma of exp(-|x - y|^2 / (2 sigma^2))

    The biased estimate: i = j counts. sigma is, as in that code, the deviation of a Gaussian in the features' own units,
    whatever their dimension: rows much farther apart than the largest sigma all look equally far, and have no gradient.

    Args: a (N, D) and b (M, D), float. Returns a scalar in [0, sqrt(2 len(sigmas))]. Raises ValueError for other shapes.
    Differs from the authors' code: 1e-12 under the root keeps the gradient finite where a and b are alike; N and M may
    differ.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = squared_euclidean(x, y)
        return sum(torch.exp(-squared / (2 * sigma**2)) for sigma in sigmas).mean()

    return (F.relu(kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)) + MIN_SQUARED).sqrt()


def difference(shared: Tensor, private: Tensor) -> Tensor:
    """Soft orthogonality of shared and private features (ARN's L_diff for one domain): ||C^T P||_F^2 / D^2 >= 0.

    C and P hold the features row by row, each row divided by its L2 norm (the convention of Domain Separation
    Networks). It is computed as trace((C C^T)(P P^T)) = sum over i, j of (c_i.c_j)(p_i.p_j): N^2 D operations instead
    of N D^2. So images alike in what is shared become unlike in what is private; i = j adds the constant N / D^2, and
    one row alone teaches nothing. The term grows as N^2 / D^2: see difference_weight for its weight. Add the terms of
    both domains for ARN's.

    Args: shared (N, D) = C and private (N, D) = P, float. Returns a scalar. Raises ValueError unless the shapes are
    equal, (N, D).
    Differs from the authors' code: that has sum_i c_i.p_i, of rows that are not normalised and not squared.
    """
    if shared.ndim != 2 or shared.shape != private.shape:
        raise ValueError(f"found shapes {tuple(shared.shape)} and {tuple(private.shape)}, expected equal shapes (N, D)")
    c, p = (F.normalize(at_least_float32(x), dim=1, eps=MIN_SQUARED**0.5) for x in (shared, private))
    with torch.autocast(c.device.type, enabled=False):
        return ((c @ c.T) * (p @ p.T)).sum() / shared.shape[1] ** 2


def difference_weight(gamma: float, num_rows: int, dim: int) -> float:
    """The weight of `difference` for num_rows x dim features that does what gamma does at ARN's sizes, 16 x 2048.

    In sum_ij (c_i.c_j)(p_i.p_j) each of N^2 summands is a product of two cosines, whose size depends on neither N nor
    D. So difference ~ k N^2 / D^2, and gamma' N^2 / D^2 = gamma 16^2 / 2048^2 gives

        gamma' = gamma (dim / 2048)^2 (16 / num_rows)^2.

    The published 1500 becomes 0.37 at N = 64, D = 128, where 1500 itself collapses the model. num_rows is the number of
    rows of one domain in one call, over all ranks.
    """
    return gamma * (dim / 2048) ** 2 * (16 / num_rows) ** 2


def _embeddings(embeddings: Tensor, labels: Tensor) -> Tensor:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"found embeddings {tuple(embeddings.shape)} and labels {tuple(labels.shape)}, expected (N, D) and (N,)"
        )
    return at_least_float32(embeddings)


def _root(squared: Tensor) -> Tensor:
    return squared.clamp(min=MIN_SQUARED).sqrt()
