"""Every identity loss against its paper's equation in float64, its gradient, and what pytorch-metric-learning makes of it."""

import math

import identity_oracles as oracle
import pytest
import pytorch_metric_learning.losses as library
import torch
from torch.autograd import gradcheck

from reid_da.identity_losses.a_softmax import ASoftmax
from reid_da.identity_losses.arcface import ArcFace
from reid_da.identity_losses.circle import Circle
from reid_da.identity_losses.cosface import CosFace
from reid_da.identity_losses.curricularface import CurricularFace
from reid_da.identity_losses.l_softmax import LSoftmax
from reid_da.identity_losses.magface import MagFace
from reid_da.identity_losses.mv_softmax import MVSoftmax
from reid_da.identity_losses.normface import NormFace, lower_bound
from reid_da.identity_losses.softmax import Softmax
from reid_da.identity_losses.vpl import VPL

D, C, N = 5, 7, 40  # random directions of 5 dimensions: angles from 0.2 to 2.9, so that every branch is taken
LABELS = torch.arange(N) % C
PLAIN = {"lambda_start": 0.0, "lambda_min": 0.0}  # no annealing
ANNEALED = {"lambda_start": 3.0, "lambda_min": 1.0}


def one(features, row):
    return 1.0


def scaled(s):
    return lambda features, row: s


def norms(features, row):
    return oracle.norm(features)


def both_norms(features, row):
    return oracle.norm(features) * oracle.norm(row)


def multiplied(m, weight=0.0):
    return lambda theta, x: (weight * math.cos(theta) + oracle.psi(theta, m)) / (1 + weight)


def mag_margin(x):
    return 0.2 + (0.9 - 0.2) / (3 - 1) * (min(max(oracle.norm(x), 1), 3) - 1)


def mv(t):
    return lambda cosine, true: (t + 1) * cosine + t if cosine > true else cosine


CASES = {  # name: the loss, and its equation
    "softmax": (Softmax, {}, None),
    "smoothed": (Softmax, {"label_smoothing": 0.2}, None),
    "normface": (NormFace, {"scale": 4.0}, {"true": lambda t, x: math.cos(t), "scale": scaled(4.0)}),
    "normface_smoothed": (
        NormFace,
        {"scale": 4.0, "label_smoothing": 0.2},
        {"true": lambda t, x: math.cos(t), "scale": scaled(4.0), "smoothing": 0.2},
    ),
    "cosface": (
        CosFace,
        {"scale": 4.0, "margin": 0.35},
        {"true": lambda t, x: math.cos(t) - 0.35, "scale": scaled(4.0)},
    ),
    "arcface": (
        ArcFace,
        {"scale": 4.0, "margin": 0.5},
        {"true": lambda t, x: oracle.additive_angle(t, 0.5), "scale": scaled(4.0)},
    ),
    "arcface_wide": (  # most angles lie beyond pi - m
        ArcFace,
        {"scale": 4.0, "margin": 2.0},
        {"true": lambda t, x: oracle.additive_angle(t, 2.0), "scale": scaled(4.0)},
    ),
    **{
        f"a_softmax_{m}": (ASoftmax, {"margin": m} | PLAIN, {"true": multiplied(m), "scale": norms})
        for m in range(1, 6)
    },
    **{
        f"l_softmax_{m}": (LSoftmax, {"margin": m} | PLAIN, {"true": multiplied(m), "scale": both_norms})
        for m in (2, 4)
    },
    "a_softmax_annealed": (ASoftmax, {"margin": 4} | ANNEALED, {"true": multiplied(4, 3.0), "scale": norms}),
    "mv_softmax": (
        MVSoftmax,
        {"scale": 4.0, "margin": 0.35, "t": 0.2},
        {"true": lambda t, x: math.cos(t) - 0.35, "negative": mv(0.2), "scale": scaled(4.0)},
    ),
    "mv_softmax_arcface": (
        MVSoftmax,
        {"scale": 4.0, "margin": 0.5, "t": 0.3, "form": "arcface"},
        {"true": lambda t, x: oracle.additive_angle(t, 0.5), "negative": mv(0.3), "scale": scaled(4.0)},
    ),
    "curricularface": (  # t is 0 in evaluation mode before any training
        CurricularFace,
        {"scale": 4.0, "margin": 0.5},
        {
            "true": lambda t, x: oracle.additive_angle(t, 0.5),
            "negative": lambda cosine, true: cosine * cosine if cosine > true else cosine,
            "scale": scaled(4.0),
        },
    ),
    "vpl": (
        VPL,
        {"scale": 4.0, "margin": 0.5},
        {"true": lambda t, x: oracle.additive_angle(t, 0.5), "scale": scaled(4.0)},
    ),
    "magface": (
        MagFace,
        {"scale": 4.0, "margin_min": 0.2, "margin_max": 0.9, "norm_min": 1.0, "norm_max": 3.0, "lambda_g": 0.0},
        {"true": lambda t, x: oracle.additive_angle(t, mag_margin(x)), "scale": scaled(4.0)},
    ),
}


def rows(count, seed=0):
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(kind, **options):
    """The loss in float64, its class weights drawn."""
    loss = kind(D, C, **options).double()
    loss.weight.data = rows(C, 1)
    return loss


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    kind, options, equation = CASES[name]
    loss, features = made(kind, **options), rows(N)
    if equation is None:
        logits = (features @ loss.weight.T + loss.bias).tolist()
        wanted = oracle.cross_entropy(logits, LABELS.tolist(), options.get("label_smoothing", 0.0))
    else:
        wanted = oracle.with_margin(features.tolist(), loss.weight.tolist(), LABELS.tolist(), **equation)
    loss.eval()  # its counters stand still
    assert loss(features, LABELS).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    kind, options, _ = CASES[name]
    loss, features = made(kind, **options).eval(), rows(N)
    assert gradcheck(
        lambda x, w: _with_weight(loss, x, w), (features.requires_grad_(), loss.weight.detach().requires_grad_())
    )


def _with_weight(loss, features, weight):
    return torch.func.functional_call(loss, {"weight": weight}, (features, LABELS))


def test_magface_pulls_norms():
    """lambda_g (a / u^2 + 1 / a), over and above the softmax; a clipped norm has no pull."""
    options = {"norm_min": 1.0, "norm_max": 3.0}
    features = rows(N) * 1.5
    pulled = made(MagFace, lambda_g=2.0, scale=4.0, **options)
    weight = pulled.weight.detach().requires_grad_()
    assert gradcheck(lambda x, w: _with_weight(pulled, x, w), (features.clone().requires_grad_(), weight))
    with_pull, without = (made(MagFace, lambda_g=weight, **options) for weight in (2.0, 0.0))
    clipped = [min(max(oracle.norm(x), 1.0), 3.0) for x in features.tolist()]
    assert 1.0 in clipped and 3.0 in clipped
    pull = sum(a / 9 + 1 / a for a in clipped) / N * 2.0
    difference = (with_pull(features, LABELS) - without(features, LABELS)).item()
    assert difference == pytest.approx(pull, rel=1e-9)


@pytest.mark.parametrize("form", ["cosface", "arcface"])
def test_vpl_with_a_memory(form):
    """Against the prototypes mixed by hand; gradients reach features and class weights, not the memory."""
    loss, features = made(VPL, scale=4.0, margin=0.4, form=form, lambda_value=0.3, delta=9, warm_up=0), rows(N)
    stored = rows(4, 5)
    loss(stored, torch.arange(4))  # persons 0 to 3 are remembered
    loss.eval()
    mixed = []
    for j, row in enumerate(loss.weight.tolist()):
        own = [v / oracle.norm(row) for v in row]
        if j < 4:
            kept = [v / oracle.norm(stored[j].tolist()) for v in stored[j].tolist()]
            own = [0.7 * a + 0.3 * b for a, b in zip(own, kept, strict=True)]
        mixed.append(own)
    margin = {"cosface": lambda t, x: math.cos(t) - 0.4, "arcface": lambda t, x: oracle.additive_angle(t, 0.4)}[form]
    wanted = oracle.with_margin(features.tolist(), mixed, LABELS.tolist(), true=margin, scale=scaled(4.0))
    assert loss(features, LABELS).item() == pytest.approx(wanted, rel=1e-9)
    weight = loss.weight.detach().requires_grad_()
    assert gradcheck(lambda x, w: _with_weight(loss, x, w), (features.requires_grad_(), weight))


def test_curricularface_gradient_takes_t_as_a_constant():
    loss = made(CurricularFace, scale=4.0, margin=0.5).eval()
    loss.t.fill_(0.3)
    weight = loss.weight.detach().requires_grad_()
    assert gradcheck(lambda x, w: _with_weight(loss, x, w), (rows(N).requires_grad_(), weight))


def test_a_learned_scale_is_that_scale_and_has_a_gradient():
    fixed, learned = made(NormFace, scale=4.0), made(NormFace, scale=4.0, learn_scale=True)
    assert learned(rows(N), LABELS).item() == pytest.approx(fixed(rows(N), LABELS).item(), rel=1e-12)
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda s: torch.func.functional_call(learned, {"scale": s}, (rows(N), LABELS)), (scale,))


def test_circle_follows_the_equation():
    loss, features = made(Circle, scale=6.0, margin=0.25), rows(N)
    wanted = oracle.circle(features.tolist(), loss.weight.tolist(), LABELS.tolist(), 6.0, 0.25)
    assert loss(features, LABELS).item() == pytest.approx(wanted, rel=1e-9)


def test_circle_gradient_takes_its_weights_as_constants():
    """d/dx of the loss with a_p and a_n held at their values; numerically, so with the weights of the unmoved features."""
    loss, x = made(Circle, scale=6.0, margin=0.25), rows(N).requires_grad_()
    loss(x, LABELS).backward()
    with torch.no_grad():
        cosines = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(loss.weight).T
        a_n, a_p = (cosines + 0.25).clamp(min=0), (1.25 - cosines).clamp(min=0)

    def held(features):
        s = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(loss.weight.detach()).T
        true = torch.nn.functional.one_hot(LABELS, C).bool()
        positive = (-6 * a_p * (s - 0.75))[true]
        negative = (6 * a_n * (s - 0.25)).masked_fill(true, -torch.inf)
        return torch.log1p(negative.exp().sum(1) * positive.exp()).mean()

    y = x.detach().clone().requires_grad_()
    held(y).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-12)
    assert gradcheck(held, (y,))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (made(NormFace, scale=4.0), library.NormalizedSoftmaxLoss(C, D, temperature=1 / 4.0)),
        (made(CosFace, scale=4.0, margin=0.35), library.CosFaceLoss(C, D, margin=0.35, scale=4.0)),
        (made(ArcFace, scale=4.0, margin=0.5), library.ArcFaceLoss(C, D, margin=math.degrees(0.5), scale=4.0)),
        (made(ASoftmax, margin=4, **PLAIN), library.SphereFaceLoss(C, D, margin=4, scale=1.0)),
        (made(LSoftmax, margin=4, **PLAIN), library.LargeMarginSoftmaxLoss(C, D, margin=4, scale=1.0)),
    ],
    ids=["normface", "cosface", "arcface", "a_softmax", "l_softmax"],
)
def test_the_library_has_the_same(ours, theirs):
    """pytorch-metric-learning, over angles up to pi - m, beyond which its ArcFace continues in another way."""
    theirs = theirs.double()
    theirs.W.data = ours.weight.data.T.clone()
    features = rows(400)
    labels = torch.arange(400) % C
    near = torch.nn.functional.cosine_similarity(features, ours.weight.detach()[labels]) > -math.cos(0.5)
    features, labels = features[near].requires_grad_(), labels[near]
    found, expected = (loss(features, labels) for loss in (ours.eval(), theirs))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    gradients = [torch.autograd.grad(value, features)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


# ---------------------------------------------------------------- closed forms


def value(kind, features=None, labels=LABELS, **options):
    loss = made(kind, **options)
    return loss(rows(N) if features is None else features, labels).item()


@pytest.mark.parametrize("form", ["cosface", "arcface"])
def test_mv_softmax_without_extra_weight_is_the_margin_loss(form):
    kind = {"cosface": CosFace, "arcface": ArcFace}[form]
    assert value(MVSoftmax, form=form, t=0.0, margin=0.4) == value(kind, margin=0.4)
    assert value(MVSoftmax, form=form, t=0.2, margin=0.4) > value(kind, margin=0.4)


def test_curricularface_without_hard_negatives_is_arcface():
    features = torch.eye(D, dtype=torch.float64).repeat(2, 1)
    losses = [made(kind) for kind in (CurricularFace, ArcFace)]
    for loss in losses:
        loss.weight.data = torch.cat([torch.eye(D), -torch.ones(2, D)]).double()
    easy, plain = (loss(features, torch.arange(10) % D).item() for loss in losses)
    assert easy == plain and value(CurricularFace) != value(ArcFace)


def test_magface_with_one_margin_and_no_pull_is_arcface():
    assert value(MagFace, margin_min=0.5, margin_max=0.5, lambda_g=0.0) == pytest.approx(value(ArcFace), rel=1e-12)


def test_magface_without_margins_and_pull_is_normface():
    assert value(MagFace, margin_min=0.0, margin_max=0.0, lambda_g=0.0) == pytest.approx(value(NormFace), rel=1e-12)


@pytest.mark.parametrize("form", ["cosface", "arcface"])
def test_vpl_without_memory_is_the_margin_loss(form):
    kind = {"cosface": CosFace, "arcface": ArcFace}[form]
    loss = made(VPL, lambda_value=0.0, warm_up=0, form=form, margin=0.4)
    values = [loss(rows(N, seed), LABELS).item() for seed in range(3)]
    assert values == pytest.approx([value(kind, rows(N, seed), margin=0.4) for seed in range(3)], rel=1e-12)


@pytest.mark.parametrize("kind", [CosFace, ArcFace, MVSoftmax, CurricularFace, VPL])
def test_without_margin_all_are_normface(kind):
    """Of features nearer to their own class than to others, so that none of them has a hard negative."""
    features = made(kind).weight.detach()[LABELS] + 0.01 * rows(N)
    assert value(kind, features, margin=0.0) == pytest.approx(value(NormFace, features), rel=1e-5, abs=1e-15)


def test_a_softmax_without_margin_is_softmax_of_normalised_weights():
    loss, features = made(ASoftmax, margin=1, **PLAIN), rows(N)
    logits = features @ torch.nn.functional.normalize(loss.weight).T
    assert loss(features, LABELS).item() == pytest.approx(torch.nn.functional.cross_entropy(logits, LABELS).item())


def test_normface_reaches_its_bound():
    """Features and class weights at the corners of a regular simplex: cosines 1 and -1 / (C - 1)."""
    corners = torch.eye(6, dtype=torch.float64) - 1 / 6
    for scale in (1.0, 5.0, 20.0):
        loss = NormFace(6, 6, scale=scale).double()
        loss.weight.data = corners.clone()
        assert loss(3 * corners, torch.arange(6)).item() == pytest.approx(lower_bound(6, scale), rel=1e-9)
        loss.weight.data = corners + 0.1 * torch.eye(6, dtype=torch.float64).roll(1, 0)
        assert loss(3 * corners, torch.arange(6)).item() > lower_bound(6, scale)
