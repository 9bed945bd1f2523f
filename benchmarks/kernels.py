"""What the kernels of a training step on a GPU do, and how long it stands still: ResNet-50 at 256x128, published batches.

    python benchmarks/kernels.py                # baseline, HHL and ARN, in float32 (convolutions: TF32) and bf16: a minute

Milliseconds of a step: by the clock without the profiler; with it, those in which a kernel runs, and the kernels' own by what their
names say they do. Where a step is much longer than its kernels, the GPU waits for the host to start them.
"""

import tempfile
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

import torch
from recipes import METHODS, PAPER
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import LONG, World, prepared

from reid_da.transfer import Ahead

WARM, TIMED, PROFILED = 8, 20, 5
KINDS = {  # the first that has a word of the kernel's name
    "batch norm": ("batch_norm", "batchnorm", "bn_", "welford"),
    "convolutions and products": (
        "conv",
        "gemm",
        "xmma",
        "cutlass",
        "nvjet",
        "grad",
        "fprop",
        "implicit",
        "sm90",
        "sm80",
    ),
    "copies": ("memcpy", "memset"),
    "optimiser": ("multi_tensor",),
    "augmentation": ("grid_sampl",),
    "other passes over the maps": ("",),
}


def kind(kernel):
    return next(kind for kind, words in KINDS.items() if any(word in kernel.lower() for word in words))


def busy(spans):
    """The length of the union of (start, end)."""
    total, last = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total


def main():
    torch.backends.cudnn.deterministic = True  # as in the stages
    print(f"{torch.cuda.get_device_name()}; milliseconds of a step")
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
        world = World(Path(folder), PAPER["size"], persons=60)
        for name in METHODS:
            for precision in ("float32", "bf16"):
                how = Namespace(device="cuda", precision=precision, resident=False, fused=False)
                _, learner, _, batches = prepared(name, world, PAPER, how)
                step, ahead = iter(range(LONG)), Ahead(batches, LONG, "cuda")

                def steps(count, learner=learner, step=step, ahead=ahead):
                    for _ in range(count):
                        learner.update(ahead(next(step)))
                    torch.cuda.synchronize()

                steps(WARM)
                began = time.perf_counter()
                steps(TIMED)
                clock = (time.perf_counter() - began) / TIMED
                with profile(activities=[ProfilerActivity.CUDA]) as seen:
                    steps(PROFILED)
                kernels = [event for event in seen.events() if event.device_type == DeviceType.CUDA]
                taken = Counter()
                for event in kernels:
                    taken[kind(event.name)] += event.time_range.elapsed_us()
                running = busy((event.time_range.start, event.time_range.end) for event in kernels)
                parts = ", ".join(f"{what} {us / 1e3 / PROFILED:.1f}" for what, us in taken.most_common())
                print(
                    f"{name}, {precision}: {1e3 * clock:.1f}, a kernel runs in {running / 1e3 / PROFILED:.1f}", end=" "
                )
                print(f"({len(kernels) // PROFILED} kernels: {parts})", flush=True)


if __name__ == "__main__":
    main()
