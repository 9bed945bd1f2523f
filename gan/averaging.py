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
    reaches back some 1 / (1 - decay) calls; after n calls the starting weights still count decay^n, and no correction is
    made for that. Deterministic: ranks with equal weights keep equal averages.

    Args:
        averaged: what `follower` gave for the network. decay: in [0, 1).
    """
    for mean, new in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)
    for mean, new in zip(averaged.buffers(), network.buffers(), strict=True):
        mean.copy_(new)
