"""ARN and its variants: their losses by hand, domain by domain."""

import inspect

import oracles
import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import in_double, same, snapshot
from torch import nn

from reid_da.backbones import resnet50
from reid_da.learner import sgd
from reid_da.methods.arn import ARN
from reid_da.methods.arn_options import check
from reid_da.sampling import draws

OPTIONS = inspect.signature(ARN).parameters
ENCODERS = ("shared_lower", "common", "source", "target")
ARNS = [name for name in tiny.METHODS if name.startswith("arn")]
TERMS = {"loss/class", "loss/ctrs", "loss/rec_source", "loss/rec_target", "loss/diff_source", "loss/diff_target"}


def apart(*methods):
    """The encoders moved apart from their common start, so that a mix-up shows."""
    for method in methods:
        torch.manual_seed(5)
        for part in (method.encoder_source, method.encoder_target):
            for p in part.parameters() if part is not None else ():
                p.data.add_(0.1 * torch.randn_like(p))
    return methods


def code(method, which, domain, x):
    """An encoder's maps; the FCN layers' dropout by their drawn masks."""

    def drop(rows, layer):
        kept = draws(0, 2)(f"{domain}/{which}/{layer}", tuple(rows.shape)) >= 0.5
        return torch.where(kept, rows / 0.5, 0.0)

    encoder = getattr(method, f"encoder_{which}")
    return encoder(x, drop) if hasattr(encoder, "conv6") else encoder(x)


def class_term(method, rows, labels, smoothing):
    """Neck, dropout by its drawn mask, classifier, and the smoothed cross-entropy written out."""
    if isinstance(method.neck, nn.BatchNorm1d):
        rows = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt() * method.neck.weight
    kept = torch.where(draws(0, 2)("source/dropout", (8, 32)) < 0.5, 0.0, rows / 0.5)
    p = (kept @ method.classifier.weight.T + method.classifier.bias).log_softmax(1)
    return -((1 - smoothing) * p[torch.arange(8), labels] + smoothing * p.mean(1)).mean()


@torch.no_grad()
def terms_by_hand(method, batch, name):
    """x = E_I(image), c = E_C(x), p = E_S(x) or E_T(x); BN sees the source first, and each encoder runs once an image."""
    expected, rows = {}, {}
    for domain in [one for one in ("source", "target") if one in batch]:
        images = batch[domain]["images"]
        x = method.encoder_shared_lower(images)
        c = both = code(method, "common", domain, x)
        rows[domain] = c.mean((2, 3))
        if name not in ("arn_rec", "arn_identity"):
            p = code(method, domain, domain, x)
            both = c + p
            expected[f"loss/diff_{domain}"] = oracles.difference(rows[domain], p.mean((2, 3)))
        if name == "arn_image":
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            wanted = 2 * (images * std.double().view(3, 1, 1) + mean.double().view(3, 1, 1)) - 1
            expected[f"loss/rec_{domain}"] = 3 * (wanted - method.decoder(both)).abs().mean()
        else:
            expected[f"loss/rec_{domain}"] = ((x - method.decoder(both)) ** 2).mean()
    if name not in ("arn_rec", "arn_rec_private"):
        labels = batch["source"]["labels"]
        expected["loss/ctrs"] = oracles.contrastive(rows["source"], labels, 3.0)
        expected["loss/class"] = class_term(method, rows["source"], labels, 0.1 if name == "arn_mmd" else 0.0)
    if name == "arn_mmd":
        expected["loss/mmd"] = oracles.mmd(rows["source"], rows["target"])
    return expected


@pytest.mark.parametrize("name", ARNS)
def test_terms_are_those_of_the_equations(world, name):
    method, by_hand = apart(*(tiny.build(name, world, margin=3.0).double().train() for _ in range(2)))
    batch = in_double(tiny.batches(method, world)(2))
    terms, expected = method(batch), terms_by_hand(by_hand, batch, name)
    assert terms.keys() == expected.keys() and (name != "arn" or terms.keys() == TERMS)
    for key, term in terms.items():
        assert term.item() == pytest.approx(float(expected[key]), rel=1e-6 if name == "arn_image" else 1e-9), key
    for key, buffer in by_hand.named_buffers():
        if not key.startswith("neck."):  # written out by hand
            torch.testing.assert_close(dict(method.named_buffers())[key], buffer, rtol=1e-9, atol=1e-12)


def test_the_total_has_the_published_weights(world):
    """class + 0.01 ctrs + 2 rec + 1500 diff, the last scaled from 16 rows of 2048 to 8 rows of 32 features."""
    method = tiny.build("arn", world)
    floats = tiny.learner(method).update(tiny.batches(method, world)(0))
    rec, diff = (sum(floats[f"loss/{term}_{domain}"] for domain in ("source", "target")) for term in ("rec", "diff"))
    gamma = 1500 * (32 / 2048) ** 2 * (16 / 8) ** 2
    expected = floats["loss/class"] + 0.01 * floats["loss/ctrs"] + 2 * rec + gamma * diff
    assert floats["loss"] == pytest.approx(expected, rel=1e-6)
    assert 0.01 < gamma * floats["loss/diff_source"] < 10, "of no use, or it drowns the rest"


def test_each_domain_has_the_weight_of_its_own_number_of_rows(world):
    """The term grows with the square of the rows: a quarter of the weight at twice the rows."""
    weights = tiny.build("arn", world, target_batch=16).weights
    assert weights["loss/diff_source"] == pytest.approx(4 * weights["loss/diff_target"])


def test_reconstruction_does_not_teach_the_shared_layers_to_be_zero(world):
    """L_rec reaches E_I through the encoders, not through its target: the decoder's answer fixed, it has no gradient."""
    method = tiny.build("arn", world)
    batch = tiny.batches(method, world)(0)
    for module in (method.encoder_common, method.encoder_source, method.encoder_target):
        for p in module.parameters():
            p.data.zero_()
    sum(term for name, term in method(batch).items() if "rec" in name).backward()
    gradients = [p.grad for p in method.encoder_shared_lower.parameters()]
    assert all(g is None or not g.any() for g in gradients)
    assert any(p.grad.any() for p in method.decoder.parameters())


def test_target_terms_move_what_the_domains_share_but_not_the_source_encoder(world):
    method = tiny.build("arn", world)
    terms = method(tiny.batches(method, world)(0))
    (terms["loss/rec_target"] + terms["loss/diff_target"]).backward()
    gradient = {
        name: any(p.grad is not None and p.grad.any() for p in module.parameters())
        for name, module in method.named_children()
    }
    assert gradient == {
        "encoder_shared_lower": True,
        "encoder_common": True,
        "encoder_source": False,
        "encoder_target": True,
        "decoder": True,
        "classifier": False,
        "neck": False,
    }


@pytest.mark.parametrize("name, passes", [("arn", 2), ("arn_source", 1)])
def test_each_encoder_runs_once_an_image(world, name, passes):
    method = tiny.build(name, world)
    tiny.learner(method).update(tiny.batches(method, world)(0))
    counts = {key: int(v) for key, v in method.named_buffers() if key.endswith("num_batches_tracked")}
    for key, count in counts.items():
        private = key.startswith(("encoder_source", "encoder_target"))
        assert count == (1 if private else passes), key


@pytest.mark.parametrize("name", ARNS)
def test_the_three_groups_are_the_papers(world, name):
    method = tiny.build(name, world)
    members = {group: {id(p) for p in parameters} for group, parameters in method.parameter_groups().items()}
    parts = {
        "shared": [method.encoder_shared_lower],
        "encoders": [method.encoder_common, method.encoder_source, method.encoder_target, method.decoder],
        "classifier": [method.classifier, method.neck],
    }
    assert members == {
        group: {id(p) for module in modules if module is not None for p in module.parameters()}
        for group, modules in parts.items()
    }


def test_a_frozen_shared_encoder_stays_bit_for_bit(world):
    """Weights and running statistics, though the rest trains."""
    method = tiny.build("arn_frozen", world)
    before = snapshot(method.state_dict())
    learner, batches = tiny.learner(method), tiny.batches(method, world)
    for step in range(3):
        learner.update(batches(step))
    assert method.training and not any(m.training for m in method.encoder_shared_lower.modules())
    same_keys = {key for key, value in method.state_dict().items() if torch.equal(value, before[key])}
    assert same_keys - {"decoder.layers.0.bias", "decoder.layers.3.bias"} == {
        key for key in before if key.startswith("encoder_shared_lower.")
    }
    method.eval().train()
    assert not any(m.training for m in method.encoder_shared_lower.modules())


@pytest.mark.parametrize("name, absent", [("arn_rec", "source target"), ("arn_identity", "source target"), ("arn", "")])
def test_without_private_encoders_there_are_no_weights_of_theirs(world, name, absent):
    method = tiny.build(name, world)
    for domain in ("source", "target"):
        gone = domain in absent.split()
        assert (getattr(method, f"encoder_{domain}") is None) == gone
        assert any(key.startswith(f"encoder_{domain}.") for key in method.state_dict()) != gone
    assert "classifier.weight" in method.state_dict(), "by which a stage's number of persons is known"


def test_options_at_their_defaults_change_nothing(world):
    """The same draws, names, order and terms as with the options left out."""
    plain, options = (
        tiny.build("arn", world),
        {name: p.default for name, p in OPTIONS.items() if p.default is not p.empty},
    )
    given = tiny.build("arn", world, **{name: v for name, v in options.items() if name not in tiny.ARN_SIZES})
    assert list(plain.state_dict()) == list(given.state_dict()) and same(plain.state_dict(), given.state_dict())
    batch = tiny.batches(plain, world)(0)
    assert same(plain(batch), given(batch)) and plain.weights == given.weights
    parts = [name.split(".")[0] for name in plain.state_dict()]
    assert list(dict.fromkeys(parts)) == [*(f"encoder_{e}" for e in ENCODERS), "decoder", "classifier"]
    checked = {name: p.default for name, p in inspect.signature(check).parameters.items() if p.default is not p.empty}
    assert checked.items() <= options.items(), "check takes other defaults than ARN"


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"encoder": "layer5"}, "arn.encoder is layer5; expected layer4 or fcn"),
        ({"decoder": "pixels"}, "arn.decoder is pixels; expected feature or image"),
        ({"weight_mmd": -0.1}, "arn.weight_mmd is -0.1; expected at least 0"),
        ({"weight_rec": -1}, "arn.weight_rec is -1; expected at least 0"),
        ({"label_smoothing": 1.0}, "arn.label_smoothing is 1.0; expected at least 0 and below 1"),
        ({"dropout": 1.0}, "arn.dropout is 1.0; expected"),
        ({"margin": 0.0}, "arn.margin is 0.0; expected a positive"),
        ({"map_size": [8]}, "arn.map_size is \\[8\\]; expected height and width"),
        ({"map_size": [8, 0]}, "arn.map_size is"),
        ({"fcn_width": 0}, "arn.fcn_width is 0; expected"),
        ({"identity_terms": False, "target_terms": False}, "keep one of them"),
        ({"identity_terms": False, "weight_rec": 0, "weight_diff": 0}, "nothing to learn from"),
        ({"identity_terms": False, "weight_rec": 0, "private": False}, "nothing to learn from"),
        ({"weight_mmd": 0.1, "target_terms": False}, "give arn.weight_mmd=0 or arn.target_terms=true"),
        ({"decoder": "image", "encoder": "fcn"}, "give arn.decoder=feature or arn.encoder=layer4"),
        ({"identity_terms": False, "bn_neck": True}, "give arn.bn_neck=false"),
        ({"identity_terms": False, "label_smoothing": 0.1}, "arn.label_smoothing=0"),
    ],
)
def test_what_cannot_be_is_refused_before_and_when_it_is_built(world, options, expected):
    for refuse in (lambda: ARN.inputs(**options), lambda: tiny.build("arn", world, **options)):
        with pytest.raises(ValueError, match=expected) as refused:
            refuse()
        assert "\n" not in str(refused.value)


def test_terms_that_teach_alone_are_allowed():
    for options in ({"weight_rec": 0, "weight_mmd": 0.1, "private": False}, {"weight_rec": 0}, {"weight_diff": 0}):
        assert ARN.inputs(identity_terms=False, **options) == ("target",)


def test_maps_of_another_size_are_refused_with_theirs(world):
    method = tiny.build("arn_fcn", world, map_size=(8, 4))
    with pytest.raises(ValueError, match=r"maps of 4x2, and arn.encoder=fcn expects 8x4; give arn.map_size=\[4,2\]"):
        method(tiny.batches(method, world)(0))


def test_the_neck_is_at_test_time_what_the_classifier_saw(world):
    """With statistics of its own, no bias, and after which the feature is normalised."""
    method = tiny.build("arn_mmd", world)
    tiny.learner(method).update(tiny.batches(method, world)(0))
    neck, images = method.eval().neck, torch.randn(3, 3, 32, 16)
    assert not neck.bias.any() and not neck.bias.requires_grad and neck.running_mean.any()
    rows = method.encoder_common(method.encoder_shared_lower(images)).mean((2, 3))
    rows = (rows - neck.running_mean) / (neck.running_var + 1e-5).sqrt() * neck.weight
    torch.testing.assert_close(method.embed(images), rows / rows.norm(dim=1, keepdim=True))


def test_dropping_the_target_drops_its_encoder(world):
    method = tiny.build("arn_source", world)
    assert method.encoder_target is None and not any("encoder_target" in key for key in method.state_dict())
    assert ARN.inputs() == ARN.inputs(target_terms=True, margin=2.0) == ("target",)
    assert ARN.inputs(target_terms=False) == ()
    assert list(method.streams(world.source, 0)) == ["source"]
    streams = tiny.build("arn", world).streams(world.source, 0, target=world.target)
    assert list(streams) == ["source", "target"]
    assert [len(stream.indices(0)) for _, stream in streams.values()] == [8, 8]


def test_encoders_start_alike_and_are_not_one(world):
    method = tiny.build("arn", world)
    common = snapshot(method.encoder_common.state_dict())
    assert same(snapshot(method.encoder_source.state_dict()), common)
    assert same(snapshot(method.encoder_target.state_dict()), common)
    tiny.learner(method).update(tiny.batches(method, world)(0))
    states = [snapshot(m.state_dict()) for m in (method.encoder_common, method.encoder_source, method.encoder_target)]
    assert not any(same(states[i], states[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", ARNS)
def test_start_from_takes_the_trunk_and_leaves_what_is_not_of_it(world, name):
    baseline, method = tiny.build("baseline", world, 0), tiny.build(name, world, 1)
    tiny.learner(baseline).update(tiny.batches(baseline, world)(0))
    parts, fcn = dict(method.named_children()), name == "arn_fcn"
    left = ["decoder", "classifier", "neck"] + (["encoder_common", "encoder_source", "encoder_target"] if fcn else [])
    own = snapshot({part: parts[part].state_dict() for part in left})
    method.start_from(baseline.state_dict())
    assert same({part: parts[part].state_dict() for part in left}, own)
    lower = baseline.backbone if fcn else baseline.backbone.lower
    assert same(method.encoder_shared_lower.state_dict(), lower.state_dict())
    for part in parts.keys() - {*left, "encoder_shared_lower"}:
        assert same(parts[part].state_dict(), baseline.backbone.layer4.state_dict())
    if not fcn and name != "arn_mmd":  # whose neck starts with statistics 0 and 1, but for its eps
        images = torch.randn(2, 3, 32, 16)
        assert torch.equal(method.eval().embed(images), baseline.eval().embed(images))


def test_start_from_something_else_is_refused(world):
    method = tiny.build("arn", world)
    with pytest.raises(RuntimeError, match="Missing key"):
        method.start_from({k: v for k, v in tiny.build("baseline", world).state_dict().items() if "layer4" not in k})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"encoder": "fcn", "map_size": (2, 1)}, {"decoder": "image"}])
def test_a_step_on_resnet50(world, options):
    """The published network on small pictures and batches."""
    torch.manual_seed(0)
    sizes = {"persons": 2, "images_per_person": 1, "target_batch": 2}
    method = ARN(resnet50(weights=None), num_persons=world.source.num_persons, **sizes | options)
    assert method.weights["loss/diff_source"] == pytest.approx(1500 * (16 / 2) ** 2)
    batch = tiny.batches(method, world)(0)
    for domain in ("source", "target"):
        batch[domain]["images"] = F.interpolate(batch[domain]["images"], scale_factor=2)  # maps of an even size
    floats = tiny.learner(method, sgd, lr=1e-3).update(batch)
    assert floats.keys() == TERMS | {"loss", "lr_factor"}
    assert all(p.grad.isfinite().all() for p in method.parameters())
