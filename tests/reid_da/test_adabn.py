"""BatchNorm's statistics on the target, against moments taken by hand."""

import pytest
import tiny
import torch

from reid_da.adabn import reestimate
from reid_da.augment import normalise


def test_one_batch_gives_the_moments_of_the_whole_store(world):
    method = tiny.build("baseline", world).double()
    for _ in range(3):  # statistics of another set must be forgotten
        method.train().embed(torch.randn(8, 3, 32, 16, dtype=torch.float64))
    weights = {name: parameter.clone() for name, parameter in method.named_parameters()}
    images = normalise(torch.tensor(world.target.images)).double()
    first = method.backbone.lower[0](images)
    reestimate(Double(method), world.target, batch_size=len(world.target))
    norm = method.backbone.lower[1]
    assert norm.running_mean.numpy() == pytest.approx(first.mean((0, 2, 3)).detach().numpy(), rel=1e-9)
    assert norm.running_var.numpy() == pytest.approx(first.var((0, 2, 3)).detach().numpy(), rel=1e-9)
    assert all(torch.equal(weights[name], parameter) for name, parameter in method.named_parameters())
    assert not method.training and norm.momentum == 0.1


class Double(torch.nn.Module):
    """Takes float32 images as float64."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def embed(self, images):
        return self.method.embed(images.double())


def test_batches_count_alike_and_other_layers_keep_theirs(world):
    method = tiny.build("baseline", world)
    hidden = method.embedding[1].running_mean.clone()
    reestimate(method, world.target, batch_size=16)
    once = {name: value.clone() for name, value in method.named_buffers()}
    assert torch.equal(method.embedding[1].running_mean, hidden)
    reestimate(method, world.target, batch_size=16)
    assert all(torch.equal(once[name], value) for name, value in method.named_buffers() if "tracked" not in name)


def test_batches_of_one_size_give_the_mean_of_the_whole_store_from_any_mode(world):
    method = tiny.build("baseline", world).eval()  # as a scored model comes
    size = len(world.target) // 3
    assert 3 * size == len(world.target) == 99
    first = method.backbone.lower[0](normalise(torch.tensor(world.target.images)))
    reestimate(method, world.target, batch_size=size)
    found = method.backbone.lower[1].running_mean
    assert found.numpy() == pytest.approx(first.mean((0, 2, 3)).detach().numpy(), rel=1e-3, abs=1e-5)
