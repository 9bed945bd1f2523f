"""A-Softmax, SphereFace (Liu, Wen, Yu, Li, Raj, Song; CVPR 2017): a multiplied angle."""

import torch
from torch import Tensor

from reid_da.distances import at_least_float32
from reid_da.identity_losses.cosine import CosineLoss, multiplied, of_class


class ASoftmax(CosineLoss):
    """True class |x| (lambda cos_y + psi(theta_y)) / (1 + lambda), others |x| cos_j; psi as cosine.multiplied.

    lambda falls with the number of training steps t: max(lambda_min, lambda_start / (1 + lambda_decay t)), as in the authors'
    code; without it the loss is too hard to begin with.

    Args:
        margin: m, a whole number; 1 leaves the angle. lambda_start, lambda_min, lambda_decay: the authors' 1000, 5, 0.12.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        margin: int = 4,
        lambda_start: float = 1000.0,
        lambda_min: float = 5.0,
        lambda_decay: float = 0.12,
        **smoothing,
    ):
        super().__init__(num_features, num_persons, scale=1.0, **smoothing)
        if margin < 1:
            raise ValueError(f"{self.name()}.margin is {margin}; expected a whole number from 1 on")
        for option, value in (("start", lambda_start), ("min", lambda_min), ("decay", lambda_decay)):
            if value < 0:
                raise ValueError(f"{self.name()}.lambda_{option} is {value}; expected at least 0")
        self.margin = margin
        self.lambda_start, self.lambda_min, self.lambda_decay = lambda_start, lambda_min, lambda_decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def norms(self, features: Tensor) -> Tensor:
        """What the cosines are multiplied by: (B, 1)."""
        return at_least_float32(features).norm(dim=1, keepdim=True)

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        annealed = (self.lambda_start / (1 + self.lambda_decay * self.steps.to(cosines.dtype))).clamp(
            min=self.lambda_min
        )
        true = of_class(cosines, labels)
        true = (annealed * true + multiplied(true, self.margin)) / (1 + annealed)
        if self.training:
            self.steps += 1
        return cosines.scatter(1, labels[:, None], true) * self.norms(features)
