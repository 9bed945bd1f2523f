"""The moving average of weights against a loop over numbers."""

import pytest
import torch
from torch import nn

from gan.averaging import follow, follower, warmed


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


def test_the_start_is_forgotten_early_and_the_decay_is_met():
    assert [warmed(0.999, moves) for moves in (1, 8, 90)] == pytest.approx([2 / 11, 0.5, 0.91])
    assert warmed(0.999, 8989) < warmed(0.999, 8990) == warmed(0.999, 44_000) == 0.999
    assert warmed(0.5, 20) == 0.5
    share = 1.0  # of the starting weights after 280 moves
    for moves in range(1, 281):
        share *= warmed(0.999, moves)
    assert share < 1e-9 and 0.999**280 > 0.75


def test_following_builds_no_graph():
    trained = nn.Linear(3, 2)
    averaged = follower(trained)
    follow(averaged, trained, 0.9)
    assert not any(parameter.requires_grad or parameter.grad_fn for parameter in averaged.parameters())
