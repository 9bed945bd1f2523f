"""Triplet terms: squared distances with a margin (FaceNet, Schroff et al., CVPR 2015), soft margin (Hermans et al. 2017)."""

from torch import Tensor, nn

from reid_da.identity_losses.cosine import check_not_negative, unit
from reid_da.losses import batch_hard_triplet


class Triplet(nn.Module):
    """Batch-hard triplet loss: mean of [d_ap - d_an + margin]_+, or of log(1 + exp(d_ap - d_an)).

    Args:
        weight: its factor in the total. margin: of the hinge, FaceNet's 0.2. squared: d is the squared distance, as FaceNet's.
        soft: the soft margin. normalised: of features of unit length, as FaceNet's; Hermans et al. take them as they come.
        images_per_person: K of the batch's P x K.
    Differs from FaceNet, which mines semi-hard negatives of batches of 1,800: hard ones of the batch are mined, as re-ID does.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        weight: float = 1.0,
        margin: float = 0.2,
        squared: bool = True,
        soft: bool = False,
        normalised: bool = True,
        images_per_person: int = 4,
    ):
        super().__init__()
        check_not_negative("triplet", weight=weight, margin=margin)
        self.weight, self.margin, self.squared, self.soft = weight, margin, squared, soft
        self.normalised, self.images_per_person = normalised, images_per_person

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of (B, D) features of the persons `labels` (B,)."""
        rows = unit(features) if self.normalised else features
        return batch_hard_triplet(rows, labels, self.margin, soft=self.soft, squared=self.squared)
