"""Learner: the weighted sum, the schedule, what moves and what stops it."""

import gc
import math
import weakref
from functools import partial

import pytest
import tiny
import torch
from tiny import same, snapshot
from torch import nn

from reid_da.learner import Learner, adam, constant, one_cycle, sgd, step_decay


class Line(nn.Module):
    """Two terms of three parameters: a is a^2, b is 3 b; a factor of 5 on the second. c is frozen, d is in no group."""

    weights = {"loss/b": 5.0}

    def __init__(self):
        super().__init__()
        self.a, self.b, self.d = (nn.Parameter(torch.tensor(v)) for v in (2.0, 7.0, 1.0))
        self.c = nn.Parameter(torch.tensor(4.0), requires_grad=False)
        self.was_training = None

    def parameter_groups(self):
        return {"base": [self.a], "new": [self.b, self.c], "frozen": [self.c]}

    def parts(self, batch):
        self.was_training = self.training
        yield {"loss/a": self.a**2 + self.c}
        yield {"loss/b": 3 * self.b * batch.get("scale", 1.0) + 0 * self.d}


def make(schedule=constant, steps=10, lr=None, **options):
    method = Line()
    plain = {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
    optimiser = partial(sgd, lr=lr or {"base": 0.1, "new": 0.01}, **plain | options)
    return method, Learner(method, optimiser, schedule, steps)


def test_one_step_by_hand():
    """dL/da = 2 a = 4 at rate 0.1; dL/db = 5 * 3 at rate 0.01. L = (4 + 4) + 5 * 21."""
    method, learner = make()
    method.eval()
    floats = learner.update({"step": 0})
    assert floats == pytest.approx({"loss/a": 8.0, "loss/b": 21.0, "loss": 113.0, "lr_factor": 1.0})
    assert all(type(value) is float for value in floats.values())
    assert method.was_training
    assert [p.item() for p in (method.a, method.b, method.c, method.d)] == pytest.approx([1.6, 6.85, 4.0, 1.0])


@pytest.mark.parametrize("name", ["hhl", "hhl_frozen", "arn"])
def test_backward_passes_in_parts_give_the_gradients_of_the_total_to_the_bit(world, name):
    method, whole = tiny.build(name, world), tiny.build(name, world)
    batch = tiny.batches(method, world)(0)
    learner = tiny.learner(method, sgd, lr=0.0)
    floats = learner.update(batch)
    terms = whole.train()(batch)
    total = sum(whole.weights.get(term, 1.0) * value for term, value in terms.items())
    total.backward()
    assert floats["loss"] == pytest.approx(total.item(), rel=1e-6)
    for (key, p), q in zip(method.named_parameters(), whole.parameters(), strict=True):
        assert same(p.grad, q.grad), key


def test_a_part_without_terms_is_no_end_of_the_parts():
    class Hollow(Line):
        def parts(self, batch):
            yield {}
            yield {"loss/a": self.a**2}

    with pytest.raises(AssertionError, match="a method's part without a term"):
        Learner(Hollow(), partial(sgd, lr={"base": 0.1, "new": 0.01}), constant, 10).update({"step": 0})


def test_a_part_s_graph_is_gone_before_the_next_is_built():
    """What lets HHL's two batches be in memory one after the other."""
    alive = []

    class Watched(Line):
        def parts(self, batch):
            term = self.a**2
            watched = weakref.ref(term)
            yield {"loss/a": term}
            del term
            gc.collect()
            alive.append(watched() is not None)
            yield {"loss/b": 3 * self.b}

    Learner(Watched(), partial(sgd, lr={"base": 0.1, "new": 0.01}), constant, 10).update({"step": 0})
    assert alive == [False]


def test_bf16_stays_near_float32_and_keeps_weights_and_losses_in_float32(world):
    """Gradients point the same way; the distances of the triplet loss are of rows in bfloat16, computed in float32."""
    floats, gradients = {}, {}
    for precision in ("float32", "bf16"):
        method = tiny.build("hhl", world)
        learner = tiny.learner(method, sgd, lr=0.0)
        learner = Learner(
            method, partial(sgd, lr=dict.fromkeys(learner.groups, 0.0)), constant, 10, precision=precision
        )
        floats[precision] = learner.update(tiny.batches(method, world)(0))
        gradients[precision] = torch.cat([p.grad.flatten() for p in method.parameters() if p.requires_grad])
        assert {p.grad.dtype for p in method.parameters() if p.requires_grad} == {torch.float32}
    assert floats["bf16"] != floats["float32"]
    assert floats["bf16"] == pytest.approx(floats["float32"], rel=0.05)
    assert torch.cosine_similarity(*gradients.values(), dim=0) > 0.9


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'fp8'; expected one of float32, bf16"):
        Learner(Line(), partial(sgd, lr={"base": 0.1, "new": 0.01}), constant, 10, precision="fp8")


def test_gradients_do_not_pile_up():
    method, learner = make()
    for step in range(3):
        learner.update({"step": step})
    assert method.b.item() == pytest.approx(7 - 3 * 0.15)


def test_the_schedule_sets_the_rate_of_every_step():
    method, learner = make(schedule=lambda progress: 1 - progress, steps=4)
    b = 7.0
    for step in range(4):
        factor = 1 - step / 4
        assert learner.update({"step": step})["lr_factor"] == factor
        b -= 0.01 * factor * 15
        assert method.b.item() == pytest.approx(b)


def test_the_rate_depends_on_the_batch_s_step_alone():
    """So a resumed learner needs no schedule's state."""
    _, learner = make(schedule=one_cycle, steps=100)
    for step in (80, 3, 50):
        learner.update({"step": step})
        factor = one_cycle(step / 100)
        assert [group["lr"] for group in learner.optimiser.param_groups] == [0.1 * factor, 0.01 * factor]


def test_frozen_parameters_stand_in_no_group():
    method, learner = make()
    assert {name: [id(p) for p in ps] for name, ps in learner.groups.items()} == {
        "base": [id(method.a)],
        "new": [id(method.b)],
    }
    assert [[id(p) for p in group["params"]] for group in learner.optimiser.param_groups] == [
        [id(method.a)],
        [id(method.b)],
    ]


@pytest.mark.parametrize("optimiser", [sgd, adam])
def test_a_group_without_a_learning_rate_is_refused(optimiser):
    with pytest.raises(
        ValueError, match=r"no learning rate for the parameter groups \['new'\].*names \['base', 'neu'\]"
    ):
        optimiser(
            {"base": [nn.Parameter(torch.zeros(1))], "new": [nn.Parameter(torch.zeros(1))]}, {"base": 0.1, "neu": 0.1}
        )


def test_optimisers_have_the_published_numbers():
    """HHL's code: momentum 0.9, weight decay 5e-4, Nesterov."""
    groups = {"base": [nn.Parameter(torch.zeros(1))], "new": [nn.Parameter(torch.zeros(1))]}
    wanted = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    optimiser = sgd(groups, {"base": 0.01, "new": 0.1})
    assert [group["lr"] for group in optimiser.param_groups] == [0.01, 0.1]
    assert all(group[name] == value for group in optimiser.param_groups for name, value in wanted.items())
    optimiser = adam(groups, {"base": 0.01, "new": 0.1}, betas=[0.5, 0.99])  # a list, as YAML has it
    assert [group["lr"] for group in optimiser.param_groups] == [0.01, 0.1]
    assert all(group["betas"] == (0.5, 0.99) and group["weight_decay"] == 5e-4 for group in optimiser.param_groups)


@pytest.mark.parametrize("optimiser", [sgd, adam])
def test_a_fused_optimiser_takes_the_same_steps(optimiser):
    found = []
    for fused in (False, True):
        torch.manual_seed(0)
        weights = nn.Parameter(torch.randn(50))
        stepper = optimiser({"base": [weights]}, {"base": 0.01}, fused=fused)
        for _ in range(5):
            weights.grad = weights.detach().cos()
            stepper.step()
        assert bool(stepper.defaults["fused"]) == fused
        found.append(weights.detach())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_term_that_is_not_finite_stops_the_training(value):
    method, learner = make(momentum=0.9)
    learner.update({"step": 0})
    before = snapshot(learner.state_dict())
    with pytest.raises(FloatingPointError, match=f"step 1: loss/b is {value}"):
        learner.update({"step": 1, "scale": value})
    assert same(learner.state_dict(), before)


def test_a_total_that_overflows_stops_the_training_too():
    _, learner = make()
    with pytest.raises(FloatingPointError, match="step 1: loss is inf"):
        learner.update({"step": 1, "scale": 1e37})  # five times 2.1e38 is above the largest float32


def test_state_goes_round():
    first, second = make(momentum=0.9)[1], make(momentum=0.9)[1]
    for step in range(3):
        first.update({"step": step})
    second.load_state_dict(snapshot(first.state_dict()))
    assert first.update({"step": 3}) == second.update({"step": 3})
    assert same(first.state_dict(), second.state_dict())


def test_constant():
    assert [constant(progress) for progress in (0, 0.5, 1)] == [1.0] * 3


def test_step_decay():
    """HHL: 60 epochs of 129 steps, a tenth from epoch 40 on. The marks themselves count as passed."""
    factors = [step_decay(step / (60 * 129)) for step in range(60 * 129)]
    assert factors == [1.0] * (40 * 129) + [0.1] * (20 * 129)
    twice = partial(step_decay, at=(0.3, 0.7), gamma=0.5)
    assert [twice(progress) for progress in (0, 0.29, 0.3, 0.69, 0.7, 1)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_one_cycle():
    """Closed form: cos(pi / 3) = 1/2 a third of the way, cos(pi / 2) = 0 half of the way."""
    table = {0: 0.04, 0.1: 0.04 + 0.96 / 4, 0.15: 0.52, 0.3: 1, 0.3 + 0.7 / 3: 3 / 4, 0.65: 0.5, 1: 0}
    assert {p: one_cycle(p) for p in table} == pytest.approx(table, abs=1e-12)
    assert one_cycle(0.25, rise=0.5, start=0.2) == pytest.approx(0.6)
    assert one_cycle(0, rise=0.0) == 1 and one_cycle(0.999, rise=1.0) == pytest.approx(1, abs=1e-5)
    values = [one_cycle(step / 1000) for step in range(1001)]
    assert all(a < b for a, b in zip(values[:300], values[1:301], strict=True))
    assert all(a > b for a, b in zip(values[300:-1], values[301:], strict=True))
    assert max(abs(a - b) for a, b in zip(values[:-1], values[1:], strict=True)) < math.pi / 2 / 300
