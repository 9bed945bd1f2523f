"""The quick recipe's generator: an affine change of an image's colours, half of it measured, half of it learned.

It stands in place of gan.networks.Generator when minutes of two CPU cores are all there is, and is NOT the paper's
generator. A small StarGAN generator must first learn to copy people, which takes longer than the whole quick recipe;
this one cannot do anything but copy them, in other colours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.networks import check_multiple

_BLOCK = 4  # the network sees pixels in blocks of 4x4, as channels
_LEAST_VARIANCE = 1e-4  # about one grey level squared: keeps the covariance of nearly equal colours invertible


class ColourAffineGenerator(nn.Module):
    """y = clamp(A_k (x + M(x) x + d(x)) + b_k): from the image's own look to a common one, from there to camera k's.

    A_k (3x3) and b_k are `measure`d before training and stay. They are the linear map of least transport (Monge and
    Kantorovich; Pitie and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007) from the mean and the
    covariance of all cameras' colours to those of camera k's:
        A_k = R^-1/2 (R^1/2 S_k R^1/2)^1/2 R^-1/2,   b_k = m_k - A_k m,
    m_k, S_k the mean and covariance of the camera's pixels, m, R the means of these over cameras.
    M (3x3) and d are one per image, from a small network that sees the image and not the wanted camera: it has to undo
    the camera that took it. They are zero at the start; StarGAN's losses teach them, the identity mapping above all.
    As it does not know the wanted camera, it cannot overdo one camera's look to please the discriminator's camera head,
    which is what a generator with a free label does.

    Args:
        num_cameras: K.
        channels: of the network's convs.
    """

    def __init__(self, num_cameras: int, *, channels: int = 48) -> None:
        super().__init__()
        self.has_looks = False  # as far as is known
        self.register_buffer("matrices", torch.zeros(num_cameras, 3, 3))
        self.register_buffer("shifts", torch.zeros(num_cameras, 3))
        # No instance norm: the mean colour that it takes away is what tells the camera.
        self.features = nn.Sequential(
            *(nn.Conv2d(3 * _BLOCK**2, channels, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)),
            *(nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(0.1, inplace=True)),
            *(nn.Conv2d(channels, channels, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True)),
        )
        self.undo = nn.Linear(2 * channels, 12)
        nn.init.zeros_(self.undo.weight)
        nn.init.zeros_(self.undo.bias)

    def forward(self, images: Tensor, cameras: Tensor) -> Tensor:
        """Images in the style of the wanted cameras; shapes and range as gan.networks.Generator.forward.

        Raises:
            ValueError: a height or width that is no multiple of 4; no looks yet, from `measure` or from a state_dict.
        """
        check_multiple(images, _BLOCK)
        self.has_looks = self.has_looks or bool(self.matrices.any())  # looked at once: it waits for a GPU
        if not self.has_looks:
            raise ValueError("the cameras' looks are missing: call measure(images, cameras), or load a state_dict")
        features = self.features(F.pixel_unshuffle(images, _BLOCK)).flatten(2)
        summary = torch.cat([features.mean(dim=2), features.std(dim=2)], dim=1)
        matrices, shifts = self.undo(summary).view(-1, 3, 4).split([3, 1], dim=2)
        colours = images.flatten(2)
        common = colours + matrices @ colours + shifts
        styled = self.matrices[cameras] @ common + self.shifts[cameras][:, :, None]
        return styled.clamp(-1, 1).view_as(images)

    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)
        self.has_looks = False

    @torch.no_grad()
    def measure(self, images, cameras: Tensor) -> None:
        """Takes the cameras' looks (A_k, b_k) from all training images, in float64 and in a fixed order.

        Args:
            images: (N, H, W, 3) uint8 RGB, tensor or array.
            cameras: (N,) int64, the camera that took each image, 0..K-1.

        Raises:
            ValueError: a camera without images.
        """
        counts = torch.bincount(torch.as_tensor(cameras), minlength=len(self.matrices))
        if len(counts) != len(self.matrices) or not counts.all():
            raise ValueError(
                f"images per camera {counts.tolist()}: expected some of each of {len(self.matrices)} cameras"
            )
        moments = [_moments(images, torch.as_tensor(cameras) == camera) for camera in range(len(counts))]
        means, covariances = (torch.stack(of_all) for of_all in zip(*moments, strict=True))
        root = _square_root(covariances.mean(dim=0))
        inverse = torch.linalg.inv(root)
        matrices = inverse @ _square_root(root @ covariances @ root) @ inverse
        self.matrices.copy_(matrices)
        self.shifts.copy_(means - matrices @ means.mean(dim=0))


def _moments(images, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3,) and covariance (3, 3) of the chosen images' colours in [-1, 1], float64."""
    count, total, squares = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for rows in chosen.nonzero().flatten().split(256):
        colours = torch.as_tensor(images[rows.tolist()]).double().reshape(-1, 3) / 127.5 - 1
        count, total, squares = count + len(colours), total + colours.sum(dim=0), squares + colours.T @ colours
    mean = total / count
    return mean, squares / count - torch.outer(mean, mean) + _LEAST_VARIANCE * torch.eye(3, dtype=torch.float64)


def _square_root(matrices: Tensor) -> Tensor:
    """Of symmetric positive definite matrices (..., 3, 3)."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
