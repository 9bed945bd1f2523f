"""ArcFace (Deng, Guo, Xue, Zafeiriou; CVPR 2019): a margin on the angle."""

from reid_da.identity_losses.cosine import MarginLoss, angular_margin


class ArcFace(MarginLoss):
    """True class s cos(theta_y + m), others s cos_j. Args: scale s, margin m in radians (the paper's eq. 3 and 64, 0.5)."""

    form = staticmethod(angular_margin)

    def __init__(self, num_features: int, num_persons: int, *, scale: float = 64.0, margin: float = 0.5, **smoothing):
        super().__init__(num_features, num_persons, scale=scale, margin=margin, **smoothing)
