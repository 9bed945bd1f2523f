"""Circle loss with class labels (Sun et al., CVPR 2020): similarities weighed by how far they are from their optimum."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_da.identity_losses.cosine import CosineLoss, cosines, of_class


class Circle(CosineLoss):
    """Mean of log[1 + sum_{j != y} exp(g a_j (s_j - m)) exp(-g a_y (s_y - (1 - m)))], s = cosines (the paper's eq. 4 and 6).

    a_y = max(0, 1 + m - s_y) and a_j = max(0, s_j + m) carry no gradient.

    Args:
        scale: g, the paper's 128 for re-ID. margin: m, 0.25. It is no softmax, so it has no label smoothing.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float = 128.0,
        margin: float = 0.25,
        label_smoothing: float = 0.0,
    ):
        super().__init__(num_features, num_persons, scale=scale)
        if label_smoothing:
            raise ValueError(
                f"label_smoothing is {label_smoothing}, and identity_loss=circle is no cross-entropy; expected label_smoothing=0"
            )
        if not 0 <= margin < 1:
            raise ValueError(f"circle.margin is {margin}; expected 0 to below 1")
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = cosines(features, self.prototypes())
        m, true = self.margin, of_class(similarities, labels)
        negatives = self.scale * F.relu(similarities.detach() + m) * (similarities - m)
        negatives = negatives.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
        positive = self.scale * F.relu(1 + m - true.detach()) * (true - (1 - m))
        return F.softplus(negatives - positive.squeeze(1)).mean()
