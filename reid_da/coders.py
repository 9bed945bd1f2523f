"""Encoders and decoders beside the trunk's own stages: ARN's and FTL's. They map features and know no losses."""

from collections.abc import Callable

import torch
from torch import nn


class FCNEncoder(nn.Module):
    """Three layers in the manner of FCN (Long, Shelhamer, Darrell 2015): maps of one size -> a vector, as maps of 1x1.

        e = conv8(relu(bn(conv7(relu(bn(conv6(x)))))))

    conv6 reaches over the whole map, conv7 and conv8 are 1x1, and dropout follows conv6 and conv7 as in FCN. The paper says
    no more than "FCN-style"; decided here: BatchNorm and ReLU after conv6 and conv7, neither after conv8 (FCN's last layer has
    none, and e may be negative); conv6 and conv7 have `width` channels, where one guess at them has as many as x: 134M
    weights an encoder on ResNet-50's 2048x8x4 maps, and 35M at width 512.

    Args:
        num_features: channels of x and of e. width: of conv6 and conv7. map_size: height and width of x.
    """

    def __init__(self, num_features: int, width: int, map_size: tuple[int, int]):
        super().__init__()
        self.map_size = tuple(map_size)
        self.conv6 = _layer(nn.Conv2d(num_features, width, self.map_size, bias=False), nn.ReLU())
        self.conv7 = _layer(nn.Conv2d(width, width, 1, bias=False), nn.ReLU())
        self.conv8 = nn.Conv2d(width, num_features, 1)

    def forward(self, maps: torch.Tensor, drop: Callable = lambda rows, layer: rows) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, 1, 1). drop(rows, layer's name): dropout. Raises ValueError for maps of another size."""
        if maps.shape[2:] != self.map_size:
            height, width = maps.shape[2:]
            raise ValueError(
                f"the trunk gives maps of {height}x{width}, and arn.encoder=fcn expects {self.map_size[0]}x{self.map_size[1]}; "
                f"give arn.map_size=[{height},{width}]"
            )
        return self.conv8(drop(self.conv7(drop(self.conv6(maps), "conv6")), "conv7"))

    def compile(self, *args, **options) -> None:
        """As nn.Module.compile, layer by layer: what is dropped between them is drawn on the CPU, anew in each step."""
        for layer in self.children():
            layer.compile(*args, **options)


class FCNDecoder(nn.Sequential):
    """D_C for FCNEncoder, its mirror image: two 1x1 transposed convolutions and one of the size of the map."""

    def __init__(self, num_features: int, width: int, map_size: tuple[int, int]):
        super().__init__(
            *_layer(nn.ConvTranspose2d(num_features, width, 1, bias=False), nn.ReLU()),
            *_layer(nn.ConvTranspose2d(width, width, 1, bias=False), nn.ReLU()),
            nn.ConvTranspose2d(width, num_features, tuple(map_size)),
        )


class FeatureDecoder(nn.Module):
    """D_C from layer4's maps back to x: up by layer4's stride, then two 3x3 convolutions."""

    def __init__(self, num_features: int, lower_features: int, stride: int):
        super().__init__()
        up = (
            nn.ConvTranspose2d(num_features, lower_features, 4, 2, 1)
            if stride == 2
            else nn.Conv2d(num_features, lower_features, 3, 1, 1)
        )
        self.layers = nn.Sequential(
            *_layer(up, nn.LeakyReLU(0.2)),
            *_layer(nn.Conv2d(lower_features, lower_features, 3, 1, 1), nn.LeakyReLU(0.2)),
            nn.Conv2d(lower_features, lower_features, 3, 1, 1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.layers(maps)


class ImageDecoder(nn.Sequential):
    """D_C from layer4's maps to the image in [-1, 1] (ARN's released code, Base_Decoder).

    A block for every halving of the trunk: a 3x3 transposed convolution of stride 2 and two of stride 1, each with BatchNorm and
    LeakyReLU(0.2), the very last with Tanh. Channels halve from block to block, the last but one has those of the
    trunk's stem (num_features / stride): 2048-1024-512-256-64-3 as published for ResNet-50, 128-64-16-3 for the narrow trunk.

    Args:
        num_features: channels of the maps. stride: of the whole trunk, a power of 2.
    """

    def __init__(self, num_features: int, stride: int):
        assert stride & (stride - 1) == 0, stride
        halvings = stride.bit_length() - 1
        channels = [*(num_features >> i for i in range(halvings - 1)), num_features // stride, 3]
        layers = []
        for inner, outer in zip(channels, channels[1:], strict=False):
            up = nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1, bias=False)
            for deconv in (up, *(nn.ConvTranspose2d(outer, outer, 3, 1, 1, bias=False) for _ in range(2))):
                layers += _layer(deconv, nn.LeakyReLU(0.2))
        super().__init__(*layers[:-1], nn.Tanh())


class VectorDecoder(nn.Sequential):
    """FTL's Dec, from a pooled feature to the image in [-1, 1].

    A linear layer to maps of the trunk's size, for every halving of the trunk a 4x4 transposed convolution of stride 2 with
    BatchNorm and LeakyReLU(0.2), and a 3x3 convolution with Tanh. Channels halve from layer to layer, down to 16. ARN's
    ImageDecoder, which goes down to 3 before its last two layers, has half as much error again after as many steps.

    Args:
        num_features: of the vector. width: channels of the first maps. map_size: their height and width, those of the trunk's
            maps. stride: of the whole trunk, a power of 2.
    """

    def __init__(self, num_features: int, width: int, map_size: tuple[int, int], stride: int):
        assert stride & (stride - 1) == 0, stride
        channels = [width, *(max(16, width >> i) for i in range(1, stride.bit_length()))]
        ups = [
            _layer(nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
            for inner, outer in zip(channels, channels[1:], strict=False)
        ]
        first = nn.Linear(num_features, width * map_size[0] * map_size[1])
        super().__init__(
            first, nn.Unflatten(1, (width, *map_size)), *ups, nn.Conv2d(channels[-1], 3, 3, 1, 1), nn.Tanh()
        )


class FilterNetwork(nn.Sequential):
    """FTL's R, from the rich feature to one of identity, of its size: linear, two transposed and two plain convolutions, linear.

    The paper says which layers; decided here: maps of 2x1, 4x2, 8x4, 4x2, 2x1 with num_features / 2 channels at their ends, 512
    at most, half of them and a quarter between; BatchNorm and LeakyReLU(0.2) after each convolution.
    """

    def __init__(self, num_features: int):
        width = min(512, num_features // 2)
        channels = (width, width // 2, width // 4, width // 2, width)
        kinds = [nn.ConvTranspose2d] * 2 + [nn.Conv2d] * 2
        layers = [
            _layer(kind(inner, outer, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
            for kind, inner, outer in zip(kinds, channels, channels[1:], strict=False)
        ]
        first, last = nn.Linear(num_features, 2 * width), nn.Linear(2 * width, num_features)
        super().__init__(first, nn.Unflatten(1, (width, 2, 1)), *layers, nn.Flatten(), last)


def _layer(convolution: nn.Module, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), activation)
