"""What the losses of normalised features and class weights share: cosines, scale, margins without acos."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reid_da.distances import MIN_SQUARED, at_least_float32

MIN_NORM = MIN_SQUARED**0.5


def unit(rows: Tensor) -> Tensor:
    """Rows (N, D) over their L2 norms, at least float32; a row below 1e-6 is divided by that, so that its gradient is finite."""
    return F.normalize(at_least_float32(rows), eps=MIN_NORM)


class _Cosines(torch.autograd.Function):
    """(B, D) unit rows, (C, D) rows of any length -> (B, C). Unit copies of C rows would be most of a loss's time and memory."""

    @staticmethod
    def forward(ctx, units, rows):
        norms = torch.linalg.vector_norm(rows, dim=1)
        cosines = (units @ rows.T).div_(norms.clamp(min=MIN_NORM))
        ctx.save_for_backward(units, rows, norms, cosines)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        units, rows, norms, cosines = ctx.saved_tensors
        lengths = norms.clamp(min=MIN_NORM)
        with torch.autocast(rows.device.type, enabled=False):  # torch.compile traces it under the forward pass's
            along = (
                torch.einsum("bc,bc->c", gradient, cosines) / lengths.square()
            )  # a row's own length takes it away again
            along = torch.where(norms < MIN_NORM, 0, along)  # which is not divided by, below that
            gradient = gradient / lengths
            return gradient @ rows, (gradient.T @ units).addcmul_(rows, along[:, None], value=-1)


def cosines(features: Tensor, rows: Tensor) -> Tensor:
    """unit(features) @ unit(rows).T, (B, D) and (C, D) -> (B, C), in at least float32 under autocast too.

    d cos_ij / d row_j = (unit(feature_i) - cos_ij unit(row_j)) / |row_j|, without unit rows in memory. Differentiable once.
    """
    with torch.autocast(features.device.type, enabled=False):
        return _Cosines.apply(unit(features), at_least_float32(rows))


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """values[i, labels[i]]: (B, C), (B,) -> (B, 1)."""
    return values.gather(1, labels[:, None])


def cosine_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta) - m (CosFace, Wang et al. 2018, eq. 4)."""
    return cosine - margin


def angular_margin(cosine: Tensor, margin: float | Tensor) -> Tensor:
    """cos(theta + m) (ArcFace, Deng et al. 2019, eq. 3), falling in theta on all of [0, pi].

    cos(theta) cos(m) - sin(theta) sin(m) with sin = sqrt(max(1 - cos^2, 1e-12)): acos has an infinite slope at +-1. Beyond
    theta = pi - m, where cos(theta + m) would rise again, cos(theta) - m sin(m), as in the authors' code.
    """
    if not isinstance(margin, Tensor):  # filled on the device: a copy from the CPU would wait for all that it has to do
        margin = torch.full((), margin, dtype=cosine.dtype, device=cosine.device)
    sine = (1 - cosine.square()).clamp(min=MIN_SQUARED).sqrt()
    turned = cosine * margin.cos() - sine * margin.sin()
    return torch.where(cosine > -margin.cos(), turned, cosine - margin * margin.sin())


def multiplied(cosine: Tensor, times: int) -> Tensor:
    """psi(theta) = (-1)^k cos(m theta) - 2k for theta in [k pi/m, (k+1) pi/m] (L-Softmax, Liu et al. 2016, eq. 6).

    It falls from 1 at theta = 0 to 1 - 2m at pi. cos(m theta) is the Chebyshev polynomial of cos(theta), and k counts the
    borders cos(i pi/m) that cos(theta) lies below: no acos.
    """
    last, now = torch.ones_like(cosine), cosine
    for _ in range(times - 1):
        last, now = now, 2 * cosine * now - last
    borders = (math.cos(i * math.pi / times) for i in range(1, times))
    k = sum(((cosine < border).to(cosine.dtype) for border in borders), torch.zeros_like(cosine))
    return (1 - 2 * (k % 2)) * now - 2 * k


MARGINS = {"cosface": cosine_margin, "arcface": angular_margin}


def check_form(name: str, form: str) -> None:
    """Refuse a margin form that does not exist."""
    if form not in MARGINS:
        raise ValueError(f"{name}.form is {form}; expected one of {', '.join(MARGINS)}")


def check_positive(name: str, **options: float) -> None:
    """Refuse options that are not above 0."""
    for option, value in options.items():
        if not value > 0:
            raise ValueError(f"{name}.{option} is {value}; expected a positive number")


def check_angle(name: str, **options: float) -> None:
    """Refuse angles outside [0, pi], such as degrees: beyond pi a margin would turn an angle past the opposite direction."""
    for option, value in options.items():
        if not 0 <= value <= math.pi:
            raise ValueError(f"{name}.{option} is {value}; expected an angle in radians, 0 to pi")


def check_margin(name: str, form: Callable, margin: float) -> None:
    """Refuse a margin of that form that is out of its range."""
    (check_angle if form is angular_margin else check_not_negative)(name, margin=margin)


def check_not_negative(name: str, **options: float) -> None:
    """Refuse options below 0."""
    for option, value in options.items():
        if not value >= 0:
            raise ValueError(f"{name}.{option} is {value}; expected at least 0")


class CosineLoss(nn.Module):
    """Mean of -log softmax_y of scale * f(cosines), with class weights of its own; f leaves cosines as they are here.

    Args:
        num_features: D. num_persons: C. scale: s > 0 in the place of the norms. label_smoothing: of the cross-entropy.
    """

    feature, gathered = "embedding", False

    def __init__(self, num_features: int, num_persons: int, *, scale: float, label_smoothing: float = 0.0):
        super().__init__()
        check_positive(self.name(), scale=scale)
        self.scale, self.label_smoothing = scale, label_smoothing
        self.weight = nn.Parameter(torch.empty(num_persons, num_features))
        nn.init.normal_(self.weight, std=num_features**-0.5)  # rows of about unit length

    @classmethod
    def name(cls) -> str:
        """What its options stand under."""
        return cls.__module__.rpartition(".")[2]

    def prototypes(self) -> Tensor:
        """(C, D) vectors that stand for the persons, of any length."""
        return self.weight

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        """The (B, C) cosines with what the loss makes of them: f."""
        return cosines

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of (B, D) features of the persons `labels` (B,)."""
        logits = self.scale * self.margined(cosines(features, self.prototypes()), labels, features)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class MarginLoss(CosineLoss):
    """A cosine loss whose true class has `form(cos, margin)` in the place of its cosine: a class's own, or one of MARGINS."""

    form = staticmethod(cosine_margin)

    def __init__(
        self,
        num_features: int,
        num_persons: int,
        *,
        scale: float,
        margin: float,
        form: str | None = None,
        label_smoothing: float = 0.0,
    ):
        super().__init__(num_features, num_persons, scale=scale, label_smoothing=label_smoothing)
        if form is not None:
            check_form(self.name(), form)
            self.form = MARGINS[form]
        check_margin(self.name(), self.form, margin)
        self.margin = margin

    def margined(self, cosines: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        return cosines.scatter(1, labels[:, None], self.form(of_class(cosines, labels), self.margin))
