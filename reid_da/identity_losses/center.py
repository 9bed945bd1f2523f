"""Centre loss (Wen, Zhang, Li, Qiao; ECCV 2016): features are drawn to their person's centre."""

import torch
from torch import Tensor, nn

from reid_da.distances import at_least_float32
from reid_da.identity_losses.cosine import check_not_negative


class Center(nn.Module):
    """1/2 mean_i |x_i - c_{y_i}|^2, squared as in the paper (eq. 2), where its sum over the batch is a mean here.

    After a batch's loss each centre moves by alpha sum_i (x_i - c_j) / (1 + n_j) over its own n_j samples (eq. 4), those of all
    ranks; centres start at 0 and are no parameters of the optimiser, whose rule would be another one.

    Args:
        weight: lambda, the paper's 0.003. alpha: the centres' own rate, 0.5.
    """

    images_per_person = None

    def __init__(self, num_features: int, num_persons: int, *, weight: float = 0.003, alpha: float = 0.5):
        super().__init__()
        check_not_negative("center", weight=weight)
        if not 0 <= alpha <= 1:
            raise ValueError(f"center.alpha is {alpha}; expected 0 to 1")
        self.weight, self.alpha = weight, alpha
        self.register_buffer("centers", torch.zeros(num_persons, num_features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of (B, D) features of the persons `labels` (B,)."""
        features = at_least_float32(features)
        away = features - self.centers[labels].to(features)
        if self.training:
            self._move(away.detach(), labels)
        return away.square().sum(1).mean() / 2

    @torch.no_grad()
    def _move(self, away: Tensor, labels: Tensor) -> None:
        same = labels[:, None] == labels[None, :]
        with torch.autocast(away.device.type, enabled=False):
            moves = self.alpha * (same.to(away) @ away) / (1 + same.sum(1, keepdim=True))
        first = same.int().argmax(1)  # every row of a person writes the same to its place
        self.centers[labels] = (self.centers[labels] + moves[first].to(self.centers))[first]
