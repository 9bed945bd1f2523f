"""Plain softmax: what HHL and ARN learn identities with."""

import torch.nn.functional as F
from torch import Tensor, nn

from reid_da.distances import at_least_float32


class Softmax(nn.Linear):
    """Mean of -log softmax_y of W x + b.

    Args:
        num_features: D. num_persons: C. label_smoothing: e; the target is (1 - e) one-hot + e / C (Szegedy et al. 2016).
    """

    feature, gathered = "hidden", False

    def __init__(self, num_features: int, num_persons: int, *, label_smoothing: float = 0.0):
        super().__init__(num_features, num_persons)
        self.label_smoothing = label_smoothing
        nn.init.normal_(self.weight, std=0.001)
        nn.init.zeros_(self.bias)

    def logits(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, C), at least float32."""
        return at_least_float32(super().forward(features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of (B, D) features of the persons `labels` (B,)."""
        return F.cross_entropy(self.logits(features), labels, label_smoothing=self.label_smoothing)
