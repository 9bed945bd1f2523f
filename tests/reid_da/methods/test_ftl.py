"""FTL: its terms, centres and directions by hand, what a stage leaves alone, and that it is a function of the step."""

import inspect

import numpy as np
import pytest
import tiny
import torch
from tiny import in_double, same, snapshot

from reid_da.learner import adam, sgd
from reid_da.methods.ftl import FTL
from reid_da.methods.ftl_options import check, check_map, under_represented
from reid_da.sampling import draws

WHOLE, REGULAR, UNDER, TRANSFERRED, COMPACT = (
    0,
    1,
    2,
    3,
    4,
)  # steps of tiny's ftl, of which one pre-trains and stages take three
OPTIONS = inspect.signature(FTL).parameters


@pytest.fixture
def method(world):
    """In double precision, with centres and directions of its own, to be trained on `batch`es."""
    made = tiny.build("ftl", world).double().train()
    tiny.batches(made, world)
    return made


def batch(method, world, step):
    return in_double(tiny.batches(method, world)(step))


def by_hand(world, method, few):
    """Centres and the projector on the leading directions, image by image, in evaluation mode."""
    store, mean, std = world.source, torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    method.eval()
    found = {}
    for image, label in zip(store.images, store.labels, strict=True):
        x = ((torch.tensor(image) / 255.0 - mean) / std).permute(2, 0, 1)[None].double()
        g, flipped = (method.backbone(one).mean((2, 3))[0] for one in (x, x.flip(3)))
        found.setdefault(int(label), []).append((g, flipped))
    centres = {label: sum(g + f for g, f in images) / (2 * len(images)) for label, images in found.items()}
    regular = [(g - centres[label]) for label, images in found.items() if label not in few for g, _ in images]
    covariance = sum(torch.outer(d, d) for d in regular) / len(regular)
    vectors = np.linalg.svd(covariance.numpy())[0][:, :16]
    return torch.stack([centres[label] for label in sorted(centres)]), torch.tensor(vectors @ vectors.T)


@pytest.mark.slow
@torch.no_grad()
def test_centres_and_directions_are_those_of_a_loop(world, method):
    counts = np.bincount(world.source.labels)
    method.refresh()
    centres, projector = by_hand(world, method, set(np.flatnonzero(counts < 9)))
    torch.testing.assert_close(method.centres, centres, rtol=1e-5, atol=1e-6)  # of pixels scaled in float32
    torch.testing.assert_close(method.directions @ method.directions.T, projector, rtol=1e-3, atol=1e-4)


def moved(draw, few):
    return few[(draw("source/under", (8,)) * len(few)).long()]


@torch.no_grad()
@pytest.mark.parametrize("step, kind", [(0, "whole"), (1, "regular"), (2, "under"), (3, "transferred"), (4, "compact")])
def test_terms_are_those_of_the_equations(world, method, step, kind):
    by_hand = tiny.build("ftl", world).double().train()
    one = batch(method, world, step)
    few = torch.from_numpy(np.flatnonzero(np.bincount(world.source.labels) < 9))
    method.refresh()
    method.train()
    terms, labels, images = method(one), one["source"]["labels"], one["source"]["images"]
    assert (
        torch.isin(labels, few).all()
        if kind == "under"
        else kind in ("whole", "compact") or not torch.isin(labels, few).any()
    )
    if kind not in ("whole", "compact"):
        by_hand.backbone.eval()
    if kind == "compact":
        by_hand.decoder.eval()
    g = by_hand.backbone(images).mean((2, 3))
    if kind == "transferred":
        for i, (label, new) in enumerate(zip(labels, chosen := moved(draws(0, 3), few), strict=True)):
            deviation = g[i] - method.centres[label]
            g[i] = method.centres[new] + sum((q @ deviation) * q for q in method.directions.T)
        labels = chosen
    logits = by_hand.filter(g) @ by_hand.classifier.weight.T
    expected = {
        f"loss/softmax_{kind}": -logits.log_softmax(1)[torch.arange(8), labels].mean(),
        "loss/reg": sum(float(z) ** 2 for row in logits for z in row) / 8,
    }
    if kind in ("whole", "compact"):
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        wanted = 2 * (images * std.double().view(3, 1, 1) + mean.double().view(3, 1, 1)) - 1
        expected["loss/rec"] = ((by_hand.decoder(g) - wanted) ** 2).mean()
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(float(expected[name]), rel=1e-6), name


def test_the_total_has_the_notes_weights(world):
    method = tiny.build("ftl", world)
    floats = tiny.learner(method).update(tiny.batches(method, world)(WHOLE))
    expected = floats["loss/softmax_whole"] + floats["loss/rec"] + 0.25 * floats["loss/reg"]
    assert floats["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("optimiser", [sgd, adam])
@pytest.mark.parametrize(
    "steps, still", [((1, 2, 3), ("backbone.", "decoder.")), ((4, 5, 6), ("classifier.", "decoder."))]
)
def test_what_a_stage_leaves_alone_stays_bit_for_bit(world, optimiser, steps, still):
    """Weights, running statistics and momentum, though all has momentum, and weight decay, from pre-training."""
    method = tiny.build("ftl", world)
    learner, batches = tiny.learner(method, optimiser, weight_decay=0.1), tiny.batches(method, world)
    for step in range(steps[0]):
        learner.update(batches(step))
    before = snapshot({"method": method.state_dict(), "optimiser": learner.optimiser.state_dict()["state"]})
    for step in steps:
        learner.update(batches(step))
    after = {"method": method.state_dict(), "optimiser": learner.optimiser.state_dict()["state"]}
    names = [key for key, _ in method.named_parameters()]
    for key, value in after["method"].items():
        held = key.startswith(still) or (key in ("centres", "directions") and COMPACT in steps)
        assert torch.equal(value, before["method"][key]) == held, key
    order = [p for group in learner.optimiser.param_groups for p in group["params"]]
    by_name = {id(p): key for key, p in method.named_parameters()}
    for number, parameter in enumerate(order):
        key = by_name[id(parameter)]
        assert same(before["optimiser"][number], after["optimiser"][number]) == key.startswith(still), key
    assert len(order) == len(names)


def test_centres_are_taken_anew_at_the_first_step_of_each_stage_1_alone(world, monkeypatch):
    method = tiny.build("ftl", world)
    learner, batches, taken = tiny.learner(method), tiny.batches(method, world), []
    real, now = method.refresh, []
    monkeypatch.setattr(method, "refresh", lambda: (taken.append(now[-1]), real()))
    for step in range(9):
        now.append(step)
        learner.update(batches(step))
    assert taken == [1, 7]
    assert method.training and method.backbone.training is False  # the last step was of stage 1
    learner.update(batches(COMPACT))
    assert method.backbone.training


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_training_stopped_within_stage_1_goes_on_bit_for_bit(world, stop):
    def start(seed):
        method = tiny.build("ftl", world, seed)
        return tiny.learner(method), tiny.batches(method, world)

    straight, batches = start(0)
    for step in range(stop):
        straight.update(batches(step))
    state = snapshot(straight.state_dict())
    resumed, again = start(1)
    resumed.load_state_dict(state)
    for step in range(stop, 6):
        assert straight.update(batches(step)) == resumed.update(again(step))
    assert same(straight.state_dict(), resumed.state_dict())


def test_start_from_takes_the_trunk_alone(world):
    baseline, method = tiny.build("baseline", world, 0), tiny.build("ftl", world, 1)
    before = snapshot(method.state_dict())
    method.start_from(baseline.state_dict())
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("backbone.") for key in changed)
    assert same(snapshot(method.backbone.state_dict()), snapshot(baseline.backbone.state_dict()))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"weight_rec": -1}, "ftl.weight_rec is -1; expected at least 0"),
        ({"weight_reg": -0.1}, "ftl.weight_reg is -0.1; expected at least 0"),
        ({"under": 1}, "ftl.under is 1; expected at least 2"),
        ({"directions": 0}, "ftl.directions is 0; expected at least 1"),
        ({"period": 2}, "ftl.period is 2; expected at least 3"),
        ({"decoder_width": 0}, "ftl.decoder_width is 0; expected at least 1"),
        ({"pretrain_share": 1.0}, "ftl.pretrain_share is 1.0; expected 0"),
        ({"map_size": [8]}, "ftl.map_size is \\[8\\]; expected height and width"),
    ],
)
def test_what_cannot_be_is_refused_before_and_when_it_is_built(world, options, expected):
    for refuse in (lambda: FTL.inputs(**options), lambda: tiny.build("ftl", world, **options)):
        with pytest.raises(ValueError, match=expected) as refused:
            refuse()
        assert "\n" not in str(refused.value)


def test_more_directions_than_features_are_refused(world):
    with pytest.raises(ValueError, match="ftl.directions is 33; expected 1 to 32, the number of the trunk's features"):
        tiny.build("ftl", world, directions=33)


def test_a_length_without_both_stages_is_refused_where_it_is_known(world):
    told = "after pre-training 50 of 100 steps are left, and stages 1 and 2 take 52 at least; lower ftl.period"
    with pytest.raises(ValueError, match=told):
        FTL.inputs(steps=100, period=26, pretrain_share=0.5)
    with pytest.raises(ValueError, match=told):
        tiny.build("ftl", world, period=26, pretrain_share=0.5).streams(world.source, 0, steps=100)
    assert FTL.inputs(steps=100, period=25, pretrain_share=0.5) == FTL.inputs() == ("steps",)


@pytest.mark.parametrize(
    "counts, under, told",
    [
        ([4, 2, 7], 20, "3 persons, who have 2 to 7 images, all have fewer: .* give ftl.under as 3 to 7"),
        ([4, 2, 7], 2, "3 persons, who have 2 to 7 images, none have fewer: .* give ftl.under as 3 to 7"),
        ([5, 5], 2, "2 persons, who have 5 to 5 images, none have fewer: .* a source of unequal numbers"),
    ],
)
def test_a_source_without_a_tail_or_a_head_is_refused_with_its_counts(counts, under, told):
    labels = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(ValueError, match=f"ftl.under is {under}, and of the source's {told}"):
        under_represented(labels, under)


def test_few_images_are_fewer_than_under():
    assert under_represented(np.repeat([0, 1, 2], [4, 2, 7]), 4).tolist() == [False, True, False]


def test_images_that_the_decoder_does_not_make_are_refused(world):
    with pytest.raises(ValueError, match=r"images of 64x32, and the source's are 32x16; give ftl.map_size=\[4,2\]"):
        tiny.build("ftl", world, map_size=(8, 4)).streams(world.source, 0, steps=100)
    with pytest.raises(
        ValueError, match="the source's are 60x32; give images.height and images.width as multiples of 8"
    ):
        check_map((60, 32), (8, 4), 8)


def test_check_knows_the_defaults():
    checked = {name: p.default for name, p in inspect.signature(check).parameters.items() if p.default is not p.empty}
    options = {name: p.default for name, p in OPTIONS.items()}
    assert checked.pop("steps") is None and checked.items() <= options.items(), "check takes other defaults than FTL"
