"""The only module that talks to torch.distributed. Without a process group it is one rank, and every function is local.

Conventions: every rank holds an equal slice of the global batch; every rank computes the same function of gathered rows;
gradients are AVERAGED over ranks. So the gradient with N ranks is the gradient of one rank on the global batch.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from reid_da.distances import at_least_float32
from reid_da.sampling import share

BUCKET = 1 << 22  # elements of one all-reduce: 16 MiB of float32; from 32 MiB on glibc maps fresh pages each time


def rank() -> int:
    """This process's number, 0-based; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> str:
    """This process's device: its own GPU if it was given one (torch's current one, which Ray Train sets), else the CPU."""
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


def local(rows: np.ndarray, what: str) -> np.ndarray:
    """This rank's contiguous slice of the global batch's rows. Raises ValueError when the ranks cannot share equally."""
    part = share(len(rows), world(), what)
    return rows[rank() * part : (rank() + 1) * part]


def broadcast(value):
    """Rank 0's picklable `value` on every rank."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class OnEveryRank(OSError):
    """What one rank met and all raise: no rank waits for another, and another try would meet it again."""


def agreed(work: Callable):
    """work() on every rank, each for itself; none waits for one where it raised ValueError or OSError.

    Raises:
        ValueError, OnEveryRank: everywhere, the first rank's that met one, an OSError as the latter; alone, as it is.
    """
    found = error = None
    try:
        found = work()
    except (ValueError, OSError) as failure:
        if world() == 1:
            raise
        error = failure
    errors = [error] * world()
    if world() > 1:
        dist.all_gather_object(errors, error)
    if first := next(filter(None, errors), None):
        if isinstance(first, OSError):
            first = OnEveryRank(first.errno, first.strerror or str(first), first.filename)
        raise first from error
    return found


def of_first(work: Callable):
    """What work() gives on rank 0, on every rank. Raises as `agreed` does."""
    return broadcast(agreed(work if rank() == 0 else lambda: None))


def mean(floats: dict[str, float]) -> dict[str, float]:
    """Mean over ranks of each named number; the names must be the same everywhere."""
    if world() == 1 or not floats:
        return floats
    values = torch.tensor(list(floats.values()), dtype=torch.float64, device=device())
    dist.all_reduce(values)
    return dict(zip(floats, (values / world()).tolist(), strict=True))


def finite_everywhere(values: torch.Tensor) -> torch.Tensor:
    """1. where all values of every rank are finite, else 0.: a tensor of one number, on the values' device, not waited for."""
    held = values.isfinite().all().to(values.dtype)
    if world() > 1:
        dist.all_reduce(held, dist.ReduceOp.MIN)
    return held


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):
        parts = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        # Each rank computed the same loss from the same rows and the parameters' gradients are averaged afterwards:
        # own rows times world is what the sum over ranks would have brought.
        part = len(gradient) // world()
        return gradient[rank() * part : (rank() + 1) * part] * world()


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Equal (n, ...) rows of all ranks as (world * n, ...), in rank order; gradients flow to the own rows."""
    return rows if world() == 1 else _Gather.apply(rows)


def gather_uneven(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all ranks, any number each, in rank order; no gradient. For evaluation, which never pads."""
    if world() == 1:
        return rows
    parts = [None] * world()
    dist.all_gather_object(parts, rows.cpu())
    return torch.cat(parts).to(rows.device)


def average_gradients(parameters) -> None:
    """Replace each parameter's gradient by its mean over ranks, in flat buckets; nothing is wrapped."""
    if world() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    while gradients:
        bucket, size = [], 0
        while gradients and (not bucket or size + gradients[0].numel() <= BUCKET):
            bucket.append(gradients.pop(0))
            size += bucket[-1].numel()
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        flat /= world()
        parts = flat.split([g.numel() for g in bucket])
        torch._foreach_copy_(bucket, [part.view_as(g) for g, part in zip(bucket, parts, strict=True)])


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose mean and variance are those of all ranks' rows; SyncBatchNorm for processes on CPUs.

    (B, C) or (B, C, H, W); in eval mode and in its buffers the same as torch's BatchNorm.
    """

    def _check_input_dim(self, x):
        assert x.dim() in (2, 4), x.shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        given, x = x.dtype, at_least_float32(x)  # under autocast too, as torch's
        axes = [d for d in range(x.dim()) if d != 1]
        count = x.numel() // x.shape[1] * world()
        shape = [1, -1] + [1] * (x.dim() - 2)
        moments = x.new_zeros(world(), 2, x.shape[1])
        moments[rank()] = torch.stack(torch.var_mean(x, axes, correction=0))
        variances, means = _SumOverRanks.apply(moments).unbind(1)  # of each rank: one message, and no cancellation
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        centred = x - mean.view(shape)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(given)


def global_batchnorm(module: nn.Module) -> nn.Module:
    """The module with every BatchNorm made global over ranks (in place); unchanged with one rank. Keys stay the same."""
    if world() == 1:
        return module
    if dist.get_backend() == "nccl":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            new = GlobalBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            new.load_state_dict(child.state_dict())
            for parameter, old in zip(new.parameters(), child.parameters(), strict=True):
                parameter.requires_grad = old.requires_grad
            setattr(module, name, new)
        else:
            global_batchnorm(child)
    return module


def assert_equal(tensors: dict[str, torch.Tensor]) -> None:
    """Every rank holds the same tensors: checked before evaluation and checkpoints."""
    if world() == 1:
        return
    sums = {k: float(v.double().sum()) for k, v in tensors.items() if v.is_floating_point()}
    averaged = mean(sums)
    for key, value in sums.items():
        assert abs(value - averaged[key]) <= 1e-9 * max(1.0, abs(value)), f"{key} differs between ranks"
