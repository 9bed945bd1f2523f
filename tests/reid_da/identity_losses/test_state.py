"""What losses keep from step to step, by hand; and that none of them breaks at the ends of the numbers."""

import identity_oracles as oracle
import oracles
import pytest
import tiny
import torch
from tiny import same, snapshot
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from reid_da.identity_losses.a_softmax import ASoftmax
from reid_da.identity_losses.center import Center
from reid_da.identity_losses.contrastive import Contrastive
from reid_da.identity_losses.curricularface import CurricularFace
from reid_da.identity_losses.mv_softmax import MVSoftmax
from reid_da.identity_losses.triplet import Triplet
from reid_da.identity_losses.vpl import VPL

D, C = 5, 4
SMOOTHED = sorted(set(tiny.LOSSES) - set(tiny.ADDED) - {"circle", "softmax"})


def rows(count, seed=0, dtype=torch.float64):
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_curricularface_t_is_the_moving_average_of_the_true_cosines():
    loss, t = CurricularFace(D, C, momentum=0.9).double(), 0.0
    for seed in range(3):
        features, labels = rows(6, seed), torch.tensor([0, 1, 2, 3, 0, 1])
        loss(features, labels)
        cosines = normalize(features) @ normalize(loss.weight.detach()).T
        t = 0.9 * t + 0.1 * cosines[range(6), labels].mean().item()
        assert loss.t.item() == pytest.approx(t, rel=1e-9)


def test_curricularface_weighs_hard_negatives_by_t():
    loss, labels = CurricularFace(D, C, scale=3.0, margin=0.4).double(), torch.arange(8) % C
    loss.t.fill_(0.3)
    features = rows(8)
    harder = {"negative": lambda cosine, true: cosine * (0.3 + cosine) if cosine > true else cosine}
    wanted = oracle.with_margin(
        features.tolist(),
        loss.weight.tolist(),
        labels.tolist(),
        true=lambda theta, x: oracle.additive_angle(theta, 0.4),
        scale=lambda x, w: 3.0,
        **harder,
    )
    assert loss.eval()(features, labels).item() == pytest.approx(wanted, rel=1e-9)


def test_a_softmax_is_annealed():
    """lambda = max(1, 8 / (1 + t)) at step t: 8, 4, 8/3, 2, 1.6 ..."""
    loss, features, labels = (
        ASoftmax(D, C, lambda_start=8.0, lambda_min=1.0, lambda_decay=1.0).double(),
        rows(8),
        torch.arange(8) % C,
    )
    for step in range(12):
        weight = max(1.0, 8 / (1 + step))
        wanted = oracle.with_margin(
            features.tolist(),
            loss.weight.tolist(),
            labels.tolist(),
            true=lambda theta, x, weight=weight: (
                (weight * torch.cos(torch.tensor(theta)).item() + oracle.psi(theta, 4)) / (1 + weight)
            ),
            scale=lambda x, w: oracle.norm(x),
        )
        assert loss(features, labels).item() == pytest.approx(wanted, rel=1e-6)


def test_vpl_mixes_the_last_feature_of_a_person_for_some_steps():
    """Warm-up of one step, then features serve two steps; person 0 is seen twice in a batch, person 3 never."""
    loss = VPL(D, C, lambda_value=0.25, delta=2, warm_up=1).double()
    own, batches = normalize(loss.weight.detach()), [[0, 1], [0, 2, 0], [1, 1], [2], [2]]
    stored, left = {}, dict.fromkeys(range(C), 0)
    for step, labels in enumerate(batches):
        mixed = torch.stack([0.75 * own[j] + 0.25 * stored[j] if left[j] > 0 else own[j] for j in range(C)])
        torch.testing.assert_close(normalize(loss.prototypes().detach()), normalize(mixed))
        features = rows(len(labels), step)
        loss(features, torch.tensor(labels))
        left = {j: max(0, n - 1) for j, n in left.items()}
        if step >= 1:
            for label, row in zip(labels, normalize(features), strict=True):
                stored[label], left[label] = row, 2
        assert loss.remaining.tolist() == list(left.values())
    assert left == {0: 0, 1: 0, 2: 2, 3: 0} and loss.steps.item() == 5


def test_centers_move_to_the_mean_of_their_own_samples():
    """c_j += alpha sum (x - c_j) / (1 + n_j): person 1 has two samples, person 3 none."""
    loss, features, labels = Center(D, C, alpha=0.5).double(), rows(4), torch.tensor([1, 0, 1, 2])
    loss.centers.copy_(rows(C, 7))
    before = loss.centers.clone()
    value = loss(features, labels)
    assert value.item() == pytest.approx(oracle.center(features.tolist(), before.tolist(), labels.tolist()), rel=1e-12)
    for j in range(C):
        own = features[labels == j]
        moved = before[j] + 0.5 * (own - before[j]).sum(0) / (1 + len(own))
        torch.testing.assert_close(loss.centers[j], moved)
    assert torch.equal(loss.centers[3], before[3])


def test_the_centers_pull():
    loss, labels = Center(D, C).double(), torch.tensor([1, 0, 1, 2])
    loss.centers.copy_(rows(C, 7))
    x = rows(4).requires_grad_()
    before = loss.centers.clone()
    loss(x, labels).backward()
    torch.testing.assert_close(x.grad, (x.detach() - before[labels]) / 4)


@pytest.mark.parametrize("normalised", [True, False])
def test_contrastive_is_deepid2s(normalised):
    features, labels = rows(8), torch.arange(8) % 3
    seen = normalize(features) if normalised else features
    wanted = oracle.contrastive(seen.tolist(), labels.tolist(), 1.3)
    found = Contrastive(D, C, margin=1.3, normalised=normalised)(features, labels)
    assert found.item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("normalised", [True, False])
def test_triplet_is_of_squared_distances(normalised):
    features, labels = rows(8), torch.arange(8) % 3
    x = normalize(features) if normalised else features
    squared = torch.cdist(x, x).square()
    alike = labels[:, None] == labels[None]
    gaps = [squared[i][alike[i]].max() - squared[i][~alike[i]].min() + 0.2 for i in range(8)]
    found = Triplet(D, C, normalised=normalised)(features, labels)
    assert found.item() == pytest.approx(sum(max(0.0, gap.item()) for gap in gaps) / 8, rel=1e-9)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_gradients_of_added_terms_are_difference_quotients(normalised, soft):
    """Centres as in evaluation, where they stand still."""
    labels, centre = torch.arange(8) % 3, Center(D, C).double().eval()
    centre.centers.copy_(rows(C, 7))
    squared = Triplet(D, C, normalised=normalised, soft=soft)
    for term in (centre, squared, Contrastive(D, C, margin=1.3, normalised=normalised)):
        assert gradcheck(lambda x, term=term: term(x, labels), (rows(8).requires_grad_(),))


def made(name, dtype=torch.float32, features=D):
    return tiny.LOSSES[name](features, C).to(dtype)


@pytest.mark.parametrize("name", tiny.LOSSES)
def test_evaluation_changes_nothing(name):
    loss = made(name).eval()
    before = snapshot(loss.state_dict())
    loss(rows(8, dtype=torch.float32), torch.arange(8) % C)
    assert same(loss.state_dict(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", tiny.LOSSES)
def test_gradients_are_finite_at_the_ends(name, dtype):
    """Features that are a class weight, its opposite, zero, tiny and huge."""
    loss = made(name, dtype)
    weight = loss.weight.detach() if name not in tiny.ADDED else rows(C, dtype=dtype)
    zero, tiny_one = torch.zeros(C, D, dtype=dtype), torch.full((C, D), 1e-20, dtype=dtype)
    x = torch.cat([weight, -weight, 3 * weight, zero, tiny_one, 1e4 * weight]).requires_grad_()
    labels = (torch.arange(C) + torch.arange(6)[:, None] // 5).flatten() % C
    for _ in range(3):  # memories and averages in use
        x.grad = None
        value = loss(x, labels)
        value.backward()
        assert value.isfinite() and x.grad.isfinite().all()
        for p in loss.parameters():
            assert p.grad.isfinite().all()


@pytest.mark.parametrize("name", tiny.LOSSES)
def test_half_precision_loses_what_the_features_lost_and_no_more(name):
    """bfloat16 features under autocast give the loss of the same values in float32."""
    features, labels = rows(8, dtype=torch.float32).bfloat16(), torch.arange(8) % C
    exact = made(name)
    low = made(name)
    low.load_state_dict(exact.state_dict())
    wanted = exact(features.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = low(features, labels)
    # softmax is a linear layer, whose product autocast makes in bfloat16, as it always has
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=1e-2 if name == "softmax" else 1e-6)


def test_options_out_of_range_are_refused():
    for kind, options, said in (
        (VPL, {"lambda_value": 1.0}, "lambda_value 1.0"),
        (VPL, {"form": "sphere"}, "vpl.form is sphere; expected one of cosface, arcface"),
        (CurricularFace, {"momentum": 2.0}, "curricularface.momentum is 2.0"),
        (CurricularFace, {"margin": -0.1}, "curricularface.margin is -0.1; expected an angle"),
        (CurricularFace, {"margin": 30.0}, "curricularface.margin is 30.0; expected an angle in radians, 0 to pi"),
        (tiny.LOSSES["arcface"], {"margin": 30.0}, "arcface.margin is 30.0; expected an angle"),
        (VPL, {"margin": 30.0}, "vpl.margin is 30.0; expected an angle"),
        (MVSoftmax, {"margin": 30.0, "form": "arcface"}, "mv_softmax.margin is 30.0; expected an angle"),
        (tiny.LOSSES["magface"], {"margin_max": 45.0}, "magface.margin_max is 45.0; expected an angle"),
        (tiny.LOSSES["circle"], {"margin": 1.5}, "circle.margin is 1.5; expected 0 to below 1"),
        (ASoftmax, {"margin": 0}, "a_softmax.margin is 0"),
        (Center, {"alpha": 2.0}, "center.alpha is 2.0"),
        (Triplet, {"weight": -1.0}, "triplet.weight is -1.0"),
        (Contrastive, {"margin": 0.0}, "contrastive.margin is 0.0"),
        (tiny.LOSSES["circle"], {"label_smoothing": 0.1}, "identity_loss=circle is no cross-entropy"),
        (tiny.LOSSES["magface"], {"norm_max": 0.5}, "norms 1.0 to 0.5"),
    ):
        with pytest.raises(ValueError, match=said):
            kind(D, C, **options)


@pytest.mark.parametrize("name", SMOOTHED)
def test_every_cross_entropy_is_smoothed_on_demand(name):
    plain, smoothed = (tiny.LOSSES[name](D, C, label_smoothing=e).eval() for e in (0.0, 0.3))
    smoothed.load_state_dict(plain.state_dict())
    features, labels = torch.randn(8, D, generator=torch.Generator().manual_seed(0)), torch.arange(8) % C
    assert (smoothed(features, labels) - plain(features, labels)).abs() > 1e-3


def test_centers_start_at_0_and_move_alike_under_autocast():
    features, labels = torch.randn(6, D, generator=torch.Generator().manual_seed(0)), torch.arange(6) % C
    exact, low = Center(D, C), Center(D, C)
    assert not exact.centers.any()
    exact(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        low(features, labels)
    assert torch.equal(low.centers, exact.centers)


def test_class_weights_start_at_about_unit_length():
    weight = tiny.LOSSES["cosface"](256, 200).weight
    assert weight.norm(dim=1).mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("center", {"weight": -1.0}, "center.weight is -1.0"),
        ("contrastive", {"weight": -1.0}, "contrastive.weight is -1.0"),
        ("triplet", {"margin": -1.0}, "triplet.margin is -1.0"),
        ("mv_softmax", {"t": -1.0}, "mv_softmax.t is -1.0"),
        ("magface", {"norm_min": 0.0}, "norms 0.0 to"),
        ("magface", {"norm_min": 20.0}, "norms 20.0 to 20.0"),
    ],
)
def test_more_options_out_of_range_are_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        tiny.LOSSES[name](D, C, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("center", {"alpha": 0}),
        ("center", {"alpha": 1}),
        ("circle", {"margin": 0}),
        ("curricularface", {"momentum": 0}),
        ("curricularface", {"momentum": 1}),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name, options):
    tiny.LOSSES[name](D, C, **options)


def test_the_soft_triplet_is_soft():
    """Hermans et al.: log(1 + exp(d_ap - d_an)), neither squared nor normalised, whatever the margin."""
    features, labels = (
        torch.randn(8, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.arange(8) % 3,
    )
    found = tiny.LOSSES["soft_triplet"](D, C)(features, labels)
    assert found.item() == pytest.approx(oracles.triplet(features, labels, 0.0, soft=True), rel=1e-9)
