"""CosFace (Wang et al., CVPR 2018), also AM-Softmax (Wang, Cheng, Liu, Liu; 2018): a margin on the cosine."""

from reid_da.identity_losses.cosine import MarginLoss


class CosFace(MarginLoss):
    """True class s (cos_y - m), others s cos_j. Args: scale s, margin m (the paper's eq. 4 and 64, 0.35)."""

    def __init__(self, num_features: int, num_persons: int, *, scale: float = 64.0, margin: float = 0.35, **smoothing):
        super().__init__(num_features, num_persons, scale=scale, margin=margin, **smoothing)
