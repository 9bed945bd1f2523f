"""How a training step's cost grows, in one run: HHL's with n_t and with cameras, and gradient averaging beside DDP on two workers.

    python benchmarks/cost.py --to benchmarks/pictures/cost.png        # quick network: about five minutes on two idle cores

Left and middle: milliseconds of HHL's whole step (rows, augmentation, passes, triplet loss, Adam) and of its network's bare passes
over as many images (benchmarks/training.py's a). Right: a step on two processes with a thread each, over gloo, without averaging,
with distributed.average_gradients (flat buckets after the backward pass) and wrapped in torch's DistributedDataParallel (buckets
during it); BatchNorm is local in all three. Medians of steps taken in turns, so that a machine that slows down slows all alike.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from recipes import QUICK
from torch.nn.parallel import DistributedDataParallel
from training import LONG, World, bare_step, medians

from reid_da import distributed
from reid_da.backbones import narrow_resnet, resnet50
from reid_da.batches import method_batches
from reid_da.learner import Learner
from reid_da.methods.baseline import Baseline
from reid_da.methods.hhl import HHL

N_T, CAMERAS = (0, 4, 8, 16, 32), (2, 4, 8, 16)
KINDS = ("no averaging", "average_gradients", "DDP")
SIZES = {
    "narrow ResNet, 64 images of 64x32": (narrow_resnet, 32),
    "ResNet-50, 16 images of 64x32": (partial(resnet50, weights=None), 8),
}


def hhl(world, n_t, cameras):
    """(images of a step, whole step, bare passes); the styles are the images themselves, which cost what others would."""
    torch.manual_seed(0)
    source, target = world.stores["source"], world.stores["target"]
    method = HHL(narrow_resnet(), num_persons=source.num_persons, **QUICK["hhl"] | {"n_t": n_t})
    styles = np.broadcast_to(target.images[:, None], (len(target), cameras, *target.images.shape[1:]))
    batches = method_batches(method.streams(source, 0, target=target, styles=styles), seed=0)
    learner = Learner(method, QUICK["optimiser"], QUICK["schedule"], LONG)
    fixed = batches(0) | {"device": "cpu"}
    images = sum(len(part["images"]) for part in fixed.values() if isinstance(part, dict))
    return images, lambda step: learner.update(batches(step)), lambda _: bare_step(method, fixed, "float32")


def grown(world, settings, turns):
    """(images, seconds of the step, seconds of the bare passes) of HHL in each (n_t, cameras)."""
    made = {setting: hhl(world, *setting) for setting in settings}
    works = {(setting, kind): works[kind] for setting, (_, *works) in made.items() for kind in range(2)}
    seconds = medians(works, turns, 5)
    return [(made[setting][0], seconds[setting, 0], seconds[setting, 1]) for setting in settings]


def step_of(kind, method, batch):
    """A forward and backward pass of `method` on this process's rows, with the gradients averaged in this kind's way."""
    model = DistributedDataParallel(method, gradient_as_bucket_view=True) if kind == "DDP" else method

    def step(_):
        method.zero_grad()
        model(batch)["loss/source"].backward()
        if kind == "average_gradients":
            distributed.average_gradients(method.parameters())

    return step


def worker(rank, place, turns, results):
    """One of two processes: median seconds of the three kinds of step, for each network."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    for name, (backbone, rows) in SIZES.items():
        images = torch.randn(rows, 3, 64, 32).contiguous(memory_format=torch.channels_last)
        source = {"images": images, "labels": torch.arange(rows)}
        batch = {"source": source, "draw": lambda _, shape: torch.rand(shape)}
        works = {}
        for kind in KINDS:
            torch.manual_seed(0)
            method = Baseline(backbone(), num_persons=300, embedding=256, batch=2 * rows)
            works[kind] = step_of(kind, method, batch)
        dist.barrier()
        seconds = medians(works, turns, 5)
        if rank == 0:
            results[name] = sum(p.numel() for p in method.parameters()), seconds
    dist.destroy_process_group()


def two_workers(folder, turns):
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(worker, (str(folder / "rendezvous"), turns, results), nprocs=2)
        return dict(results)


def lines(axis, title, label, xs, found):
    axis.plot(xs, [1000 * whole for _, whole, _ in found], "o-", label="the whole step")
    axis.plot(xs, [1000 * bare for _, _, bare in found], "o--", color="grey", label="the bare network")
    axis.set(title=title, xlabel=label, ylabel="ms", ylim=(0, None))
    axis.legend(frameon=False, loc="lower right")


def bars(axis, workers):
    for place, (_, seconds) in enumerate(workers.values()):
        for offset, kind in enumerate(KINDS):
            x, share = place + 0.27 * (offset - 1), seconds[kind] / seconds[KINDS[0]]
            bar = axis.bar(x, share, 0.25, color=f"C{offset}", label=None if place else kind)
            axis.bar_label(bar, [f"{1000 * seconds[kind]:.0f} ms"], fontsize=8)
    axis.set(title="two workers: averaging gradients", ylabel="against no averaging", xticks=range(len(SIZES)))
    axis.set_xticklabels([name.replace(", ", "\n") for name in workers])
    axis.set_ylim(0, 2.1)
    axis.legend(frameon=False, loc="upper left")


def picture(n_t, cameras, workers):
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    lines(axes[0], "HHL, 8 cameras", "target images a step, n_t", N_T, n_t)
    lines(axes[1], "HHL, n_t 8", "cameras of the target", CAMERAS, cameras)
    bars(axes[2], workers)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=8, help="of five steps each")
    parser.add_argument("--to", type=Path, help="a PNG file")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the two workers
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="cost-") as name:
        folder = Path(name)
        world = World(folder, QUICK["size"], 60)
        n_t = grown(world, [(count, 8) for count in N_T], arguments.turns)
        cameras = grown(world, [(8, count) for count in CAMERAS], arguments.turns)
        workers = two_workers(folder, arguments.turns)
    for what, xs, found in (("n_t", N_T, n_t), ("cameras", CAMERAS, cameras)):
        for x, (images, whole, bare) in zip(xs, found, strict=True):
            print(
                f"HHL, {what} {x:2}: {images:3} images, {1000 * whole:5.1f} ms; bare network {bare / whole:.2f} of it"
            )
    for name, (count, seconds) in workers.items():
        for kind in KINDS:
            share = seconds[kind] / seconds[KINDS[0]]
            print(f"{name}, {count / 1e6:.1f}M parameters, {kind}: {1000 * seconds[kind]:.1f} ms, {share:.2f}")
    if arguments.to:
        picture(n_t, cameras, workers).savefig(arguments.to, dpi=110)
        print(arguments.to)


if __name__ == "__main__":
    main()
