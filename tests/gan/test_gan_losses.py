"""StarGAN's terms against loops in float64, and their gradients."""

import copy
import math

import pytest
import torch
from torch.autograd import gradcheck

from gan import losses


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def critic(weights=None):
    """A smooth nonlinear patch map (B, 1, 2, 1) of (B, 3, 4, 2) images."""
    weights = normal(5, 24, seed=9) if weights is None else weights
    return lambda images: torch.tanh(images.flatten(1) @ weights.T)[:, :2].mul(1.7).view(-1, 1, 2, 1)


def test_wasserstein_and_realness_by_hand():
    real, fake = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), torch.tensor([5.0, -1.0]).view(2, 1, 1, 1)
    assert losses.wasserstein(real, fake) == 2 - 2
    assert losses.wasserstein(real, fake + 1) == 1
    assert losses.realness(fake) == -2


def test_gradient_penalty_is_that_of_finite_differences():
    real, fake, alpha = normal(3, 3, 4, 2, seed=1), normal(3, 3, 4, 2, seed=2), torch.tensor([0.0, 0.3, 1.0]).double()
    function, total, eps = critic(), 0.0, 1e-5
    for b in range(3):
        point = alpha[b] * real[b] + (1 - alpha[b]) * fake[b]
        squares = 0.0
        for i in range(point.numel()):
            nudge = torch.zeros_like(point).view(-1)
            nudge[i] = eps
            up, down = (function((point + sign * nudge.view_as(point))[None]).sum() for sign in (1, -1))
            squares += ((up - down) / (2 * eps)).item() ** 2
        total += (math.sqrt(squares) - 1) ** 2
    assert losses.gradient_penalty(function, real, fake, alpha).item() == pytest.approx(total / 3, rel=1e-7)


def test_gradient_penalty_reaches_the_critic_and_not_the_images():
    real, fake, alpha = normal(2, 3, 4, 2, seed=1), normal(2, 3, 4, 2, seed=2), torch.tensor([0.2, 0.9]).double()
    weights = normal(5, 24, seed=9).requires_grad_()
    assert gradcheck(lambda w: losses.gradient_penalty(critic(w), real, fake, alpha), [weights])
    fake.requires_grad_()
    losses.gradient_penalty(critic(weights), real, fake, alpha).backward()
    assert fake.grad is None


def test_gradient_penalty_of_a_constant_critic_is_one_with_finite_gradients():
    weights = torch.zeros(5, 24, dtype=torch.float64, requires_grad=True)
    penalty = losses.gradient_penalty(critic(weights), normal(2, 3, 4, 2), normal(2, 3, 4, 2, seed=1), torch.ones(2))
    penalty.backward()
    assert penalty.item() == 1
    assert weights.grad.isfinite().all()


def test_gradient_penalty_is_the_same_under_autocast():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 4, 3, padding=1)
    real, fake = (normal(2, 3, 4, 2, seed=seed, dtype=torch.float32) for seed in (0, 1))
    alpha = torch.tensor([0.2, 0.9])
    plain = losses.gradient_penalty(network, real, fake, alpha)
    exact = losses.gradient_penalty(copy.deepcopy(network).double(), real.double(), fake.double(), alpha.double())
    assert plain.item() == pytest.approx(exact.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(real).dtype == torch.bfloat16
        assert torch.equal(losses.gradient_penalty(network, real, fake, alpha), plain)


def test_camera_classification_is_minus_the_mean_log_probability():
    logits, cameras = normal(5, 3), torch.tensor([0, 2, 1, 1, 0])
    total = 0.0
    for row, camera in zip(logits.tolist(), cameras.tolist(), strict=True):
        total -= math.log(math.exp(row[camera]) / sum(math.exp(value) for value in row))
    assert losses.camera_classification(logits, cameras).item() == pytest.approx(total / 5, rel=1e-12)
    assert gradcheck(losses.camera_classification, [logits.requires_grad_(), cameras])


@pytest.mark.parametrize("term", [losses.reconstruction, losses.identity_mapping])
def test_image_distances_are_mean_absolute_differences(term):
    images, others = normal(2, 3, 4, 2), normal(2, 3, 4, 2, seed=1)
    expected = sum(abs(a - b) for a, b in zip(images.flatten().tolist(), others.flatten().tolist(), strict=True)) / 48
    assert term(images, others).item() == pytest.approx(expected, rel=1e-12)
    assert gradcheck(term, [images, others.requires_grad_()])


def test_half_precision_is_averaged_in_float32():
    values = torch.full((4096, 1, 1, 1), 1.0, dtype=torch.bfloat16)
    values[0] = 3
    assert losses.realness(values).dtype == torch.float32
    assert losses.realness(values).item() == pytest.approx(-(1 + 2 / 4096), rel=1e-6)
