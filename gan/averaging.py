"""A second generator whose weights follow the trained one's, smoothed: what makes the styles where StarGAN's ema is on."""

import copy

import torch
from torch import nn


def follower(network: nn.Module) -> nn.Module:
    """A copy of the network that no gradient reaches, for `follow`; it starts at the network's own weights."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged <- decay averaged + (1 - decay) network, for every parameter; buffers become the network's.

    The exponential moving average of a GAN's generator (Karras et al., "Progressive Growing of GANs", ICLR 2018,
    appendix A.1; Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019). It
    reaches back some 1 / (1 - decay) calls. Deterministic: ranks with equal weights keep equal averages.

    Args:
        averaged: what `follower` gave for the network. decay: in [0, 1).
    """
    for mean, new in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)
    for mean, new in zip(averaged.buffers(), network.buffers(), strict=True):
        mean.copy_(new)


def warmed(decay: float, moves: int) -> float:
    """min(decay, (1 + n) / (10 + n)) for the n-th move: a short average at first, so that the start is forgotten early.

    With a fixed decay the untrained weights would still count decay^n: three quarters after 280 moves at 0.999. So the
    average reaches back over the last ninth of the moves till `decay` is met (at 0.999 after 8990 of the published
    44,000). As TensorFlow's ExponentialMovingAverage with num_updates; Karras et al. have a fixed decay.

    Args:
        decay: in [0, 1). moves: how often the network has moved, this time included, from 1.
    """
    return min(decay, (1 + moves) / (10 + moves))
