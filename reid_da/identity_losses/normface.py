"""NormFace (Wang, Xiang, Cheng, Yuille; ACM MM 2017): softmax of scaled cosines."""

import math

import torch
from torch import nn

from reid_da.identity_losses.cosine import CosineLoss


class NormFace(CosineLoss):
    """Mean of -log softmax_y of s cos_j.

    Args:
        scale: s, where learned its start. learn_scale: s is a parameter, as in the paper's section 3.3.
    """

    def __init__(
        self, num_features: int, num_persons: int, *, scale: float = 64.0, learn_scale: bool = False, **smoothing
    ):
        super().__init__(num_features, num_persons, scale=scale, **smoothing)
        if learn_scale:
            self.scale = nn.Parameter(torch.tensor(float(scale)))


def lower_bound(num_persons: int, scale: float) -> float:
    """The least loss with as many images of each of C persons (the paper's eq. 4): log(1 + (C - 1) exp(-s C / (C - 1))).

    Reached where every feature is its class weight and these are the corners of a regular simplex.
    """
    return math.log1p((num_persons - 1) * math.exp(-scale * num_persons / (num_persons - 1)))
