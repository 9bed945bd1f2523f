"""Rows that learn nothing, to hold the methods against: features drawn at random, and colour histograms.

Built and asked like a method (`embed`), never trained: their blocks in conf/method/ name no optimiser.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import nn

from reid_da.augment import IMAGENET_MEAN, IMAGENET_STD, of_channels
from reid_da.sampling import generator


class Untrained(nn.Module):
    """A method without parameters: what `embed` gives is all there is."""

    def __init__(self, backbone: nn.Module | None = None, *, num_persons: int = 0):
        super().__init__()

    @staticmethod
    def inputs(**options) -> tuple[str, ...]:
        return ()


class Chance(Untrained):
    """Features that know nothing: N(0, 1)^64, seeded by the image's pixels and torch's seed when it was built."""

    def __init__(self, backbone: nn.Module | None = None, *, num_persons: int = 0):
        super().__init__(backbone, num_persons=num_persons)
        self.register_buffer("salt", torch.randint(2**31, ()))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 64) L2-normalised."""
        keys = [hashlib.sha256(image.contiguous().cpu().numpy().tobytes()).hexdigest() for image in images]
        rows = [torch.randn(64, generator=generator("chance", int(self.salt), key)) for key in keys]
        return F.normalize(torch.stack(rows)).to(images.device)


class Histogram(Untrained):
    """Colour without learning: joint RGB histograms of horizontal stripes, compared by the Hellinger distance.

        f = concat over stripes s of sqrt(h_s),   h_s(b) = share of the stripe's pixels in colour bin b

    |f - f'| is then the Hellinger distance over all stripes, up to a factor. The classical appearance baseline of the field,
    with the six stripes of Gray and Tao (ECCV 2008).

    Args:
        stripes: horizontal ones, 1..height. bins: per channel, so that a stripe has bins^3.
    """

    def __init__(
        self, backbone: nn.Module | None = None, *, num_persons: int = 0, stripes: int = 6, bins: int = 4
    ) -> None:
        super().__init__(backbone, num_persons=num_persons)
        if stripes < 1 or bins < 1:
            raise ValueError(f"histogram.stripes={stripes}, histogram.bins={bins}; expected both at least 1")
        self.stripes, self.bins = stripes, bins

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised as for the methods -> (B, stripes * bins^3) L2-normalised."""
        mean, std = (of_channels(v, images) for v in (IMAGENET_MEAN, IMAGENET_STD))
        levels = ((images * std + mean) * self.bins).long().clamp(0, self.bins - 1)
        cells = (levels[:, 0] * self.bins + levels[:, 1]) * self.bins + levels[:, 2]  # (B, H, W)
        shares = []
        for stripe in cells.tensor_split(self.stripes, dim=1):
            counts = torch.zeros(len(images), self.bins**3, device=images.device)
            counts.scatter_add_(1, stripe.flatten(1), torch.ones_like(stripe.flatten(1), dtype=counts.dtype))
            shares.append((counts / stripe[0].numel()).sqrt())
        return F.normalize(torch.cat(shares, dim=1))
