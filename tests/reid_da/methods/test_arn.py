"""ARN: its four losses by hand, domain by domain."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import same, snapshot
from torch import nn

from reid_da.backbones import resnet50
from reid_da.learner import sgd
from reid_da.methods.arn import ARN, Decoder
from reid_da.sampling import draws

TERMS = {"loss/class", "loss/ctrs", "loss/rec_source", "loss/rec_target", "loss/diff_source", "loss/diff_target"}


def slow_difference(c, p):
    """||C^T P||_F^2 / D^2 with rows of length 1, the D x D matrix written out."""
    c, p = (x / x.norm(dim=1, keepdim=True) for x in (c, p))
    return (c.T @ p).square().sum() / c.shape[1] ** 2


def slow_contrastive(rows, labels, margin):
    total, pairs = 0.0, 0
    for i in range(len(rows)):
        for j in range(i):
            distance = (rows[i] - rows[j]).norm()
            total += distance**2 if labels[i] == labels[j] else max(margin - distance, torch.zeros(())) ** 2
            pairs += 1
    return total / pairs


def in_double(batch):
    return {k: {**v, "images": v["images"].double()} if isinstance(v, dict) else v for k, v in batch.items()}


@pytest.mark.parametrize("target_terms", [True, False])
def test_terms_are_those_of_the_equations(world, target_terms):
    """x = E_I(image), c = E_C(x), p = E_S(x) or E_T(x); BN sees the source first, and each encoder runs once an image."""
    method, by_hand = (
        tiny.build("arn", world, target_terms=target_terms, margin=3.0).double().train() for _ in range(2)
    )
    for encoder in (method, by_hand):  # apart from their common start, so that a mix-up shows
        torch.manual_seed(5)
        for part in (encoder.encoder_source, encoder.encoder_target):
            for p in part.parameters() if part is not None else ():
                p.data.add_(0.1 * torch.randn_like(p))
    batch = in_double(tiny.batches(method, world)(2))
    terms = method(batch)
    assert terms.keys() == (TERMS if target_terms else {name for name in TERMS if "target" not in name})
    expected = {}
    for domain in ("source", "target")[: 1 + target_terms]:
        x = by_hand.encoder_shared_lower(batch[domain]["images"])
        private = by_hand.encoder_source if domain == "source" else by_hand.encoder_target
        c, p = by_hand.encoder_common(x), private(x)
        expected[f"loss/rec_{domain}"] = ((x - by_hand.decoder(c + p)) ** 2).mean()
        expected[f"loss/diff_{domain}"] = slow_difference(c.mean((2, 3)), p.mean((2, 3)))
        if domain == "source":
            rows, labels = c.mean((2, 3)), batch["source"]["labels"]
            expected["loss/ctrs"] = slow_contrastive(rows, labels.tolist(), 3.0)
            kept = torch.where(draws(0, 2)("source/dropout", (8, 32)) < 0.5, 0.0, rows / 0.5)
            logits = kept @ by_hand.classifier.weight.T + by_hand.classifier.bias
            expected["loss/class"] = -logits.log_softmax(1)[torch.arange(8), labels].mean()
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-9), name
    for key, buffer in by_hand.named_buffers():
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
    }


@pytest.mark.parametrize("name, passes", [("arn", 2), ("arn_source", 1)])
def test_each_encoder_runs_once_an_image(world, name, passes):
    method = tiny.build(name, world)
    tiny.learner(method).update(tiny.batches(method, world)(0))
    counts = {key: int(v) for key, v in method.named_buffers() if key.endswith("num_batches_tracked")}
    for key, count in counts.items():
        private = key.startswith(("encoder_source", "encoder_target"))
        assert count == (1 if private else passes), key


def test_the_three_groups_are_the_papers(world):
    method = tiny.build("arn", world)
    groups = method.parameter_groups()
    members = {name: {id(p) for p in group} for name, group in groups.items()}
    parts = {
        "shared": [method.encoder_shared_lower],
        "encoders": [method.encoder_common, method.encoder_source, method.encoder_target, method.decoder],
        "classifier": [method.classifier],
    }
    assert members == {
        name: {id(p) for module in modules for p in module.parameters()} for name, modules in parts.items()
    }


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


@pytest.mark.parametrize("name", ["arn", "arn_source"])
def test_start_from_takes_the_trunk_and_leaves_decoder_and_classifier(world, name):
    baseline, method = tiny.build("baseline", world, 0), tiny.build(name, world, 1)
    tiny.learner(baseline).update(tiny.batches(baseline, world)(0))
    own = snapshot({"decoder": method.decoder.state_dict(), "classifier": method.classifier.state_dict()})
    method.start_from(baseline.state_dict())
    assert same(snapshot({"decoder": method.decoder.state_dict(), "classifier": method.classifier.state_dict()}), own)
    assert same(snapshot(method.encoder_shared_lower.state_dict()), snapshot(baseline.backbone.lower.state_dict()))
    for encoder in (method.encoder_common, method.encoder_source, method.encoder_target):
        assert encoder is None or same(snapshot(encoder.state_dict()), snapshot(baseline.backbone.layer4.state_dict()))
    images = torch.randn(2, 3, 32, 16)
    assert torch.equal(method.eval().embed(images), baseline.eval().embed(images))


def test_start_from_something_else_is_refused(world):
    method = tiny.build("arn", world)
    with pytest.raises(RuntimeError, match="Missing key"):
        method.start_from({k: v for k, v in tiny.build("baseline", world).state_dict().items() if "layer4" not in k})


@pytest.mark.parametrize("stride, size", [(1, (8, 4)), (2, (16, 8))])
def test_decoder_gives_back_the_lower_maps(stride, size):
    decoder = Decoder(num_features=6, lower_features=5, stride=stride)
    assert decoder(torch.randn(2, 6, 8, 4)).shape == (2, 5, *size)
    assert isinstance(decoder.layers[-1], nn.Conv2d), "the last layer must reach any value"


@pytest.mark.slow
def test_a_step_on_resnet50(world):
    """The published network on small pictures and batches."""
    torch.manual_seed(0)
    sizes = {"persons": 2, "images_per_person": 1, "target_batch": 2}
    method = ARN(resnet50(weights=None), num_persons=world.source.num_persons, **sizes)
    assert method.weights["loss/diff_source"] == pytest.approx(1500 * (16 / 2) ** 2)
    batch = tiny.batches(method, world)(0)
    for domain in ("source", "target"):
        batch[domain]["images"] = F.interpolate(batch[domain]["images"], scale_factor=2)  # maps of an even size
    floats = tiny.learner(method, sgd, lr=1e-3).update(batch)
    assert floats.keys() == TERMS | {"loss", "lr_factor"}
    assert all(p.grad.isfinite().all() for p in method.parameters())
