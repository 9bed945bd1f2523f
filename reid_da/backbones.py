"""Convolutional trunks, split where ARN splits them. They give feature maps and know no losses."""

import torch
import torch.nn.functional as F
from torch import nn

# torchvision is imported on use: it brings torch's compiler, two seconds that every command would wait for.


class Backbone(nn.Module):
    """A trunk in two parts: lower (stem to layer3) and layer4.

    forward: (B, 3, H, W) ImageNet-normalised float -> (B, num_features, h, w).
    lower_features: channels after `lower`; stride: spatial stride of layer4; total_stride: of the whole trunk.
    """

    def __init__(
        self,
        lower: nn.Module,
        layer4: nn.Module,
        lower_features: int,
        num_features: int,
        stride: int,
        total_stride: int,
    ):
        super().__init__()
        self.lower, self.layer4 = lower, layer4
        self.lower_features, self.num_features = lower_features, num_features
        self.stride, self.total_stride = stride, total_stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.lower(images))


def pool(maps: torch.Tensor) -> torch.Tensor:
    """Global average pooling: (B, C, h, w) -> (B, C)."""
    return maps.mean((2, 3))


def resnet50(weights: str | None = "imagenet", last_stride: int = 2) -> Backbone:
    """ResNet-50 (He et al. 2016) with unmodified strides, as HHL's code: 3x256x128 -> 2048x8x4.

    Args:
        weights: "imagenet" (torchvision's V1 weights, downloaded once), a file with such a state dict, or None (random).
        last_stride: 1 leaves the last stage at 16x8, with the same weights (Sun et al., PCB, ECCV 2018).
    Raises:
        ValueError: when the file does not hold a ResNet-50's weights; a stride that is neither 1 nor 2.
    """
    from torchvision.models import resnet

    if last_stride not in (1, 2):
        raise ValueError(f"backbone.last_stride is {last_stride}; expected 1 or 2")
    net = resnet.resnet50(weights=resnet.ResNet50_Weights.IMAGENET1K_V1 if weights == "imagenet" else None)
    if weights not in ("imagenet", None):
        state = torch.load(weights, map_location="cpu", weights_only=True)
        # The classifier is not used, and old files do not count BatchNorm's batches.
        shapes = {k: v.shape for k, v in net.state_dict().items() if not k.startswith("fc.") and v.ndim}
        if wrong := [k for k, shape in shapes.items() if k not in state or state[k].shape != shape]:
            raise ValueError(
                f"{weights} is no torchvision ResNet-50 state dict: {len(wrong)} of {len(shapes)} tensors are missing or of "
                f"another shape, {wrong[0]} first; expected what torchvision.models.resnet50().state_dict() holds"
            )
        net.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
    for strided in (net.layer4[0].conv2, net.layer4[0].downsample[0]):
        strided.stride = (last_stride, last_stride)
    lower = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
    return Backbone(lower, net.layer4, 1024, 2048, last_stride, 16 * last_stride)


class _Strided(nn.Conv2d):
    """A 1x1 convolution of every stride-th pixel, as one of stride 1: the same sums.

    oneDNN's own backward pass with a stride takes up to three times as long, and with fewer channels than a CPU register holds (8
    with AVX2) it writes past its buffers.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stride = self.stride[0]
        return F.conv2d(x[..., ::stride, ::stride], self.weight)


def narrow_resnet(width: int = 16) -> Backbone:
    """A ResNet for 64x32 images on two CPU cores: stem of stride 2, four BasicBlocks of width 1, 2, 4, 8 x `width`.

    Strides 1, 2, 2, 1, so 64x32 -> 8 * width maps of 8x4; 307k parameters at width 16. Random initial weights.
    Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}; expected channels, at least 1")
    from torchvision.models.resnet import BasicBlock

    def block(inner: int, outer: int, stride: int) -> nn.Module:
        down = nn.Sequential(_Strided(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        return BasicBlock(inner, outer, stride, down if inner != outer or stride != 1 else None)

    stem = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    lower = nn.Sequential(*stem, block(width, width, 1), block(width, 2 * width, 2), block(2 * width, 4 * width, 2))
    net = Backbone(lower, block(4 * width, 8 * width, 1), 4 * width, 8 * width, 1, 8)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net.to(memory_format=torch.channels_last)
