"""The moving average of weights against a loop over numbers."""

import torch
from torch import nn

from gan.averaging import follow, follower


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()


def test_follows_every_weight_by_the_equation_and_takes_buffers_as_they_are():
    trained = network()
    averaged = follower(trained)
    expected = [parameter.detach().flatten().tolist() for parameter in trained.parameters()]
    for step in range(3):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter += step + 1
        trained(torch.randn(4, 3, dtype=torch.float64))  # moves the running statistics
        follow(averaged, trained, 0.9)
        for numbers, parameter in zip(expected, trained.parameters(), strict=True):
            for place, value in enumerate(parameter.flatten().tolist()):
                numbers[place] = 0.9 * numbers[place] + 0.1 * value
    for numbers, parameter in zip(expected, averaged.parameters(), strict=True):
        assert torch.allclose(parameter.flatten(), torch.tensor(numbers, dtype=torch.float64), rtol=1e-14)
    for ours, theirs in zip(averaged.buffers(), trained.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_follower_has_its_own_weights_and_no_gradient():
    trained = network()
    averaged = follower(trained)
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    with torch.no_grad():
        trained[0].weight.zero_()
    assert averaged[0].weight.abs().sum() > 0
