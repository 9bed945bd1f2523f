"""StarGAN's loss terms, one function each; weights and signs of the sums are in gan/stargan.py, the only caller.

Source: Choi et al., "StarGAN", CVPR 2018, equations 1-6 and 8, as the HHL authors' code uses them (Zhong et al., ECCV
2018, stargan4reid). Means are over all elements, so the mean over ranks with equal shares is the global batch's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """Adversarial loss of D: mean D(G(x, c')) - mean D(x) (StarGAN eq. 8 without its penalty; Arjovsky et al., 2017).

    Args:
        real, fake: patch maps (B, 1, h, w) of real and of styled images, unbounded.

    Returns:
        Scalar, unbounded; minus an estimate of the distance between real and styled images.
    """
    return at_least_float32(fake).mean() - at_least_float32(real).mean()


def realness(fake: Tensor) -> Tensor:
    """Adversarial loss of G: -mean D(G(x, c')) (the part of StarGAN eq. 8 with G in it). (B, 1, h, w) -> scalar."""
    return -at_least_float32(fake).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Mean of (|grad_x sum D(x)|_2 - 1)^2 at x = alpha real + (1 - alpha) fake (Gulrajani et al., 2017, eq. 3).

    The gradient is of the SUM of an image's patch map, the norm over all of the image's elements. Differentiable twice:
    gradients reach the critic's parameters. Computed in float32 at least, also where autocast is on, because a
    half-precision gradient's norm is off by more than the penalty corrects.

    Args:
        critic: (B, 3, H, W) -> patch map of any shape with B first; no layer may mix images.
        real, fake: (B, 3, H, W) float; no gradient flows back into them.
        alpha: (B,) float in [0, 1], the real share of each image.

    Returns:
        Scalar >= 0.
    """
    with torch.autocast(real.device.type, enabled=False):
        alpha = alpha[:, None, None, None]
        points = alpha * at_least_float32(real.detach()) + (1 - alpha) * at_least_float32(fake.detach())
        points.requires_grad_()
        (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
        return (torch.linalg.vector_norm(gradients.flatten(1), dim=1) - 1).square().mean()


def camera_classification(logits: Tensor, cameras: Tensor) -> Tensor:
    """Mean of -log D_cls(c | x), softmax cross-entropy over cameras (StarGAN eqs. 2 and 3).

    On real images and their own camera it is D's term, on styled images and the wanted camera G's; D gets none for
    styled ones.

    Args:
        logits: (B, K) float.
        cameras: (B,) int64, 0..K-1.

    Returns:
        Scalar >= 0; log K for logits that know nothing.
    """
    return F.cross_entropy(at_least_float32(logits), cameras)


def reconstruction(images: Tensor, cycled: Tensor) -> Tensor:
    """Cycle loss mean|x - G(G(x, c'), c)| (StarGAN eq. 4). (B, 3, H, W) twice, in [-1, 1] -> scalar in [0, 2]."""
    return (images - cycled).abs().mean()


def identity_mapping(images: Tensor, own: Tensor) -> Tensor:
    """mean|x - G(x, c)|, c the image's own camera: what has the style already stays (Zhu et al., CycleGAN, 2017, 5.2).

    Not in StarGAN nor in the HHL authors' code, where its weight is 0. It holds clothes' colours down (their generator
    drifts, zhunzhong07/HHL issue 16). Shapes and range as `reconstruction`.
    """
    return (images - own).abs().mean()


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, anything finer as it is: a mean of many terms needs the digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
