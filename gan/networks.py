"""The published StarGAN networks: a generator told the wanted camera, a discriminator that also names the camera.

The quick recipe's generator is in
gan/colour_affine.py; its critic is this file's Discriminator with channels=8, depth=4.

Source: Choi et al., "StarGAN", CVPR 2018, tables 4 and 5, with the class head of the HHL authors' code (Zhong et al.,
"Generalizing a Person Retrieval Model Hetero- and Homogeneously", ECCV 2018, stargan4reid), which is not square because
people are not.

Shapes: B images, K cameras, H high, W wide.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """G(x, c): the image x as camera c would have taken it (StarGAN, table 4).

    conv 7 -> 2 convs with stride 2 -> residual blocks -> 2 upsamplings by 2 -> conv 7 -> tanh; every
    convolution but the last is followed by instance norm and ReLU and none has a bias. Padding is with zeros
    throughout: instance norm cancels the label, which is a constant plane, everywhere except where the zeros meet it.

    Args:
        num_cameras: K.
        channels: of the first layer; 64 is the published size.
        num_blocks: residual blocks; 6 is the published size.
        upsample: "transposed", as published: a transposed conv 4 with stride 2; or "resize": each pixel four times
            (nearest neighbour), then a conv 3. The first can draw checkerboards, since with stride 2 its output pixels
            are sums of differently weighted inputs; the second cannot (Odena et al., "Deconvolution and Checkerboard
            Artifacts", Distill 2016; yunjey/stargan issue 116).

    8,433,664 parameters for K = 6 and 8,439,936 for K = 8 at the published size; 286,720 less with "resize".

    Raises:
        ValueError: another upsample, or fewer than one channel.

    Differs from the authors' code: instance norm keeps no running statistics. Theirs keeps them and never calls eval(),
    with which they would be used; without them train() and eval() agree.
    """

    def __init__(
        self, num_cameras: int, *, channels: int = 64, num_blocks: int = 6, upsample: str = "transposed"
    ) -> None:
        super().__init__()
        at_least(0, num_blocks=num_blocks)
        at_least(1, channels=channels)
        self.num_cameras = num_cameras
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(3 + num_cameras, channels, 7, 1, 3, bias=False)),
            *_normed(nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=False)),
            *_normed(nn.Conv2d(2 * channels, 4 * channels, 4, 2, 1, bias=False)),
            *(ResidualBlock(4 * channels) for _ in range(num_blocks)),
            *_doubled(4 * channels, 2 * channels, upsample),
            *_doubled(2 * channels, channels, upsample),
            nn.Conv2d(channels, 3, 7, 1, 3, bias=False),
            nn.Tanh(),
        )

    def forward(self, images: Tensor, cameras: Tensor) -> Tensor:
        """Images in the style of the wanted cameras.

        Args:
            images: (B, 3, H, W) float in [-1, 1]; H and W multiples of 4, at least 8.
            cameras: (B,) int64, wanted camera of each image, 0..K-1.

        Returns:
            (B, 3, H, W) float in (-1, 1).

        Raises:
            ValueError: a height or width that the two halvings do not divide.
        """
        check_multiple(images, 4)
        return self.layers(torch.cat([images, label_planes(cameras, self.num_cameras, images)], dim=1))


class Discriminator(nn.Module):
    """D(x): how real each patch of x looks, and which camera took it (StarGAN, table 5).

    `depth` convs 4/2/1 with bias and leaky ReLU 0.01, no norm (the gradient penalty is per image); then a conv 3 to the
    patch map and a conv as large as what is left, (H / 2^depth, W / 2^depth), to the camera logits, both without bias.

    Args:
        num_cameras: K.
        height, width: H and W of the images, multiples of 2^depth.
        channels: of the first layer, doubled by each that follows; 64 is the published size.
        depth: convolutions in the trunk; 6 is the published size.

    44.82 and 44.85 million parameters for K = 6 and 8 at 256x128 and the published size.

    Raises:
        ValueError: H or W is not a multiple of 2^depth, or fewer than one channel or convolution.
    """

    def __init__(self, num_cameras: int, height: int, width: int, *, channels: int = 64, depth: int = 6) -> None:
        super().__init__()
        at_least(1, channels=channels, depth=depth)
        step = 2**depth
        if height % step or width % step or not height or not width:
            raise ValueError(
                f"images of {height}x{width} (height x width) do not fit {depth} halvings: both must be multiples of "
                f"{step}; resize them, e.g. to {_nearest(height, step)}x{_nearest(width, step)}, or lower depth"
            )
        sizes = [3] + [channels * 2**i for i in range(depth)]
        trunk = []
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            trunk += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.size = (height, width)
        self.trunk = nn.Sequential(*trunk)
        self.realness = nn.Conv2d(sizes[-1], 1, 3, 1, 1, bias=False)
        self.camera = nn.Conv2d(sizes[-1], num_cameras, (height // step, width // step), bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Patch map and camera logits.

        Args:
            images: (B, 3, H, W) float in [-1, 1], H and W as given to the constructor.

        Returns:
            (B, 1, H / 2^depth, W / 2^depth) realness, unbounded; (B, K) logits.

        Raises:
            ValueError: images of another size.
        """
        if tuple(images.shape[-2:]) != self.size:
            raise ValueError(
                f"images of {_size(images)}, but this discriminator was built for {self.size[0]}x{self.size[1]}"
            )
        features = self.trunk(images)
        return self.realness(features), self.camera(features).flatten(1)


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), 3x3, nothing after the sum (StarGAN, table 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(channels, channels, 3, 1, 1, bias=False)),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return features + self.layers(features)


def label_planes(cameras: Tensor, num_cameras: int, features: Tensor) -> Tensor:
    """One-hot cameras (B,) as K constant planes of the features' height, width and dtype: (B, K, H, W)."""
    planes = F.one_hot(cameras, num_cameras).to(features.dtype)[:, :, None, None]
    return planes.expand(-1, -1, *features.shape[-2:])


def at_least(least: int, **sizes: int) -> None:
    """ValueError for the first of the named sizes that is below `least`."""
    for name, size in sizes.items():
        if size < least:
            raise ValueError(f"{name}={size}: expected at least {least}")


def check_multiple(images: Tensor, step: int) -> None:
    """ValueError unless height and width of (B, C, H, W) images are multiples of `step`."""
    if any(side % step for side in images.shape[-2:]):
        raise ValueError(f"images of {_size(images)} (height x width): the generator needs multiples of {step} in both")


def _normed(convolution: nn.Module) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), nn.ReLU(inplace=True)]


def _doubled(before: int, after: int, upsample: str) -> list[nn.Module]:
    """Layers from `before` channels to `after`, at twice the height and width."""
    if upsample == "transposed":
        return _normed(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False))
    if upsample == "resize":
        return [nn.Upsample(scale_factor=2, mode="nearest"), *_normed(nn.Conv2d(before, after, 3, 1, 1, bias=False))]
    raise ValueError(f"upsample is {upsample!r}; expected 'transposed' or 'resize'")


def _size(images: Tensor) -> str:
    return f"{images.shape[-2]}x{images.shape[-1]}"


def _nearest(side: int, step: int) -> int:
    return max(step, round(side / step) * step)
