"""Every image in every camera's style."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

BATCH = 256  # styled images at a time: what bounds memory


def translate(generator: nn.Module, images, num_cameras: int, *, batch_size: int = BATCH) -> Tensor:
    """styled[i, k] = round((G(x_i, k) + 1) 127.5), x = pixels / 127.5 - 1, for all cameras k, the image's own included.

    As the HHL authors generate them (Zhong et al., ECCV 2018, stargan4reid; 1 + K variants of an image make its
    positives), but kept as pixels rather than written as JPEG.

    Args:
        generator: (images, cameras) -> images, see gan.networks.Generator; runs on the device where it lies.
        images: (N, H, W, 3) uint8 RGB, tensor or array (also a memory-mapped one; it is read batch by batch).
        num_cameras: K, as the generator was built.
        batch_size: styled images at a time; it changes the result by no more than float rounding.

    Returns:
        (N, K, H, W, 3) uint8 RGB on the CPU.

    Raises:
        ValueError: images of another dtype or shape, or a batch_size below 1.
    """
    count, *size = images.shape
    styled, place = torch.empty(count * num_cameras, *size, dtype=torch.uint8), 0
    for batch in translated(generator, images, num_cameras, batch_size=batch_size):
        styled[place : place + len(batch)] = batch
        place += len(batch)
    return styled.unflatten(0, (count, num_cameras))


@torch.inference_mode()
def translated(generator: nn.Module, images, num_cameras: int, *, batch_size: int = BATCH) -> Iterator[Tensor]:
    """`translate` in pieces, for what is too large to lie in memory: styled[0, 0], styled[0, 1] .. styled[N - 1, K - 1].

    An image's pixels are read, and on CUDA sent, once for all its styles. One batch is on its way while the one before it
    is with the caller, so that on CUDA what the caller does with it costs no time.

    Args, Raises:
        As `translate`; errors come with the first batch.

    Yields:
        (B, H, W, 3) uint8 RGB on the CPU, B = batch_size but for the last.
    """
    if str(images.dtype) not in ("uint8", "torch.uint8") or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (N, H, W, 3)")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; expected at least 1")
    count, sent = len(images) * num_cameras, None
    for start in range(0, count, batch_size):
        pairs = torch.arange(start, min(start + batch_size, count))  # pair = image * K + camera
        before, sent = sent, _send(generator, images, pairs // num_cameras, pairs % num_cameras)
        if before:
            yield _landed(*before)
    if sent:
        yield _landed(*sent)


def _send(generator: nn.Module, images, rows: Tensor, cameras: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Start one batch; on CUDA nothing is waited for, and the pixels have landed when the event has happened."""
    device = next(generator.parameters()).device
    cuda = device.type == "cuda"
    first, last = int(rows[0]), int(rows[-1])
    pixels = torch.as_tensor(images[list(range(first, last + 1))])  # a copy: a read-only map is no tensor
    pixels = (pixels.pin_memory() if cuda else pixels).to(device, non_blocking=cuda)
    inputs = (pixels / 127.5 - 1)[(rows - first).to(device)].permute(0, 3, 1, 2)
    outputs = generator(inputs, cameras.to(device)).float()
    outputs = outputs.add_(1).mul_(127.5).round_().clamp_(0, 255)  # in place: fresh memory costs more than the sums
    styled = outputs.permute(0, 2, 3, 1).to(torch.uint8, memory_format=torch.contiguous_format)
    if not cuda:
        return styled.cpu(), None
    styled = styled.to("cpu", non_blocking=True)  # into pinned memory, while the caller has the batch before
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return styled, event


def _landed(styled: Tensor, event: torch.cuda.Event | None) -> Tensor:
    if event:
        event.synchronize()
    return styled
