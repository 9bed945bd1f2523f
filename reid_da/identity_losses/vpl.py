"""VPL, variational prototype learning (Deng, Guo, Yang, Lattas, Zafeiriou; CVPR 2021): prototypes mixed with stored features."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reid_da.identity_losses.cosine import MIN_NORM, MarginLoss, unit


class _Mixed(torch.autograd.Function):
    """W~_j = (1 - l_j) unit(W_j) + l_j M_j of (C, D) weights and memory and (C,) shares l, without unit rows in memory.

    The memory is not kept for the backward pass, since a step changes it before.
    """

    @staticmethod
    def forward(ctx, weight, memory, shares):
        norms = torch.linalg.vector_norm(weight, dim=1)
        factors = (1 - shares) / norms.clamp(min=MIN_NORM)
        ctx.save_for_backward(weight, norms, factors)
        return (weight * factors[:, None]).addcmul_(memory, shares[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weight, norms, factors = ctx.saved_tensors
        with torch.autocast(weight.device.type, enabled=False):  # torch.compile traces it under the forward pass's
            along = (
                torch.einsum("cd,cd->c", gradient, weight) / norms.square()
            )  # a row's own length takes it away again
        along = torch.where(norms < MIN_NORM, 0, along)  # which is not divided by, below that
        return torch.addcmul(gradient, weight, along[:, None], value=-1).mul_(factors[:, None]), None, None


class VPL(MarginLoss):
    """A margin loss against W~_j = (1 - l_j) W_j + l_j M_j; l_j = lambda_value while T_j > 0, else 0.

    M_j is the last feature of person j that was seen (unit, no gradient). Each step lowers every T_j by 1 and then sets it to
    `delta` for the persons of the batch, of all ranks, so that a feature serves the `delta` steps after its own. Memory begins
    after `warm_up` steps, when features drift slowly.

    Args:
        form: "arcface" or "cosface". scale, margin: of it. lambda_value: share of the memory, in [0, 1); 0 gives the form itself.
            delta: steps, the authors' 200. warm_up: steps, theirs 8000.
    Differs from the authors' code: that stores from the first step on and mixes after the warm-up.
    """

    gathered = True

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float = 64.0,
        margin: float = 0.5,
        form: str = "arcface",
        lambda_value: float = 0.15,
        delta: int = 200,
        warm_up: int = 8000,
        **smoothing,
    ):
        super().__init__(num_features, num_persons, scale=scale, margin=margin, form=form, **smoothing)
        if not 0 <= lambda_value < 1 or delta < 1 or warm_up < 0:
            raise ValueError(
                f"vpl has lambda_value {lambda_value}, delta {delta} and warm_up {warm_up}; expected lambda_value from 0 to "
                "below 1, delta at least 1 and warm_up at least 0"
            )
        self.lambda_value, self.delta, self.warm_up = lambda_value, delta, warm_up
        self.register_buffer("memory", torch.zeros(num_persons, num_features))
        self.register_buffer("remaining", torch.zeros(num_persons, dtype=torch.int64))  # T
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def prototypes(self) -> Tensor:
        shares = self.lambda_value * (self.remaining > 0).to(self.weight)
        return _Mixed.apply(self.weight, self.memory.to(self.weight), shares)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        loss = super().forward(features, labels)
        if self.training:
            self._store(unit(features.detach()), labels)
        return loss

    @torch.no_grad()
    def _store(self, features: Tensor, labels: Tensor) -> None:
        begun = self.steps >= self.warm_up
        # the last row of each person, for every row of it: no two writes to one place differ
        last = len(labels) - 1 - (labels[:, None] == labels[None, :]).flip(1).int().argmax(1)
        stored = features[last].to(self.memory)
        self.memory[labels] = torch.where(begun, stored, self.memory[labels])
        self.remaining.sub_(1).clamp_(min=0)
        self.remaining[labels] = torch.where(begun, self.delta, self.remaining[labels])
        self.steps += 1
