"""MagFace (Meng, Zhao, Huang, Zhou; CVPR 2021): ArcFace whose margin grows with the feature's norm, and a pull on the norm."""

from torch import Tensor

from reid_da.distances import at_least_float32
from reid_da.identity_losses.cosine import CosineLoss, angular_margin, check_angle, of_class


class MagFace(CosineLoss):
    """-log softmax_y with s cos(theta_y + m(a)) for the true class and s cos_j for others, + lambda_g g(a) (the paper's eq. 4).

    a = |x| clipped to [norm_min, norm_max]; m(a) goes linearly from margin_min to margin_max over it; g(a) = a / norm_max^2 +
    1 / a, which falls up to norm_max. Outside the two norms neither has a gradient, as in the authors' code.

    Args:
        scale: 64. margin_min, margin_max: 0.45, 0.8 (radians). norm_min, norm_max: 10, 110. lambda_g: 35.
    """

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float = 64.0,
        margin_min: float = 0.45,
        margin_max: float = 0.8,
        norm_min: float = 10.0,
        norm_max: float = 110.0,
        lambda_g: float = 35.0,
        **smoothing,
    ):
        super().__init__(num_features, num_persons, scale=scale, **smoothing)
        check_angle(self.name(), margin_min=margin_min, margin_max=margin_max)
        if not margin_min <= margin_max or not 0 < norm_min < norm_max or lambda_g < 0:
            raise ValueError(
                f"magface has margins {margin_min} to {margin_max}, norms {norm_min} to {norm_max} and lambda_g {lambda_g}; "
                "expected margin_min <= margin_max, 0 < norm_min < norm_max and lambda_g at least 0"
            )
        self.margins, self.norms, self.lambda_g = (margin_min, margin_max), (norm_min, norm_max), lambda_g

    def clipped_norms(self, features: Tensor) -> Tensor:
        """a: (B, 1)."""
        return at_least_float32(features).norm(dim=1, keepdim=True).clamp(*self.norms)

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        (low, high), (least, most) = self.margins, self.norms
        margins = low + (high - low) / (most - least) * (self.clipped_norms(features) - least)
        return cosines.scatter(1, labels[:, None], angular_margin(of_class(cosines, labels), margins))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        a = self.clipped_norms(features)
        return super().forward(features, labels) + self.lambda_g * (a / self.norms[1] ** 2 + 1 / a).mean()
