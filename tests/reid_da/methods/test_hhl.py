"""HHL: one triplet loss over source identities and target images with their copies, in three passes."""

import numpy as np
import oracles
import pytest
import tiny
import torch
from tiny import in_double, same, snapshot

from reid_da.backbones import pool, resnet50
from reid_da.learner import sgd
from reid_da.losses import batch_hard_triplet
from reid_da.methods.hhl import HHL, check_jitter

HHLS = ["hhl", "hhl_frozen", "hhl_no_target"]


@pytest.mark.parametrize("name", HHLS)
def test_triplet_is_batch_hard_on_rows_put_together_by_hand(world, name):
    """Three passes in the order CE, triplet, target: the running statistics tell a wrong order or a merged pass."""
    method, by_hand = (tiny.build(name, world, margin=1.0).double().train() for _ in range(2))
    batch = in_double(tiny.batches(method, world)(2))
    terms = method(batch)
    rows, labels = [], []
    for stream in ("source", "triplet", "target")[: 2 if name == "hhl_no_target" else 3]:
        hidden = by_hand.embedding(pool(by_hand.backbone(batch[stream]["images"])))
        if stream != "source":
            rows.append(by_hand.triplet(hidden))
            labels += batch[stream]["labels"].tolist()
    rows = torch.cat(rows)
    assert terms.keys() == {"loss/source", "loss/triplet"}
    assert len(rows) == (8 if name == "hhl_no_target" else 8 + 2 * 9)
    assert terms["loss/triplet"].item() == pytest.approx(oracles.triplet(rows, labels, 1.0), rel=1e-9)
    assert terms["loss/triplet"].item() == pytest.approx(
        batch_hard_triplet(rows, torch.tensor(labels), 1.0).item(), rel=1e-9
    )
    for key, buffer in by_hand.named_buffers():
        torch.testing.assert_close(dict(method.named_buffers())[key], buffer, rtol=1e-9, atol=1e-12)


def test_the_classification_is_the_baselines(world):
    hhl, baseline = tiny.build("hhl", world), tiny.build("baseline", world, seed=1)
    state = {k: v for k, v in hhl.state_dict().items() if not k.startswith("triplet.")}
    baseline.load_state_dict(state)
    batch, other = tiny.batches(hhl, world)(3), tiny.batches(baseline, world)(3)
    assert same(batch["source"], other["source"])
    assert hhl(batch)["loss/source"].item() == baseline(other)["loss/source"].item()


def rows_by_hand(method, batch, names):
    """Triplet features and labels of the streams, passed one after another as a step does."""
    method.hidden(batch["source"]["images"])
    rows = torch.cat([method.triplet(method.hidden(batch[name]["images"])) for name in names])
    return rows, [label for name in names for label in batch[name]["labels"].tolist()]


def test_L_D_counts_source_anchors_alone_and_real_target_images_as_negatives(world):
    """METHODS 1.4: an anchor without a real positive does not count."""
    method, by_hand = (tiny.build("hhl_L_D", world, margin=1.0).double().train() for _ in range(2))
    batch = in_double(tiny.batches(method, world)(2))
    rows, labels = rows_by_hand(by_hand, batch, ("triplet", "target"))
    assert len(batch["target"]["images"]) == 2, "no copies"
    source = [label < world.source.num_persons for label in labels]
    assert sum(source) == 8
    expected = oracles.triplet(rows, labels, 1.0, anchors=source)
    assert method(batch)["loss/triplet"].item() == pytest.approx(expected, rel=1e-9)


def test_L_C_is_the_triplet_loss_of_target_images_and_copies_alone(world):
    method, by_hand = (tiny.build("hhl_L_C", world, margin=1.0).double().train() for _ in range(2))
    batch = in_double(tiny.batches(method, world)(2))
    assert list(name for name in batch if isinstance(batch[name], dict)) == ["source", "target"]
    rows, labels = rows_by_hand(by_hand, batch, ("target",))
    assert len(rows) == 2 * 9
    assert method(batch)["loss/triplet"].item() == pytest.approx(oracles.triplet(rows, labels, 1.0), rel=1e-9)


def test_soft_margin_is_softplus_of_the_gap(world):
    method, by_hand = (tiny.build("hhl_strong", world).double().train() for _ in range(2))
    batch = in_double(tiny.batches(method, world)(2))
    rows, labels = rows_by_hand(by_hand, batch, ("triplet", "target"))
    expected = oracles.triplet(rows, labels, 0.0, soft=True)
    assert method(batch)["loss/triplet"].item() == pytest.approx(expected, rel=1e-9)


def test_L_T_is_n_t_0_under_another_name(world):
    one, other = tiny.build("hhl", world, losses="L_T"), tiny.build("hhl_no_target", world)
    streams = one.streams(world.source, 0)
    assert HHL.inputs(losses="L_T", n_t=16) == () and list(streams) == ["source", "triplet"]
    batches = tiny.batches(other, world)
    for step in range(2):
        assert tiny.learner(one).update(batches(step)) == tiny.learner(other).update(batches(step))


@pytest.mark.parametrize("sampling", ["clustered", "supervised"])
def test_sampled_target_images_are_of_different_groups(world, sampling):
    groups = world.target.labels if sampling == "supervised" else np.arange(len(world.target)) % 3
    method = tiny.build("hhl", world, n_t=3, sampling=sampling)
    given = {"clusters": groups} if sampling == "clustered" else {}
    streams = method.streams(world.source, 0, target=world.target, styles=world.styles, **given)
    assert HHL.inputs(sampling=sampling)[2:] == (("clusters",) if sampling == "clustered" else ())
    seen = set()
    for step in range(40):
        rows = streams["target"][1].indices(step)
        assert len(set(groups[rows])) == len(rows) == 3
        seen |= set(rows.tolist())
    assert len(seen) > 40, "the same few images again and again"


def test_labels_put_target_apart_from_source(world):
    method = tiny.build("hhl", world)
    batches = tiny.batches(method, world)
    seen = set()
    for step in range(20):
        batch = batches(step)
        target = batch["target"]["labels"]
        assert target.min() >= world.source.num_persons > batch["triplet"]["labels"].max()
        groups = target.view(2, 9)
        assert (groups == groups[:, :1]).all() and groups[0, 0] != groups[1, 0]
        assert len(set(batch["triplet"]["labels"].tolist())) == 4
        seen |= set(target.tolist())
    assert len(seen) == 40, "pseudo identities are not one an image"


def test_beta_weighs_the_triplet_loss(world):
    figures = {}
    for beta in (0.0, 0.5, 2.0):
        method = tiny.build("hhl", world, beta=beta)
        figures[beta] = tiny.learner(method).update(tiny.batches(method, world)(0))
    first = figures[0.5]
    for beta, floats in figures.items():
        assert floats["loss/triplet"] == first["loss/triplet"] > 0
        assert floats["loss"] == pytest.approx(floats["loss/source"] + beta * floats["loss/triplet"], rel=1e-6)


@pytest.mark.parametrize("freeze", [True, False])
def test_freeze_embedding_leaves_the_embedding_at_its_start(world, freeze):
    """Its gradient still reaches the trunk, and its running statistics still move."""
    method = tiny.build("hhl", world, freeze_embedding=freeze, beta=1.0)
    before = snapshot(method.state_dict())
    method(tiny.batches(method, world)(0))["loss/triplet"].backward()
    assert method.backbone.lower[0].weight.grad.abs().max() > 0
    method.zero_grad()
    tiny.learner(method, sgd).update(tiny.batches(method, world)(0))
    after = method.state_dict()
    for key in ("embedding.0.weight", "embedding.1.weight", "embedding.1.bias", "triplet.weight", "triplet.bias"):
        assert torch.equal(after[key], before[key]) == freeze, key
    assert not torch.equal(after["embedding.1.running_mean"], before["embedding.1.running_mean"])
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


def test_running_statistics_see_three_batches_a_step(world):
    for name, passes in (("hhl", 3), ("hhl_no_target", 2)):
        method = tiny.build(name, world)
        tiny.learner(method).update(tiny.batches(method, world)(0))
        assert {int(v) for k, v in method.named_buffers() if k.endswith("num_batches_tracked")} == {passes}


def test_styles_matter(world):
    """Copies in other styles give another loss; the same images do not."""
    method, other = tiny.build("hhl", world), tiny.build("hhl", world)
    plain = world._replace(styles=world.target.images[:, None].repeat(8, 1))
    assert (
        method(tiny.batches(method, world)(0))["loss/triplet"] != other(tiny.batches(other, plain)(0))["loss/triplet"]
    )


def test_without_styles_the_copies_are_the_image_itself(world):
    method = tiny.build("hhl", world, styles="copies")
    store, _ = method.streams(world.source, 0, target=world.target)["target"]
    images = store.take(np.array([3]))["images"]
    assert len(images) == 1 + world.target.num_cameras
    assert (images == torch.tensor(world.target.images[3])).all()


def test_inputs_and_streams(world):
    assert HHL.inputs() == HHL.inputs(n_t=16, beta=0.5) == ("target", "styles")
    assert HHL.inputs(n_t=0) == ()
    assert HHL.inputs(styles="copies") == ("target",) and HHL.inputs(styles="jitter") == ("target", "styles")
    streams = tiny.build("hhl", world).streams(world.source, 0, target=world.target, styles=world.styles)
    assert list(streams) == ["source", "triplet", "target"]
    assert [len(stream.indices(0)) for _, stream in streams.values()] == [8, 8, 2]
    assert list(tiny.build("hhl_no_target", world).streams(world.source, 0)) == ["source", "triplet"]


def test_a_generator_s_copies_are_cropped_by_their_own_shape_and_others_by_their_image_s(world):
    for styles, size in (("generator", (16, 32)), ("jitter", None), ("redrawn", None)):
        method = tiny.build("hhl", world, styles=styles)
        assert method.streams(world.source, 0, world.target, world.styles)["target"][0].size == size
    assert tiny.build("hhl", world).streams(world.source, 0, world.target)["target"][0].size is None, "plain copies"


def test_streams_of_one_seed_are_not_the_same_rows(world):
    """With equal batches from one store: the names seed them apart."""
    streams = tiny.build("hhl", world).streams(world.source, 0, target=world.target, styles=world.styles)
    assert streams["source"][1].indices(0).tolist() != streams["triplet"][1].indices(0).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -0.1}, "expected both at least 0"),
        ({"n_t": -1}, "expected both at least 0"),
        ({"losses": "L_X"}, "hhl.losses is L_X; expected one of L_T, L_D, L_C, L_CD"),
        ({"sampling": "best"}, "hhl.sampling is best; expected one of random, clustered, supervised"),
        ({"losses": "L_C", "n_t": 1}, "expected n_t at least 2"),
        ({"losses": "L_T", "persons": 1}, "hhl.persons is 1, and the triplet loss is taken over the source alone"),
        ({"n_t": 0, "persons": 1}, "hhl.persons is 1, and the triplet loss is taken over the source alone"),
        ({"losses": "L_D", "images_per_person": 1}, "no image of hhl.losses=L_D has a positive then"),
        ({"margin": -1.0}, "hhl.margin is -1.0; expected at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(world, options, message):
    with pytest.raises(ValueError, match=message):
        tiny.build("hhl", world, **options)
    with pytest.raises(ValueError, match=message):  # as the stages ask, before any work
        HHL.inputs(**options)


def test_start_from_takes_the_baseline_and_leaves_the_triplet_branch(world):
    baseline, method = tiny.build("baseline", world, 0), tiny.build("hhl", world, 1)
    triplet = snapshot(method.triplet.state_dict())
    method.start_from(baseline.state_dict())
    state = method.state_dict()
    assert all(torch.equal(state[key], value) for key, value in baseline.state_dict().items())
    assert same(snapshot(method.triplet.state_dict()), triplet)
    images = torch.randn(2, 3, 32, 16)
    assert torch.equal(method.eval().embed(images), baseline.eval().embed(images))


def test_start_from_something_else_is_refused(world):
    method, arn = tiny.build("hhl", world), tiny.build("arn", world)
    with pytest.raises(ValueError, match="give both the same sizes"):
        method.start_from(arn.state_dict())
    with pytest.raises(AssertionError):
        method.start_from({k: v for k, v in tiny.build("baseline", world).state_dict().items() if "layer4" not in k})


def test_initial_distances_are_of_the_size_of_the_margin(world):
    """METHODS 1.4: N(0, 0.001) on 1024 features after BN and ReLU gives pairs 0.298 apart, near the margin of 0.3."""
    method = tiny.build("hhl", world, embedding=1024, triplet_features=128, triplet_std=0.001, batch=64)
    with torch.no_grad():
        z = method.triplet(method.hidden(tiny.batches(method, world)(0)["source"]["images"]))
    assert torch.pdist(z).mean().item() == pytest.approx(0.298, rel=0.1)


@pytest.mark.slow
def test_a_step_on_resnet50(world):
    """The published sizes but for pixels and batch; every trainable parameter gets a finite gradient."""
    torch.manual_seed(0)
    sizes = {"batch": 2, "persons": 2, "images_per_person": 1, "n_t": 1}
    method = HHL(resnet50(weights=None), num_persons=world.source.num_persons, **sizes)
    assert method.embedding[0].weight.shape == (1024, 2048) and method.triplet.weight.shape == (128, 1024)
    floats = tiny.learner(method, sgd).update(tiny.batches(method, world)(0))
    assert floats["loss/source"] > 0 and floats["loss/triplet"] > 0
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "wrong", [[0.1], [0.1] * 5, [0.1, 0.1, 0.1, 0.6], [-0.1, 0.1, 0.1, 0.1], [0.1, "a", 0.1, 0.1], 0.1]
)
def test_jitter_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="hhl.jitter is"):
        check_jitter(wrong)
    with pytest.raises(ValueError, match="hhl.jitter is"):
        HHL.inputs(styles="jitter", jitter=wrong)


def test_the_ends_of_a_range_belong_to_it():
    check_jitter([0, 0, 0, 0.5])
    HHL.inputs(margin=0, beta=0)
