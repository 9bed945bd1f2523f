"""What a method's training step costs beside its bare network, and beside a plain DataLoader, in one run.

    python benchmarks/training.py                                     # quick networks, 64x32: five minutes on 2 idle cores
    python benchmarks/training.py --recipe paper --device cuda        # ResNet-50, 256x128, published batches; --precision bf16
    python benchmarks/training.py --methods hhl --repeats 9           # --compile: torch.compile, in all of (a), (b) and (c)
    python benchmarks/training.py --recipe thin --without-loader      # what starting a step's operations costs, on a CPU

Images a second of (a) the bare network: forward and backward passes of the method's own modules over tensors that lie on the
device, with means of the outputs for losses; (b) the full step: rows of the store, augmentation, losses, gradients, optimiser;
(c) the same step fed by torch's DataLoader, which decodes a JPEG and applies torchvision's transforms image by image. (a) and (b)
take turns, then (b) and (c), and medians of the turns are told, so that a busy machine slows all alike. TFLOP/s are those of the
networks' convolutions and products in (b), 2 for a multiplication and an addition, and their share of what a large square matrix
product attains here in the same precision (float32 on a GPU: TF32, in which cuDNN convolves). Aim: b/a at least 0.95 on a
GPU with ResNet-50 and 0.90 on two CPU cores; b/c at least 1.5 there with the quick network.

The thin recipe has all layers of ResNet-50 with few channels, few and small images, and batches prepared by a thread as for a GPU:
next to no arithmetic. Its b/a is that of a step which waits for the host, as ARN's published batch does on a large GPU.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plain_loader import loaders
from recipes import METHODS, RECIPES, THIN
from torch.utils.flop_counter import FlopCounterMode

from reid_da import decoding
from reid_da.backbones import pool
from reid_da.batches import method_batches
from reid_da.datasets import synthetic
from reid_da.datasets.dukemtmc import dukemtmc
from reid_da.datasets.market1501 import market1501
from reid_da.learner import Learner
from reid_da.methods.arn import ARN
from reid_da.methods.hhl import HHL
from reid_da.transfer import Ahead

LONG = 1_000_000  # steps of the pretended training: the schedule stands still


class World:
    """A drawn pair of data sets: JPEG files, their stores at the recipe's size, and styles of noise, in files and as an array."""

    def __init__(self, folder, size, persons):
        self.folder, (height, width) = folder, size
        self.stores = {}
        for role, name, read in (("source", "market", market1501), ("target", "duke", dukemtmc)):
            synthetic.draw(name, str(folder / name), seed=0, train_persons=persons, test_persons=2)
            records = read(str(folder / name)).train
            self.stores[role] = decoding.create(folder / role, records, height=height, width=width, resample="bilinear")
        target = self.stores["target"]
        casts = np.random.default_rng(0).uniform(0.5, 1.0, (target.num_cameras, 1, 1, 3))
        self.styles = decoding.allocate(folder / "styled.npy", (len(target), target.num_cameras, height, width, 3))
        for row, path in enumerate(target.paths):
            self.styles[row] = target.images[row] * casts
            for k, style in enumerate(self.styles[row]):
                Image.fromarray(style).save(self.style_path(path, k), quality=95)

    def style_path(self, path, k):
        return self.folder / f"{Path(path).stem}_fake_{k + 1}.jpg"


def bare_step(method, batch, precision):
    """Forward and backward passes of the method's modules as a step has them, each output's mean for a loss."""

    def backward(build):
        with torch.autocast(batch["device"], torch.bfloat16, enabled=precision == "bf16"):
            loss = build()
        loss.backward()

    pictures = {name: part["images"] for name, part in batch.items() if isinstance(part, dict)}
    if isinstance(method, ARN):
        for domain, private in (("source", method.encoder_source), ("target", method.encoder_target)):

            def both(domain=domain, private=private):
                x = method.encoder_shared_lower(pictures[domain])
                c, p = method.encoder_common(x), private(x)
                loss = method.decoder(c + p).mean()
                return loss + method.classifier.logits(pool(c)).mean() if domain == "source" else loss

            backward(both)
    else:
        backward(lambda: method.classifier.logits(method.hidden(pictures["source"])).mean())
        if isinstance(method, HHL):
            names = [name for name in ("triplet", "target") if name in pictures]  # n_t 0 has no target
            backward(lambda: torch.cat([method.triplet(method.hidden(pictures[name])) for name in names]).mean())
    method.zero_grad(set_to_none=True)


def medians(works, turns, steps, device="cpu"):
    """Median seconds of a call work(step) of each of the named works, taking turns of `steps` calls after a tenth to warm up."""
    warm = 1 + turns // 10
    seconds = {name: [] for name in works}
    for turn in range(turns + warm):
        for name, work in works.items():
            began = time.perf_counter()
            for step in range(turn * steps, (turn + 1) * steps):
                work(step)
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - began) / steps)
    return {name: statistics.median(taken[warm:]) for name, taken in seconds.items()}


def attainable(arguments):
    """Operations a second of a large square matrix product on the device."""
    size = 8192 if arguments.device == "cuda" else 2048
    kind = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    one, other = (torch.randn(size, size, device=arguments.device, dtype=kind) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    seconds = medians({"product": lambda _: one @ other}, 5, 10 if arguments.device == "cuda" else 1, arguments.device)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * size**3 / seconds["product"]


def operations(method, batch, precision):
    """Floating-point operations of a step's forward and backward passes."""
    with FlopCounterMode(display=False) as counter:
        bare_step(method, batch, precision)
    return counter.get_total_flops()


def prepared(name, world, recipe, arguments):
    """The method on the device, its learner, its streams, and step -> batch."""
    torch.manual_seed(0)
    block, source, target = recipe[name], world.stores["source"], world.stores["target"]
    method = METHODS[name](recipe["backbone"](), num_persons=source.num_persons, **block)
    method.to(arguments.device, memory_format=torch.channels_last)
    wanted = {"hhl": {"target": target, "styles": world.styles}, "arn": {"target": target}}.get(name, {})
    streams = method.streams(source, 0, **wanted)
    optimiser = partial(recipe["optimiser"], fused=arguments.fused)
    learner = Learner(method, optimiser, recipe["schedule"], LONG, precision=arguments.precision)
    return (
        method,
        learner,
        streams,
        method_batches(streams, seed=0, device=arguments.device, resident=arguments.resident),
    )


def measure(name, world, recipe, arguments):
    """Images a second of the three, the ratios b/a and b/c, operations a second of (b), and the number of images of a step.

    (a) and (b) alternate without the loader, whose processes would work on during them; on a CPU step by step. Then (b) and (c).
    """
    method, learner, streams, batches = prepared(name, world, recipe, arguments)
    fixed = batches(0) | {"device": arguments.device}
    count = sum(len(part["images"]) for part in fixed.values() if isinstance(part, dict))
    ahead = Ahead(batches, LONG, arguments.device) if arguments.device != "cpu" or recipe is THIN else batches
    flops = operations(method, fixed, arguments.precision)
    for part in method.children() if arguments.compile else ():
        part.compile(mode=arguments.compile)
    works = {
        "a": lambda _: bare_step(method, fixed, arguments.precision),
        "b": lambda step: learner.update(ahead(step)),
    }
    turns, steps = arguments.repeats, arguments.steps
    alternating = (turns * steps, 1) if arguments.device == "cpu" else (turns, steps)  # a GPU works behind the calls
    seconds = medians(works, *alternating, arguments.device)
    found = {"a": count / seconds["a"], "b": count / seconds["b"], "b/a": seconds["a"] / seconds["b"]}
    found["flops"] = flops / seconds["b"]
    if not arguments.without_loader:
        loader = loaders(streams, world, 2 * (turns + 1) * steps, arguments)
        fresh = Ahead(batches, LONG, arguments.device) if arguments.device != "cpu" else batches  # from step 0
        works = {"b": lambda step: learner.update(fresh(step)), "c": lambda step: learner.update(loader(step))}
        seconds = medians(works, turns, steps, arguments.device)
        found |= {"c": count / seconds["c"], "b/c": seconds["c"] / seconds["b"]}
    return found, count


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="quick")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        metavar="MODE",
        help="torch.compile the networks, also those of (a); reduce-overhead: in CUDA graphs",
    )
    parser.add_argument("--fused", action="store_true", help="torch's fused optimisers")
    parser.add_argument("--resident", action="store_true", help="data.cache=device: the stores lie on the device")
    parser.add_argument("--without-loader", action="store_true", help="leave out (c)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoaders, together; at least one a stream")
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--persons", type=int, default=100, help="of the drawn data sets")
    return parser.parse_args()


def main():
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.deterministic = True  # as in the stages
    recipe = RECIPES[arguments.recipe]
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    height, width = recipe["size"]
    most = attainable(arguments)
    options = [f"compile {arguments.compile}"] if arguments.compile else []
    options += ["fused"] if arguments.fused else []
    options += ["resident"] if arguments.resident else []
    print(", ".join([f"{arguments.recipe} networks, {height}x{width}", arguments.precision, *options, where]))
    print(f"a large matrix product: {most / 1e12:.3g} TFLOP/s; images a second:")
    print(f"{'':10}{'a step':>8}{'(a) bare':>11}{'(b) step':>11}{'b/a':>7}{'TFLOP/s':>9}{'share':>7}", end="")
    print("" if arguments.without_loader else f"{'(c) loader':>12}{'b/c':>7}", flush=True)
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        world = World(Path(folder), recipe["size"], arguments.persons)
        for name in arguments.methods:
            rates, count = measure(name, world, recipe, arguments)
            line = f"{name:10}{count:8}{rates['a']:11.0f}{rates['b']:11.0f}{rates['b/a']:7.2f}"
            line += f"{rates['flops'] / 1e12:9.3g}{rates['flops'] / most:7.2f}"
            print(line + (f"{rates['c']:12.0f}{rates['b/c']:7.2f}" if "c" in rates else ""), flush=True)


if __name__ == "__main__":
    main()
