"""Batched augmentation on the device: crop, resize and flip as ONE affine resampling, then normalisation.

Random numbers come in through `draw` (sampling.draws), so that a step's pictures do not depend on the device or on how
many workers share the batch.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from reid_da.sampling import Draw, generator
from reid_da.transfer import to_device

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: torch.Tensor, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, (x / 255 - mean) / std per RGB channel; channels_last in memory."""
    return _scale(images.permute(0, 3, 1, 2).float(), mean, std)


def signed(images: torch.Tensor) -> torch.Tensor:
    """Undo `normalise`: (B, 3, H, W) ImageNet-normalised float -> values in [-1, 1], as decoders of images give them."""
    return (images * of_channels(IMAGENET_STD, images) + of_channels(IMAGENET_MEAN, images)) * 2 - 1


def random_area_crop(
    images: torch.Tensor,
    sizes: torch.Tensor,
    draw: Draw,
    *,
    area=(0.64, 1.0),
    ratio=(2.0, 3.0),
    flip=0.5,
    tries=10,
    erasing=0.0,
) -> torch.Tensor:
    """HHL's training transform: a random part of the image, resized to full size, flipped half of the time, normalised.

    The crop's area is uniform in `area` (a fraction of the image) and its height / width uniform in `ratio`, both measured
    in the original image's pixels; after `tries` boxes that do not fit, the whole image is taken (HHL reid/utils/data/
    transforms.py, RandomSizedRectCrop). Differs from the authors' code: it crops the stored image, already at the recipe's
    size, where they crop the JPEG and resize once.

    Args:
        images: (B, H, W, 3) uint8, stored at the recipe's size. sizes: (B, 2) original width and height in pixels.
        draw: draw(purpose, shape), uniform numbers for these B rows. erasing: probability of `random_erasing`, at the end.
    Returns:
        (B, 3, H, W) float32, ImageNet-normalised.
    """
    count = len(images)
    width, height = (sizes[:, i, None].float().cpu() for i in (0, 1))  # (B, 1) against (B, tries)
    u = draw("box", (count, tries, 2))
    box_ratio = ratio[0] + (ratio[1] - ratio[0]) * u[..., 1]
    box_width = ((area[0] + (area[1] - area[0]) * u[..., 0]) * width * height / box_ratio).sqrt()
    fits = (box_width <= width) & (box_width * box_ratio <= height)
    first = fits.float().argmax(1, keepdim=True)
    found = fits.any(1)
    part_x = torch.where(found, (box_width / width).gather(1, first)[:, 0], 1.0)
    part_y = torch.where(found, (box_width * box_ratio / height).gather(1, first)[:, 0], 1.0)
    cropped = _resample(
        images, torch.stack([part_x, part_y], 1), draw("place", (count, 2)), draw("flip", (count,)) < flip
    )
    images = _scale(cropped, IMAGENET_MEAN, IMAGENET_STD)
    return random_erasing(images, draw, erasing) if erasing else images


def random_erasing(
    images: torch.Tensor, draw: Draw, probability: float, *, area=(0.02, 0.2), ratio=(0.3, 3.0), tries=100
) -> torch.Tensor:
    """Random erasing (Zhong et al., AAAI 2020; HHL reid/utils/data/transforms.py): a box of the normalised image is filled.

    The box's area is uniform in `area` (a fraction of the image), its height / width uniform in `ratio`; the first of `tries` boxes
    that is smaller than the image is taken, at a uniform place; none: the image stays. As in HHL's code, ImageNet's mean of
    pixels / 255 is filled in after the normalisation: 0.485, 0.456 and 0.406 deviations above the mean, a light grey.

    Args:
        images: (B, 3, H, W), normalised. draw: uniform numbers for these B rows. probability: that an image is erased, 0..1.
    Returns:
        (B, 3, H, W), a new tensor.
    """
    count, _, height, width = images.shape
    u = draw("erase box", (count, tries, 2))
    boxes = (area[0] + (area[1] - area[0]) * u[..., 0]) * height * width
    ratios = ratio[0] + (ratio[1] - ratio[0]) * u[..., 1]
    tall, wide = (boxes * ratios).sqrt().round(), (boxes / ratios).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.float().argmax(1, keepdim=True)
    tall, wide = tall.gather(1, first), wide.gather(1, first)  # (B, 1)
    place = draw("erase place", (count, 2))
    top = (place[:, :1] * (height - tall + 1)).floor()
    left = (place[:, 1:] * (width - wide + 1)).floor()
    erased = (draw("erase", (count,)) < probability) & fits.any(1)
    y, x = torch.arange(height), torch.arange(width)
    rows, columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    box = (rows[:, :, None] & columns[:, None, :] & erased[:, None, None])[:, None]
    return torch.where(to_device(box, images.device), of_channels(IMAGENET_MEAN, images), images)


def random_shift(images: torch.Tensor, draw: Draw, *, part: float = 8 / 9, flip: float = 0.5) -> torch.Tensor:
    """StarGAN's training transform: enlarge by 1 / part, crop at random to the old size, flip; values in [-1, 1].

    part 8/9 is HHL's stargan4reid (resize to 288x144, crop 256x128); 1 keeps the whole image.
    images: (B, H, W, 3) uint8 -> (B, 3, H, W) float32.
    """
    count = len(images)
    moved = _resample(images, torch.full((count, 2), part), draw("place", (count, 2)), draw("flip", (count,)) < flip)
    return moved / 127.5 - 1


def _resample(images: torch.Tensor, part: torch.Tensor, place: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """The window of size part (B, 2: x, y) at relative position place (B, 2), mirrored where flip; (B, 3, H, W) 0..255."""
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(flip, -part[:, 0], part[:, 0])
    theta[:, 1, 1] = part[:, 1]
    theta[:, :, 2] = (1 - part) * (2 * place - 1)
    pixels = images.permute(0, 3, 1, 2).float()
    count, _, height, width = pixels.shape
    theta = to_device(theta, images.device)
    # nothing is turned: a row of x and a column of y hold the whole grid, bit for bit, at a tenth of its matrix product
    x = F.affine_grid(theta, [count, 1, 1, width], align_corners=False)[..., 0]
    y = F.affine_grid(theta, [count, 1, height, 1], align_corners=False)[..., 1]
    grid = torch.stack([axis.expand(count, height, width) for axis in (x, y)], dim=-1)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _scale(pixels: torch.Tensor, mean, std) -> torch.Tensor:
    """In place of pixels, which the caller has made."""
    mean, std = (of_channels(v, pixels) * 255 for v in (mean, std))
    return pixels.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def of_channels(values: Sequence[float], images: torch.Tensor) -> torch.Tensor:
    """(1, 3, 1, 1) numbers to go with (B, 3, H, W) images."""
    return to_device(torch.tensor(values, dtype=images.dtype), images.device).view(1, 3, 1, 1)


def colour_jitter(images: np.ndarray, copies: int, keys: Iterable, strength: Sequence[float]) -> np.ndarray:
    """Copies of each image with ordinary colour jitter (torchvision's ColorJitter), which knows nothing of the cameras.

    Args:
        images: (N, H, W, 3) uint8. keys: one per image; what its draws are seeded by.
        strength: of brightness, contrast and saturation (0.4: by factors of 0.6 to 1.4), and hue in turns (0..0.5).
    Returns:
        (N, copies, H, W, 3) uint8.
    """
    from torchvision.transforms import ColorJitter  # not with the rest: see backbones.py

    jitter = ColorJitter(*strength)
    jittered = np.empty((len(images), copies, *images.shape[1:]), dtype=np.uint8)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
        for image, key, row in zip(images, keys, jittered, strict=True):
            torch.manual_seed(generator("jitter", key).initial_seed())
            picture = Image.fromarray(image)  # on so small pictures Pillow is four times as fast as tensors
            for k in range(copies):
                row[k] = np.asarray(jitter(picture))
    return jittered
