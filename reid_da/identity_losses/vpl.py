"""VPL, variational prototype learning (Deng, Guo, Yang, Lattas, Zafeiriou; CVPR 2021): prototypes mixed with stored features."""

import torch
from torch import Tensor

from reid_da.identity_losses.cosine import MARGINS, MIN_NORM, MarginLoss, check_form, unit


class _Mixed(torch.autograd.Function):
    """W_j, or W_j + l / (1 - l) |W_j| M_j where `active`: |W_j| / (1 - l_j) times W~_j, without unit rows in memory.

    The memory is not kept for the backward pass, since a step changes it before.
    """

    @staticmethod
    def forward(ctx, weight, memory, active, share):
        norms = torch.linalg.vector_norm(weight, dim=1)
        lengths = torch.where(active, norms.clamp(min=MIN_NORM), 0)
        mixed = torch.addcmul(weight, memory, share / (1 - share) * lengths[:, None])
        ctx.save_for_backward(weight, norms, mixed)
        return mixed

    @staticmethod
    def backward(ctx, gradient):
        weight, norms, mixed = ctx.saved_tensors
        along = (mixed - weight).mul_(gradient).sum(1) / norms.square()
        along = torch.where(norms < MIN_NORM, 0, along)  # |W_j| stands still there
        return torch.addcmul(gradient, weight, along[:, None]), None, None, None


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
        super().__init__(num_features, num_persons, scale=scale, margin=margin, **smoothing)
        check_form(self.name(), form)
        if not 0 <= lambda_value < 1 or delta < 1 or warm_up < 0:
            raise ValueError(
                f"vpl has lambda_value {lambda_value}, delta {delta} and warm_up {warm_up}; expected lambda_value from 0 to "
                "below 1, delta at least 1 and warm_up at least 0"
            )
        self.form, self.lambda_value, self.delta, self.warm_up = MARGINS[form], lambda_value, delta, warm_up
        self.register_buffer("memory", torch.zeros(num_persons, num_features))
        self.register_buffer("remaining", torch.zeros(num_persons, dtype=torch.int64))  # T
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def prototypes(self) -> Tensor:
        return _Mixed.apply(self.weight, self.memory.to(self.weight), self.remaining > 0, self.lambda_value)

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
