"""The cosines' own gradient beside that of plain autograd, where rows vanish too, and what VPL's prototypes point to."""

import pytest
import torch
from torch.autograd import gradcheck

from reid_da.identity_losses.arcface import ArcFace
from reid_da.identity_losses.cosine import cosines, unit
from reid_da.identity_losses.vpl import VPL


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(function, features, rows) -> list[torch.Tensor]:
    """The value and both gradients, each cosine weighed by another number."""
    features, rows = features.clone().requires_grad_(), rows.clone().requires_grad_()
    value = function(features, rows)
    (value * draw(*value.shape, seed=9).to(value)).sum().backward()
    return [value.detach(), features.grad, rows.grad]


@pytest.mark.parametrize("length", [1.0, 100.0, 1e-5, 1e-7, 0.0])
def test_values_and_gradients_are_those_of_unit_rows(length):
    """Rows below 1e-6 are divided by that alone, and have a gradient that is finite."""
    features, rows = draw(6, 5), draw(4, 5, seed=1)
    rows[1] *= length / rows[1].norm()
    features[2] *= length / features[2].norm()
    plain = gradients(lambda a, b: unit(a) @ unit(b).T, features, rows)
    for found, expected in zip(gradients(cosines, features, rows), plain, strict=True):
        torch.testing.assert_close(found, expected)
        assert found.isfinite().all()


def test_gradient_is_the_difference_quotient():
    assert gradcheck(cosines, (draw(3, 4).requires_grad_(), draw(5, 4, seed=1).requires_grad_()))


def test_a_second_derivative_is_refused():
    features = draw(3, 4).requires_grad_()
    (first,) = torch.autograd.grad(cosines(features, draw(5, 4, seed=1)).square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_feature_on_its_row_has_no_gradient_of_it():
    """cos = 1 is the top."""
    row = draw(1, 8)
    row.requires_grad_()
    cosines(3 * row.detach(), row).sum().backward()
    assert row.grad.abs().max() < 1e-12


def test_half_precision_is_computed_in_float32():
    features, rows = draw(6, 32).bfloat16(), draw(4, 32, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosines(features, rows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, unit(features.float()) @ unit(rows).T)


@pytest.mark.parametrize("length", [1.0, 50.0, 1e-3, 1e-8, 0.0])
def test_vpl_s_prototypes_point_where_the_mixture_of_unit_rows_does(length):
    """unit(lerp(unit(W), M, l)), its gradient included."""
    loss = VPL(5, 4, scale=4.0, margin=0.2, lambda_value=0.3).double()
    del loss.weight  # a plain tensor takes its place below
    loss.memory.copy_(unit(draw(4, 5, seed=2)))
    loss.remaining.copy_(torch.tensor([1, 0, 2, 0]))
    share = 0.3 * (loss.remaining > 0).double()[:, None]

    def own(features, rows):
        loss.weight = rows
        return cosines(features, loss.prototypes())

    features, rows = draw(6, 5), length * draw(4, 5, seed=3)
    mixed = gradients(lambda a, b: unit(a) @ unit(torch.lerp(unit(b), loss.memory, share)).T, features, rows)
    for found, expected in zip(gradients(own, features, rows), mixed, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", [ArcFace, VPL])
def test_a_compiled_loss_is_one_graph_with_the_same_gradients(kind, half):
    """By the backend that compiles nothing; under autocast too, where the backward pass would be traced in bfloat16."""
    torch.manual_seed(0)
    alone, compiled = (kind(5, 7, **({"warm_up": 0} if kind is VPL else {})) for _ in range(2))
    compiled.load_state_dict(alone.state_dict())
    compiled.compile(backend="aot_eager", fullgraph=True)
    for seed in range(2):  # at the second with a memory
        found = []
        for loss in (alone, compiled):
            features = draw(6, 5, seed=seed).float().requires_grad_()
            loss.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                value = loss(features, torch.arange(6) % 7)
            value.backward()
            found.append((value.detach(), features.grad, loss.weight.grad))
        torch.testing.assert_close(*found)
