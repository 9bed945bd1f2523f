"""MV-Softmax (Wang et al., AAAI 2020): hard negatives of a margin loss weigh more."""

import torch
from torch import Tensor

from reid_da.identity_losses.cosine import MarginLoss, check_not_negative, of_class


class MVSoftmax(MarginLoss):
    """True class s f_y, negatives s cos_j, hard ones (cos_j > f_y) s ((t + 1) cos_j + t): the paper's adaptive form.

    Args:
        form: f, "cosface" or "arcface". margin, scale: of it. t: extra weight of hard negatives; 0 gives the form itself.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float = 64.0,
        margin: float = 0.35,
        form: str = "cosface",
        t: float = 0.2,
        **smoothing,
    ):
        super().__init__(num_features, num_persons, scale=scale, margin=margin, form=form, **smoothing)
        check_not_negative(self.name(), t=t)
        self.t = t

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        true = self.form(of_class(cosines, labels), self.margin)
        weighed = torch.where(cosines > true, (self.t + 1) * cosines + self.t, cosines)
        return weighed.scatter(1, labels[:, None], true)
