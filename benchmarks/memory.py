"""How much memory a training step of the published recipes takes: which GPU do they fit?

    python benchmarks/memory.py                     # told by two small batches on a CPU: three minutes on 2 idle cores
    python benchmarks/memory.py --precision bf16
    python benchmarks/memory.py --device cuda       # the published batches themselves, as torch's allocator counts them

GB (2^30 bytes) of tensors: those that stay (weights, buffers, momentum), and the most that a step adds at any moment, gradients
included. On a CPU every tensor that an operation gives is counted while it lives, in two steps of an eighth and a sixteenth of the
published batch (ARN: all and half of it; StarGAN: an eighth and a sixteenth), and the step's part is continued in a straight line.
Not counted: the batch and the next one, CUDA's own context (about 0.5 GB) and what its libraries work in. The target has 8
cameras. "In one graph": all of a step's losses summed before one backward pass, as is usual; here each part's graph goes before
the next is built.
"""

import argparse
import tempfile
import weakref
from argparse import Namespace
from functools import partial
from pathlib import Path

import torch
from recipes import PAPER
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training import World, prepared

from gan.networks import Discriminator, Generator
from gan.stargan import StarGAN

GB = 2**30
CAMERAS = 8
SCALES = {  # options at two shares of the published step
    "baseline": {1 / 8: {"batch": 16}, 1 / 16: {"batch": 8}},
    "hhl": {
        1 / 8: {"batch": 16, "persons": 2, "images_per_person": 4, "n_t": 2},
        1 / 16: {"batch": 8, "persons": 2, "images_per_person": 2, "n_t": 1},
    },
    "arn": {1: {}, 1 / 2: {"persons": 2, "target_batch": 8}},
    "stargan": {1 / 8: {"batch": 2}, 1 / 16: {"batch": 1}},
}
STARGAN_BATCH = 16


class Alive(TorchDispatchMode):
    """Bytes of the tensors that operations made and that still live, now and at their most; of `before` none."""

    def __init__(self, before):
        super().__init__()
        self.now = self.most = 0
        self.sizes, self.before = {}, {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage):
        key = storage._cdata
        if key not in self.sizes and key not in self.before:
            self.sizes[key] = storage.nbytes()
            self.now += self.sizes[key]
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key):
        self.now -= self.sizes.pop(key, 0)


def learner_of(name, options, world, arguments):
    """Its modules, optimisers and update, and a batch."""
    if name == "stargan":
        size = options.get("batch", STARGAN_BATCH)
        networks = Generator(CAMERAS).to(arguments.device), Discriminator(CAMERAS, *PAPER["size"]).to(arguments.device)
        learner = StarGAN(*networks, steps=10, n_critic=1, precision=arguments.precision)
        images, cameras = torch.rand(size, 3, *PAPER["size"]) * 2 - 1, torch.arange(size) % CAMERAS
        batch = {"images": images, "cameras": cameras, "wanted": cameras.flip(0), "alpha": torch.rand(size)}
        batch = {key: value.to(arguments.device) for key, value in batch.items()}
        return networks, learner._optimizers.values(), learner.update, batch | {"step": 0}
    recipe = PAPER | {name: PAPER[name] | options}
    how = Namespace(device=arguments.device, precision=arguments.precision, resident=False, fused=False)
    method, learner, _, batches = prepared(name, world, recipe, how)
    return [method], [learner.optimiser], learner.update, batches(0)


def in_one(parts, batch):
    yield dict(term for part in parts(batch) for term in part.items())


def step(name, options, world, arguments, whole=False):
    """Bytes that stay, and that a step adds at its most. whole: the method's losses in one graph."""
    modules, optimisers, update, batch = learner_of(name, options, world, arguments)
    if whole:
        modules[0].parts = partial(in_one, modules[0].parts)
    update(batch)
    for optimiser in optimisers:
        optimiser.zero_grad()
    states = [value for optimiser in optimisers for state in optimiser.state.values() for value in state.values()]
    stay = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())] + states
    fixed = sum(tensor.untyped_storage().nbytes() for tensor in stay)
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        update(batch)
        torch.cuda.synchronize()
        return fixed, torch.cuda.max_memory_allocated() - before
    with Alive([*stay, *(leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor))]) as alive:
        update(batch)
    return fixed, alive.most


def published(name, world, arguments, whole=False):
    """`step` at the published batch."""
    if arguments.device == "cuda":
        return step(name, {}, world, arguments, whole)
    (large, some), (small, few) = SCALES[name].items()
    fixed, most = step(name, some, world, arguments, whole)
    _, least = step(name, few, world, arguments, whole)
    return fixed, most + (most - least) / (large - small) * (1 - large)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--methods", nargs="+", choices=SCALES, default=list(SCALES))
    arguments = parser.parse_args()
    print(f"published networks and batches, 256x128, {arguments.precision}, told on {arguments.device}; GB")
    print(f"{'':10}{'stay':>8}{'a step adds':>13}{'together':>10}{'in one graph':>14}")
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        world = World(Path(folder), PAPER["size"], persons=20)
        for name in arguments.methods:
            fixed, most = published(name, world, arguments)
            line = f"{name:10}{fixed / GB:8.2f}{most / GB:13.2f}{(fixed + most) / GB:10.1f}"
            if name in ("hhl", "arn"):
                line += f"{(fixed + published(name, world, arguments, whole=True)[1]) / GB:14.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
