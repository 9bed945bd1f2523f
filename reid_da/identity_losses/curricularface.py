"""CurricularFace (Huang et al., CVPR 2020): hard negatives weigh more as the training goes on."""

import torch
from torch import Tensor

from reid_da.identity_losses.cosine import MarginLoss, angular_margin, of_class


class CurricularFace(MarginLoss):
    """True class s cos(theta_y + m), negatives s cos_j, hard ones (cos_j > cos(theta_y + m)) s cos_j (t + cos_j).

    t is the moving average of the batch's mean cos_y, from 0; it takes in a batch before that batch's loss, as in the
    authors' code, and over the rows of all ranks.

    Args:
        scale, margin: the paper's 64, 0.5. momentum: what t keeps of itself at each step, 0.99.
    """

    form = staticmethod(angular_margin)
    gathered = True

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float = 64.0,
        margin: float = 0.5,
        momentum: float = 0.99,
        **smoothing,
    ):
        super().__init__(num_features, num_persons, scale=scale, margin=margin, **smoothing)
        if not 0 <= momentum <= 1:
            raise ValueError(f"{self.name()}.momentum is {momentum}; expected 0 to 1")
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        true = of_class(cosines, labels)
        if self.training:
            self.t.lerp_(true.detach().mean().to(self.t), 1 - self.momentum)
        true = self.form(true, self.margin)
        weighed = torch.where(cosines > true, cosines * (self.t + cosines), cosines)
        return weighed.scatter(1, labels[:, None], true)
