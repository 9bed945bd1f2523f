"""Every image in every camera's style. Called by whoever writes the styles of a shard of the target's training set."""

import torch
from torch import Tensor, nn


@torch.inference_mode()
def translate(generator: nn.Module, images, num_cameras: int, *, batch_size: int = 256) -> Tensor:
    """styled[i, k] = round((G(x_i, k) + 1) 127.5), x = pixels / 127.5 - 1, for all cameras k, the image's own included.

    As the HHL authors generate them (Zhong et al., ECCV 2018, stargan4reid; 1 + K variants of an image make its
    positives), but kept as pixels rather than written as JPEG.

    Args:
        generator: (images, cameras) -> images, see gan.networks.Generator; runs on the device where it lies.
        images: (N, H, W, 3) uint8 RGB, tensor or array (also a memory-mapped one; it is read batch by batch).
        num_cameras: K, as the generator was built.
        batch_size: styled images at a time; it bounds memory and changes the result by no more than float rounding.

    Returns:
        (N, K, H, W, 3) uint8 RGB on the CPU.

    Raises:
        ValueError: images of another dtype or shape, or a batch_size below 1.
    """
    if str(images.dtype) not in ("uint8", "torch.uint8") or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (N, H, W, 3)")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; expected at least 1")
    device = next(generator.parameters()).device
    count, *size = images.shape
    styled = torch.empty(count * num_cameras, *size, dtype=torch.uint8)
    for start in range(0, len(styled), batch_size):
        pairs = torch.arange(start, min(start + batch_size, len(styled)))  # pair = image * K + camera
        pixels = torch.as_tensor(images[(pairs // num_cameras).tolist()]).to(device).permute(0, 3, 1, 2)
        outputs = generator(pixels / 127.5 - 1, (pairs % num_cameras).to(device))
        outputs = ((outputs.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        styled[start : start + batch_size] = outputs.permute(0, 2, 3, 1).cpu()
    return styled.unflatten(0, (count, num_cameras))
