"""The contrastive term of DeepID2 (Sun, Chen, Wang, Tang; NeurIPS 2014): softmax + weight * verification."""

from torch import Tensor, nn

from reid_da import losses
from reid_da.identity_losses.cosine import check_not_negative, check_positive, unit


class Contrastive(nn.Module):
    """Mean over pairs of 1/2 d^2 for the same person, 1/2 max(0, m - d)^2 for others, d Euclidean (the paper's eq. 3).

    Args:
        weight: lambda, the paper's 0.05. margin: m. normalised: of features of unit length, so that m does not depend on their
            width; the paper's are as they come. images_per_person: K of the batch's P x K.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        weight: float = 0.05,
        margin: float = 1.0,
        normalised: bool = True,
        images_per_person: int = 4,
    ):
        super().__init__()
        check_not_negative("contrastive", weight=weight)
        check_positive("contrastive", margin=margin)
        self.weight, self.margin, self.normalised = weight, margin, normalised
        self.images_per_person = images_per_person

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of (B, D) features of the persons `labels` (B,)."""
        return losses.contrastive(unit(features) if self.normalised else features, labels, self.margin) / 2
