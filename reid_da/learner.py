"""Learner: a method with its optimiser and schedule, behind `update(batch) -> floats` and `state_dict`.

The optimiser and schedule are functions named in conf; the learning rate is a pure function of the step, so a schedule has no
state. The StarGAN shares this contract (gan/stargan.py).
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from reid_da import distributed


def sgd(groups: dict[str, list], lr: dict[str, float], *, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=False):
    """SGD over named parameter groups, each with its learning rate (HHL's code: base 0.01, new 0.1). fused: as for adam."""
    how = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    return torch.optim.SGD(_with_lr(groups, lr), **how, **_calls(fused))


def adam(groups: dict[str, list], lr: dict[str, float], *, betas=(0.9, 0.999), weight_decay=5e-4, fused=False):
    """Adam over named parameter groups, each with its learning rate; foreach: the same numbers in fewer calls, on a CPU too.

    fused: torch's one call for all of an update; it rounds otherwise, so the digits of a training are others.
    """
    how = {"betas": tuple(betas), "weight_decay": weight_decay}
    return torch.optim.Adam(_with_lr(groups, lr), **how, **_calls(fused))


def _calls(fused):
    return {"fused": True} if fused else {"foreach": True}


def _with_lr(groups, lr):
    if missing := sorted(set(groups) - set(lr)):
        raise ValueError(f"no learning rate for the parameter groups {missing}; the optimiser's lr names {sorted(lr)}")
    return [{"params": parameters, "lr": lr[name], "base_lr": lr[name]} for name, parameters in groups.items()]


def constant(progress: float) -> float:
    """Learning-rate factor 1 throughout."""
    return 1.0


def step_decay(progress: float, *, at: tuple[float, ...] = (2 / 3,), gamma: float = 0.1) -> float:
    """Factor gamma^(number of marks passed); marks are fractions of the training (HHL: x0.1 at epoch 40 of 60)."""
    return gamma ** sum(progress >= mark for mark in at)


def one_cycle(progress: float, *, rise: float = 0.3, start: float = 0.04) -> float:
    """Cosine from `start` up to 1 over the first `rise` of the training, then cosine down to 0 (Smith 2018)."""
    if progress < rise:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / rise)) / 2
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


PRECISIONS = ("float32", "bf16")


class Learner:
    """One method in training.

    Args:
        method: `parts(batch)` yields {name: scalar term} in groups that share no graph, none of them empty, each name once;
            `method.weights` gives each term's factor in the total.
        optimiser: optimiser(groups) -> torch optimiser over method.parameter_groups().
        schedule: schedule(progress in [0, 1)) -> factor on every learning rate.
        steps: length of the training, which makes step into progress.
        precision: "float32", or "bf16": forward passes under autocast to bfloat16; losses, distances, gradients of the weights
            and the optimiser stay float32.
    """

    def __init__(
        self,
        method: nn.Module,
        optimiser: Callable,
        schedule: Callable[[float], float],
        steps: int,
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
        self.method, self.schedule, self.steps, self.precision = method, schedule, steps, precision
        self.groups = {name: [p for p in ps if p.requires_grad] for name, ps in method.parameter_groups().items()}
        self.groups = {name: ps for name, ps in self.groups.items() if ps}
        self.optimiser = optimiser(self.groups)

    def update(self, batch: dict) -> dict[str, float]:
        """One step on this rank's share of a global batch.

        Returns:
            this rank's terms, unweighted, their weighted sum "loss", and the schedule's "lr_factor".
        Raises:
            FloatingPointError: a term is not finite; names step and term, and leaves the weights as they were.
        """
        factor = self.schedule(batch["step"] / self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.method.train()
        self.optimiser.zero_grad(set_to_none=True)
        floats, finite = self._backward(batch)
        if not finite:
            broken = [f"{name} is {value}" for name, value in floats.items() if not math.isfinite(value)]
            what = [*broken, "a term is not finite on another worker"][0]
            raise FloatingPointError(f"step {batch['step']}: {what}; a smaller learning rate may help")
        self.optimiser.step()
        return floats | {"lr_factor": factor}

    def _backward(self, batch: dict) -> tuple[dict[str, float], bool]:
        """The gradients of the whole loss, each part's graph freed before the next one is built.

        The sums are those of one backward pass of the total, to the bit: addition of two numbers commutes. A GPU is waited for
        once, and no longer than for the last part's terms: its backward pass and the ranks' average go on meanwhile.

        Returns:
            this rank's terms and "loss", and whether they are finite on every rank.
        """
        told, known, parts = [], None, self.method.parts(batch)
        device = next(self.method.parameters()).device
        while True:
            # ended before the backward pass: autocast keeps the weights that it has cast, with their graph, till its end
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                if (terms := next(parts, None)) is None:
                    break
            assert terms, "a method's part without a term"
            loss = sum(self.method.weights.get(name, 1.0) * term for name, term in terms.items())
            values = torch.stack([*terms.values(), loss]).detach()
            values = torch.cat([values, distributed.finite_everywhere(values)[None]])
            told.append(([*terms], values.to("cpu", non_blocking=True)))
            known = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
            loss.backward()
            del terms, loss
        distributed.average_gradients(p for group in self.groups.values() for p in group)
        if known:
            known.synchronize()
        floats = {name: value for names, values in told for name, value in zip(names, values.tolist(), strict=False)}
        floats["loss"] = sum(float(values[-2]) for _, values in told)
        return floats, all(bool(values[-1]) for _, values in told)

    def state_dict(self) -> dict:
        """Weights and the optimiser's state; with several ranks an assertion that their weights and buffers are equal."""
        method = self.method.state_dict()
        distributed.assert_equal(method)
        return {"method": method, "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Takes what `state_dict` gave."""
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
