"""What two processes that talk through gloo do, and one process alone: test_distributed.py compares them.

`compute` is what must come out alike, in float64 where training goes on; `work` is all that one of the two processes does. It
writes down what it saw, so that the processes are started once for all tests.
"""

import errno
from datetime import timedelta
from functools import partial

import numpy as np
import tiny
import torch
import torch.distributed as dist
from tiny import same, snapshot
from torch import nn

from gan.networks import Discriminator, Generator
from gan.stargan import StarGAN
from reid_da import checkpoint, distributed
from reid_da.augment import random_area_crop
from reid_da.batches import translation_batches
from reid_da.learner import constant, sgd
from reid_da.loop import fit

RANKS = 2


# ---------------------------------------------------------------- what one process and two processes do alike


def rows(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def own(x):
    """This rank's slice of global rows."""
    part = len(x) // distributed.world()
    return x[distributed.rank() * part : (distributed.rank() + 1) * part]


def pairs(z):
    """Something that is no mean over samples."""
    return (z @ z.T).tanh().square().sum() + z.norm(dim=0).prod().log()


def through_gather():
    """Gradients of a function of gathered rows, and of one of gathered rows plus a mean over samples."""
    weight = nn.Parameter(rows((5, 3), 1))
    z = own(rows((8, 5), 0)).requires_grad_()
    value = pairs(distributed.gather(z @ weight)) + (z @ weight).cos().sum(1).mean()
    value.backward()
    distributed.average_gradients([weight])
    return {"value": value.item(), "weight": weight.grad, "rows": z.grad / distributed.world()}


def batchnorm(shape):
    """Two steps and then evaluation; the ranks' rows differ much in mean and spread."""
    norm = nn.BatchNorm1d(shape[1]) if len(shape) == 2 else nn.BatchNorm2d(shape[1])
    network = distributed.global_batchnorm(nn.Sequential(norm.double()))
    norm = network[0]
    norm.weight.data, norm.bias.data = rows((shape[1],), 3), rows((shape[1],), 4)
    result = {"kind": type(norm).__name__}
    for step in range(2):
        x = rows(shape, step) * torch.arange(1, shape[0] + 1).view(-1, *[1] * (len(shape) - 1)) + 5
        x = own(x).requires_grad_()
        y = network(x)
        network.zero_grad()
        (y**3 * own(rows(shape, 9))).flatten(1).sum(1).mean().backward()
        distributed.average_gradients(network.parameters())
        # A copy: the buffers go on changing. The mean over samples makes a row's gradient `world` times as large.
        result[step] = snapshot({"y": y.detach(), "x": x.grad / distributed.world(), **network.state_dict()})
        result[step] |= {"weight.grad": norm.weight.grad.clone(), "bias.grad": norm.bias.grad.clone()}
    result["eval"] = network.eval()(own(rows(shape, 7))).detach()
    return result


def far_from_zero():
    """float32 rows around 1000 with deviation 1: E[x^2] - E[x]^2 would lose all digits."""
    torch.manual_seed(0)
    x = own(rows((64, 4), 5, torch.float32) + 1000)
    network = distributed.global_batchnorm(nn.Sequential(nn.BatchNorm1d(4)))
    return network(x).detach()


def train(name, world, state=None):
    """Two updates of SGD: what was reported, the last gradients, weights, statistics and momentum; and the state after a third.

    state: what some other number of ranks had after the two; only the third is done.
    """
    method = distributed.global_batchnorm(tiny.build(name, world)).double()
    learner, batches = tiny.learner(method, sgd, lr=0.05), tiny.batches(method, world, augment=in_double)
    found = {}
    if state:
        learner.load_state_dict(snapshot(state))  # optimisers go on in the tensors that they are given
    else:
        found["reported"] = [distributed.mean(learner.update(batches(step))) for step in range(2)]
        found["gradients"] = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        found["state"] = snapshot(learner.state_dict())
    learner.update(batches(2))
    return found | {"third": snapshot(learner.state_dict())}


def transfer(world):
    """FTL's stage 1 from the first step on, a batch of each kind, and a step of stage 2: what was reported, and all states."""
    method = distributed.global_batchnorm(tiny.build("ftl", world, pretrain_share=0.0)).double()
    learner, batches = tiny.learner(method, sgd, lr=0.05), tiny.batches(method, world, augment=in_double)
    found = {}
    for step in range(4):
        found[step] = {"reported": distributed.mean(learner.update(batches(step)))}
        found[step] |= {
            "gradients": {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        }
        found[step] |= {"state": snapshot(learner.state_dict())}
    return found


def in_double(images, sizes, draw):
    return random_area_crop(images, sizes, draw).double()


def translator(world, averaged):
    """A StarGAN that notes in `averaged` how many gradients it averages, and its batches."""
    torch.manual_seed(0)
    networks = (
        Generator(world.target.num_cameras, channels=4, num_blocks=1),
        Discriminator(world.target.num_cameras, tiny.HEIGHT, tiny.WIDTH, channels=4, depth=3),
    )

    def average_gradients(parameters):
        averaged.append(len(parameters))
        distributed.average_gradients(parameters)

    settings = {"steps": 4, "n_critic": 2, "weight_identity": 5.0, "ema": 0.5}
    settings |= {"average_gradients": average_gradients, "finite_everywhere": distributed.finite_everywhere}
    learner = StarGAN(*(network.double() for network in networks), **settings)
    batches = translation_batches(world.target, 8, seed=0)

    def batch(step):
        found = batches(step)
        return found | {"images": found["images"].double()}

    return learner, batch


def translate(world, state=None):
    """Two updates of the StarGAN, the second moving G, too; and the state after two more. state: as in `train`."""
    averaged = []
    learner, batches = translator(world, averaged)

    def update(step):
        return distributed.mean(learner.update(batches(step)))

    found = {"networks": [len(list(network.parameters())) for network in (learner.generator, learner.discriminator)]}
    if state:
        learner.load_state_dict(snapshot(state))  # optimisers go on in the tensors that they are given
    else:
        found["reported"] = [update(0), update(1)]
        found["gradients"] = [p.grad.clone() for p in learner.parameters()]
        found["averaged"] = list(averaged)
        found["state"] = snapshot(learner.state_dict())
    update(2), update(3)
    return found | {"third": snapshot(learner.state_dict())}


class Stop(Exception):
    pass


def train_on(world, folder, name, calls, stop=None):
    """fit over five steps, or until `stop`; each rank gives the state it ends with."""
    (folder / name).mkdir(exist_ok=True)
    method = distributed.global_batchnorm(tiny.build("hhl", world))
    learner, batches = tiny.learner(method, steps=5), tiny.batches(method, world)

    def batch(step):
        if step == stop:
            raise Stop
        return batches(step)

    def report(done, steps, floats):
        calls.append((done, {key: value for key, value in floats.items() if key != "seconds_per_step"}))

    try:
        fit(learner, batch, 5, folder=folder / name, report=report, report_every=1, checkpoint_every=2)
    except Stop:
        pass
    return snapshot(learner.state_dict())


def compute(world):
    """All that must come out alike with one and two ranks."""
    return {
        "gather": through_gather(),
        "batchnorm 2-d": batchnorm((8, 3)),
        "batchnorm 4-d": batchnorm((8, 3, 4, 2)),
        "far from zero": far_from_zero(),
        "translate": translate(world),
        "transfer": transfer(world),
        **{name: train(name, world) for name in tiny.METHODS},
    }


# ---------------------------------------------------------------- what only two processes show


def collectives(rank):
    """Each function of the module once, with inputs that tell the ranks apart."""
    uneven = [
        distributed.gather_uneven(torch.arange(n * 2.0).view(n, 2) + 100 * rank) for n in (3 + 2 * rank, 4 * rank)
    ]
    result = {
        "rank and world": (distributed.rank(), distributed.world()),
        "local": distributed.local(np.arange(6), "rows").tolist(),
        "broadcast": distributed.broadcast({"from": rank, "tensor": torch.full((2,), float(rank))}),
        "broadcast nothing": distributed.broadcast(None if rank == 0 else "something"),
        "mean": distributed.mean({"a": rank, "b": 10.0 * rank + 1, "c": 1 / 3}),
        "mean of nothing": distributed.mean({}),
        "labels": distributed.gather(torch.tensor([rank, 7 + rank])),
        "not contiguous": distributed.gather(torch.arange(6.0).view(2, 3).T + 10 * rank),
        "uneven": uneven,
        "average": average(rank),
    }
    distributed.assert_equal({"a": torch.ones(3), "counts": torch.tensor(rank)})  # integers are not compared
    try:
        distributed.assert_equal({"a": torch.ones(3), "b": torch.ones(3) + 1e-4 * rank})
    except AssertionError as error:
        result["unequal"] = str(error)
    try:
        distributed.local(np.arange(5), "the batch of stream 'source'")
    except ValueError as error:
        result["not shared"] = str(error)
    return result


def average(rank):
    """Gradients through buckets of 8 elements: several in one, one larger than a bucket, one absent, one channels_last."""
    shapes = [(3,), (2, 2), (20,), (), (2, 3, 2, 2), (1,)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for number, p in enumerate(parameters):
        if number != 5:
            p.grad = torch.arange(float(p.numel())).view(p.shape) * (1 + 2 * rank) + number
    parameters[4].grad = parameters[4].grad.to(memory_format=torch.channels_last)
    usual, distributed.BUCKET = distributed.BUCKET, 8
    distributed.average_gradients(iter(parameters))
    distributed.BUCKET = usual
    return [p.grad for p in parameters]


def converted(world):
    """A network before and after its BatchNorms were made global."""
    method = tiny.build("hhl_frozen", world)
    before, trainable = snapshot(method.state_dict()), [p.requires_grad for p in method.parameters()]
    after = distributed.global_batchnorm(method)
    assert after is method and same(before, snapshot(after.state_dict())), "keys or values changed"
    assert [p.requires_grad for p in method.parameters()] == trainable
    kinds = {type(module).__name__ for module in method.modules()}
    return sorted(kind for kind in kinds if "BatchNorm" in kind)


def unequal_weights(world):
    """Ranks that started from different weights are found out when they first give their state."""
    method = distributed.global_batchnorm(tiny.build("baseline", world, seed=distributed.rank()))
    try:
        tiny.learner(method).state_dict()
    except AssertionError as error:
        return str(error)


def not_finite(rank, world):
    """After an update, a term that is nan on rank 1 alone: what this rank says, its weights and momentum before and after."""
    method = distributed.global_batchnorm(tiny.build("baseline", world))
    learner, batches = tiny.learner(method, sgd, schedule=constant), tiny.batches(method, world)
    learner.update(batches(0))

    def state():
        return snapshot(
            {"weights": dict(method.named_parameters()), "momentum": learner.optimiser.state_dict()["state"]}
        )

    before, said = state(), None
    if rank == 1:
        method.classifier.register_forward_hook(lambda module, given, logits: logits * float("nan"))
    try:
        learner.update(batches(1))
    except FloatingPointError as error:
        said = str(error)
    return {"said": said, "before": before, "after": state()}


def translation_not_finite(rank, world):
    """A broken image on rank 1 alone: what this rank says, and D's weights before and after."""
    learner, batches = translator(world, [])
    before, said, batch = snapshot(learner.discriminator.state_dict()), None, batches(0)
    if rank == 1:
        batch["images"][0] = float("nan")
    try:
        learner.update(batch)
    except FloatingPointError as error:
        said = str(error)
    return {"said": said, "before": before, "after": snapshot(learner.discriminator.state_dict())}


def resume(world, folder, rank):
    """Stopped at step 4 and resumed: rank 1 looks for no checkpoint of its own."""
    calls = []
    train_on(world, folder, "stopped", calls, stop=4)
    step = checkpoint.load(folder / "stopped")["step"]
    state = train_on(world, folder, "stopped", calls)
    files = sorted(path.name for path in (folder / "stopped").iterdir())
    return {"state": state, "calls": calls, "step": step, "files": files}


def agreed(rank):
    """What both raise where rank 1's disk is full, and what each is given where none is."""

    def fills(full):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device, none free", "/scratch/images.npy")
        return rank

    try:
        distributed.agreed(partial(fills, rank == 1))
    except distributed.OnEveryRank as error:
        return distributed.agreed(partial(fills, False)), error.errno, str(error)


def of_first(rank):
    """What both have of the first one's work, and of its mistake."""
    given = distributed.of_first(lambda: f"of rank {rank}")
    try:
        distributed.of_first(partial(int, "no number"))
    except ValueError as error:
        return given, str(error)


def work(rank, folder, world_folder):
    """One of the processes."""
    torch.set_num_threads(1)
    place = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=RANKS, timeout=timedelta(seconds=120))
    world = tiny.open_world(world_folder)
    result = {
        "collectives": collectives(rank),
        "agreed": agreed(rank),
        "of first": of_first(rank),
        "converted": converted(world),
        "unequal weights": unequal_weights(world),
        "not finite": not_finite(rank, world),
        "translation not finite": translation_not_finite(rank, world),
        "same": compute(world),
        "straight": train_on(world, folder, "straight", []),
        "resumed": resume(world, folder, rank),
    }
    torch.save(result, folder / f"{rank}.pt")
    dist.destroy_process_group()
