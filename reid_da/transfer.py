"""From the CPU's memory to the device's, with neither waiting for the other."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


def to_device(values: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """values on the device; from the CPU to a GPU by way of pinned memory, so that the calling thread does not wait."""
    device = torch.device(device)
    if values.device.type == "cpu" and device.type != "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class Ahead:
    """batches(step), prepared while step - 1 is computed: one thread reads the rows, moves and augments them.

    For a GPU, where the thread has a stream of its own: what it copies and augments runs beside the network, not after it. On the
    CPU it would only take the cores from the network. An error of the thread is raised at the step it belongs to.

    Args:
        batches: a pure function of the step, whose tensors are on `device`. steps: of the training; nothing is prepared beyond.
    """

    def __init__(self, batches: Callable[[int], dict], steps: int, device: str | torch.device = "cpu"):
        self.batches, self.steps, self.waiting = batches, steps, {}
        self.stream = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None
        self.thread = ThreadPoolExecutor(1)

    def __call__(self, step: int) -> dict:
        ready = self.waiting.pop(step, None) or self.thread.submit(self._prepare, step)
        self.waiting.clear()
        batch, done = ready.result()
        if step + 1 < self.steps:
            self.waiting[step + 1] = self.thread.submit(self._prepare, step + 1)
        if done:
            current = torch.cuda.current_stream(self.stream.device)
            current.wait_event(done)
            for tensor in _tensors(batch):
                tensor.record_stream(current)  # else the thread's stream would take its memory again too early
        return batch

    def _prepare(self, step: int) -> tuple[dict, torch.cuda.Event | None]:
        if not self.stream:
            return self.batches(step), None
        with torch.cuda.stream(self.stream):
            return self.batches(step), self.stream.record_event()


def _tensors(batch) -> Iterator[torch.Tensor]:
    """All tensors on a GPU in nested dicts."""
    if isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, torch.Tensor) and batch.is_cuda:
        yield batch
