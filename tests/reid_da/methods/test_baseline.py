"""The baseline by hand, and what every method must keep: gradients, groups, frozen parts, embeddings, labels."""

import json
import math
import shutil
from functools import cache

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import same, snapshot
from torch import nn

from reid_da.backbones import pool
from reid_da.images import ImageStore
from reid_da.learner import sgd
from reid_da.methods.baseline import dropout
from reid_da.sampling import draws

FROZEN = {  # what the names of frozen parameters start with
    "hhl_frozen": ("embedding.", "triplet."),
    "hhl_strong": ("neck.bias",),
    "arn_rec": ("encoder_shared_lower.", "classifier."),
    "arn_rec_private": ("classifier.",),
    "arn_frozen": ("encoder_shared_lower.",),
    "arn_mmd": ("neck.bias",),
    "curricularface_arn": ("neck.bias",),
}
# BatchNorm takes away what these add: their gradient is zero but for rounding.
WITHOUT_EFFECT = {"embedding.0.bias", "decoder.layers.0.bias", "decoder.layers.3.bias"}


@pytest.fixture(params=tiny.METHODS)
def name(request):
    return request.param


def frozen(method, name):
    return {key for key, _ in method.named_parameters() if key.startswith(FROZEN.get(name, ()))}


def train(method, world, steps=3, **options):
    """After some steps of SGD: (floats of the last, learner)."""
    learner, batches = tiny.learner(method, sgd, **options), tiny.batches(method, world)
    for step in range(steps):
        floats = learner.update(batches(step))
    return floats, learner


@pytest.fixture(scope="module")
def trained(world):
    """trained(name): floats and state of a training on the world as it is, from the weights of seed 0."""

    @cache
    def once(name):
        method = tiny.build(name, world)
        return train(method, world)[0], snapshot(method.state_dict())

    return once


def with_persons(world, role, change, folder):
    """The world with that role's persons changed: change(list of persons) -> list."""
    shutil.copytree(world.folder / role, folder)
    meta = json.loads((folder / "records.json").read_text())
    meta["persons"] = change(meta["persons"])
    (folder / "records.json").write_text(json.dumps(meta))
    return world._replace(**{role: ImageStore(folder)})


def rotated(persons):
    """The same persons, but each image shows the one of 7 images before."""
    return persons[7:] + persons[:7]


def test_every_trainable_parameter_gets_a_gradient_and_one_group(world, name):
    method = tiny.build(name, world)
    _, learner = train(method, world, steps=1)
    parameters = dict(method.named_parameters())
    assert {key for key, p in parameters.items() if not p.requires_grad} == frozen(method, name)
    for key, p in parameters.items():
        groups = [group for group, members in learner.groups.items() if any(member is p for member in members)]
        places = sum(member is p for group in learner.optimiser.param_groups for member in group["params"])
        assert len(groups) == places == int(p.requires_grad), f"{key} stands in {groups}"
        if p.requires_grad:
            assert p.grad is not None, f"{key} has no gradient"
            assert key in WITHOUT_EFFECT or p.grad.abs().max() > 0, f"the gradient of {key} is zero"
        else:
            assert p.grad is None


@pytest.mark.slow
def test_trained_parameters_move_and_frozen_ones_do_not(world, name):
    method = tiny.build(name, world)
    before = snapshot(method.state_dict())
    train(method, world, weight_decay=0.0)
    trainable = {key for key, p in method.named_parameters() if p.requires_grad}
    still = "encoder_shared_lower." if getattr(method, "freeze_shared", False) else ()
    statistics = {key for key, _ in method.named_buffers() if not key.startswith(still)}
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved | (WITHOUT_EFFECT & trainable) == trainable | statistics
    assert {key for key, _ in method.named_parameters()} - trainable == frozen(method, name)


@pytest.mark.slow
def test_training_lowers_the_loss_on_its_own_batch(world, name):
    method = tiny.build(name, world)
    learner, batch = tiny.learner(method), tiny.batches(method, world)(0)
    losses = [learner.update(batch)["loss"] for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_updates_do_not_look_at_global_random_state(world, name, trained):
    method, (floats, state) = tiny.build(name, world), trained(name)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert train(method, world)[0] == floats and same(method.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), before)


def test_source_persons_teach(world, name, trained, tmp_path):
    other = with_persons(world, "source", rotated, tmp_path / "source")
    method = tiny.build(name, world)
    train(method, other)
    assert not same(method.state_dict(), trained(name)[1])


@pytest.mark.slow
@pytest.mark.parametrize("change", [rotated, lambda persons: [1] * len(persons), lambda persons: [0, *persons[1:]]])
def test_target_persons_are_never_used(world, name, trained, tmp_path, change):
    other = with_persons(world, "target", change, tmp_path / "target")
    method, (floats, state) = tiny.build(name, world), trained(name)
    assert train(method, other)[0] == floats and same(method.state_dict(), state)


@pytest.mark.slow
def test_embed_is_normalised_and_blind_to_its_neighbours(world, name):
    """In evaluation mode, as it is called."""
    method = tiny.build(name, world)
    train(method, world)
    method.eval()
    images = tiny.batches(method, world)(9)["source"]["images"]
    with torch.no_grad():
        features = method.embed(images)
        alone = torch.cat([method.embed(image[None]) for image in images])
    assert features.shape == (8, 32)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(features, alone, atol=1e-5, rtol=1e-4)
    assert (features[0] - features[1]).norm() > 1e-3


def test_terms_are_scalars_and_weights_name_terms(world, name):
    method = tiny.build(name, world)
    terms = method(tiny.batches(method, world)(0))
    assert all(term.shape == () and term.requires_grad and term.item() >= 0 for term in terms.values())
    known = set(method.weights) | {"loss/source", "loss/class", "loss/softmax_whole"}
    assert set(terms) <= known, "a term under a name that no weight has"


def test_state_goes_round(world, name, trained):
    first, second = tiny.build(name, world, seed=0), tiny.build(name, world, seed=1)
    assert not same(first.state_dict(), second.state_dict())
    second.load_state_dict(snapshot(first.state_dict()))
    assert train(second, world)[0] == trained(name)[0]


# ---------------------------------------------------------------- the baseline itself


def test_loss_by_hand(world):
    """Pool, FC, BN of the batch, ReLU, a drawn mask / (1 - p), classifier, -log softmax: in float64, step by step."""
    method = tiny.build("baseline", world, dropout=0.3).double()
    batch = tiny.batches(method, world)(4)
    batch["source"]["images"] = batch["source"]["images"].double()
    fc, norm = method.embedding[0], method.embedding[1]
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    features = method.backbone.train()(batch["source"]["images"]).mean((2, 3))
    x = features @ fc.weight.T + fc.bias
    x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias
    x = x.clamp(min=0)
    x = torch.where(draws(0, 4)("source/dropout", (8, 16)) < 0.3, 0.0, x / 0.7)
    logits = x @ method.classifier.weight.T + method.classifier.bias
    expected = -sum(logits[i].log_softmax(0)[label] for i, label in enumerate(batch["source"]["labels"])) / 8
    terms = tiny.build("baseline", world, dropout=0.3).double().train()
    terms.load_state_dict(method.state_dict())
    assert terms(batch).keys() == {"loss/source"}
    assert terms(batch)["loss/source"].item() == pytest.approx(expected.item(), rel=1e-10)


def test_initial_weights(world):
    """Kaiming fan_out for the FC, N(0, 0.001) for the classifier, biases 0: so the first loss is log(persons)."""
    method = tiny.build("baseline", world, embedding=1024)
    assert method.embedding[0].weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.05)
    assert method.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not method.embedding[0].bias.any() and not method.classifier.bias.any()
    loss = method(tiny.batches(method, world)(0))["loss/source"].item()
    assert loss == pytest.approx(math.log(12), abs=0.05)


def test_dropout_keeps_the_mean_and_its_mask_is_drawn():
    x = torch.full((200, 500), 2.0)
    result = dropout(x, 0.3, draws(0, 0), "mask")
    torch.testing.assert_close(result.unique(), torch.tensor([0, 2 / 0.7]))
    assert result.mean().item() == pytest.approx(2.0, abs=0.03)
    assert torch.equal(result, dropout(x, 0.3, draws(0, 0), "mask"))
    assert not torch.equal(result, dropout(x, 0.3, draws(0, 1), "mask"))
    assert torch.equal(dropout(x, 0.0, draws(0, 0), "mask"), x)
    assert dropout(x.double(), 0.5, draws(0, 0), "mask").dtype == torch.float64


def test_embed_is_pooled_features(world):
    method = tiny.build("baseline", world).eval()
    images = torch.randn(3, 3, 32, 16)
    torch.testing.assert_close(method.embed(images), F.normalize(method.backbone(images).mean((2, 3)), dim=1))


def test_start_from_takes_everything(world):
    first, second = tiny.build("baseline", world, 0), tiny.build("baseline", world, 1)
    train(first, world)
    given = snapshot(first.state_dict())
    second.start_from(given)
    assert same(second.state_dict(), first.state_dict())
    train(second, world, steps=1)
    assert same(given, snapshot(first.state_dict())), "training moved the weights that it started from"


def test_inputs_and_streams(world):
    method = tiny.build("baseline", world)
    assert method.inputs() == ()
    streams = method.streams(world.source, seed=3)
    assert list(streams) == ["source"] and streams["source"][0] is world.source
    assert len(streams["source"][1].indices(0)) == 8
    again = tiny.build("baseline", world).streams(world.source, seed=4)
    assert streams["source"][1].indices(0).tolist() != again["source"][1].indices(0).tolist()


def test_a_batch_of_half_persons_is_refused(world):
    with pytest.raises(ValueError, match="batch is 9 and images_per_person 2; expected a batch of whole persons"):
        tiny.build("baseline", world, batch=9, added=tiny.LOSSES["triplet"])


def test_label_smoothing_by_hand(world):
    """- sum over persons of ((1 - e) one-hot + e / persons) log p."""
    plain, smooth = (tiny.build("baseline", world, label_smoothing=e).double() for e in (0.0, 0.2))
    batch = tiny.batches(plain, world)(0)
    batch["source"]["images"] = batch["source"]["images"].double()
    hidden = plain.hidden(batch["source"]["images"]) * (batch["draw"]("source/dropout", (8, 16)) >= 0.5) / 0.5
    logs, labels = plain.classifier.logits(hidden).log_softmax(1), batch["source"]["labels"]
    expected = -(0.8 * logs[torch.arange(8), labels] + 0.2 * logs.mean(1)).mean()
    assert smooth(batch)["loss/source"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_bn_neck_stands_between_pooling_and_what_follows_and_has_no_shift(world):
    method = tiny.build("baseline", world, bn_neck=True).eval()
    method.neck.running_mean.fill_(0.1)
    images = torch.randn(3, 3, 32, 16)
    pooled = pool(method.backbone(images))
    after = (pooled - 0.1) / (1 + method.neck.eps) ** 0.5 * method.neck.weight
    torch.testing.assert_close(method.hidden(images), method.embedding(after))
    torch.testing.assert_close(method.embed(images), torch.nn.functional.normalize(after))
    assert not method.neck.bias.requires_grad
    assert any(p is method.neck.weight for p in method.parameter_groups()["new"])


def test_a_neck_may_start_fresh_but_is_never_lost(world):
    plain, necked = tiny.build("baseline", world), tiny.build("baseline", world, bn_neck=True)
    necked.start_from(plain.state_dict())
    with pytest.raises(ValueError, match="bn_neck"):
        plain.start_from(necked.state_dict())
