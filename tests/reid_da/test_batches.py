"""Batches: pure functions of (seed, step), and the ranks' shares together are the one batch of a single rank."""

import numpy as np
import pytest
import tiny
import torch
from tiny import same

from reid_da.augment import normalise, random_area_crop, random_shift
from reid_da.batches import method_batches, translation_batches
from reid_da.images import ImageStore, StyledStore
from reid_da.sampling import PK, Shuffled, draws

STEPS = (0, 3, 17)


def streams(world, seed=0):
    source, styled = world.source, StyledStore(world.target, world.styles, world.source.num_persons)
    return {
        "source": (source, Shuffled(len(source), 8, seed=seed, name="source")),
        "triplet": (source, PK(source.labels, 4, 2, seed=seed, name="triplet")),
        "target": (styled, Shuffled(len(world.target), 4, seed=seed, name="target")),
    }


def make(world, kind, seed=0):
    if kind == "translation":
        return translation_batches(world.target, 8, seed=seed)
    return method_batches(streams(world, seed), seed=seed)


def tensors(batch):
    """The batch without its function."""
    return {name: value for name, value in batch.items() if name != "draw"}


def joined(batches):
    """The ranks' batches end to end."""
    first = batches[0]
    if isinstance(first, dict):
        return {name: joined([batch[name] for batch in batches]) for name in first}
    if isinstance(first, torch.Tensor):
        return torch.cat(batches)
    assert all(value == first for value in batches)
    return first


@pytest.mark.parametrize("kind", ["method", "translation"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_shares_of_the_ranks_make_up_the_global_batch(world, as_rank, kind, ranks):
    """Pixels included: the augmentation is drawn for the global batch."""
    for step in STEPS:
        whole = make(world, kind)(step)
        parts = []
        for rank in range(ranks):
            as_rank(rank, ranks)
            parts.append(make(world, kind)(step))
        as_rank(0, 1)
        assert same(joined([tensors(part) for part in parts]), tensors(whole))
        if kind == "translation":
            continue
        shares = [part["draw"]("source/dropout", (8 // ranks, 5)) for part in parts]
        assert torch.equal(torch.cat(shares), whole["draw"]("source/dropout", (8, 5)))


@pytest.mark.parametrize("kind", ["method", "translation"])
def test_a_batch_is_a_function_of_seed_and_step(world, kind):
    straight = {step: tensors(make(world, kind)(step)) for step in STEPS}
    batch = make(world, kind)
    for step in (17, 3, 3, 0):
        torch.manual_seed(step + 1)
        np.random.seed(step)
        before = torch.get_rng_state()
        assert same(tensors(batch(step)), straight[step])
        assert torch.equal(torch.get_rng_state(), before)
    first = straight[0] if kind == "translation" else straight[0]["source"]
    for other in (make(world, kind, seed=1)(0), make(world, kind)(1)):
        other = other if kind == "translation" else other["source"]
        assert not torch.equal(other["images"], first["images"])


def test_a_method_batch_holds_the_rows_of_its_streams(world):
    made, source = streams(world), world.source
    batch = method_batches(made, seed=0)(5)
    assert set(batch) == {"source", "triplet", "target", "step", "draw"} and batch["step"] == 5
    for name in made:
        assert set(batch[name]) == {"images", "labels", "cameras"}
        assert batch[name]["images"].dtype == torch.float32
        assert batch[name]["images"].shape == (len(batch[name]["labels"]), 3, tiny.HEIGHT, tiny.WIDTH)
    rows = made["source"][1].indices(5)
    assert batch["source"]["labels"].tolist() == source.labels[rows].tolist()
    assert batch["source"]["cameras"].tolist() == source.camera_labels[rows].tolist()
    assert batch["triplet"]["labels"].tolist() == source.labels[made["triplet"][1].indices(5)].tolist()
    rows = made["target"][1].indices(5)
    assert batch["target"]["labels"].tolist() == (source.num_persons + np.repeat(rows, 9)).tolist()


def test_each_stream_is_augmented_with_draws_of_its_own_name(world):
    """random_area_crop by hand; with one store and stream under two names the pictures are cut differently."""
    store, stream = streams(world)["source"]
    batch = method_batches({"a": (store, stream), "b": (store, stream)}, seed=3)(2)
    rows = stream.indices(2)
    draw = draws(3, 2)
    taken = store.take(rows)
    for name in "ab":
        expected = random_area_crop(
            taken["images"], taken["sizes"], lambda purpose, shape, n=name: draw(f"{n}/{purpose}", shape)
        )
        assert torch.equal(batch[name]["images"], expected)
    assert not torch.equal(batch["a"]["images"], batch["b"]["images"])


def test_the_augmentation_can_be_another(world):
    store, stream = streams(world)["source"]
    batch = method_batches({"source": (store, stream)}, seed=0, augment=lambda images, sizes, draw: normalise(images))(
        0
    )
    assert torch.equal(batch["source"]["images"], normalise(store.take(stream.indices(0))["images"]))


def test_a_translation_batch_asks_for_a_permutation_of_its_cameras(world):
    batches, target = translation_batches(world.target, 16, seed=0), world.target
    stream = Shuffled(len(target), 16, seed=0, name="stargan")
    moved = []
    for step in range(6):
        batch = batches(step)
        assert set(batch) == {"images", "cameras", "wanted", "alpha", "step"} and batch["step"] == step
        assert torch.equal(batch["alpha"], draws(0, step)("gan/penalty", (16,)))
        assert batch["images"].shape == (16, 3, tiny.HEIGHT, tiny.WIDTH)
        assert batch["images"].min() >= -1 - 1e-6 and batch["images"].max() <= 1 + 1e-6
        rows = stream.indices(step)
        assert batch["cameras"].tolist() == target.camera_labels[rows].tolist()
        assert torch.equal(batch["images"], random_shift(torch.from_numpy(target.images[rows]), draws(0, step)))
        assert sorted(batch["wanted"].tolist()) == sorted(batch["cameras"].tolist())
        moved.append((batch["wanted"] != batch["cameras"]).float().mean().item())
    assert min(moved) > 0.4 and len(set(moved)) > 1


def test_wanted_cameras_are_permuted_anew_in_each_step(world):
    """With a camera for each image one sees who asks for whose."""
    store = ImageStore(world.folder / "target")
    store.cameras = np.arange(len(store))
    orders = set()
    for seed in (0, 1):
        batches = translation_batches(store, 8, seed=seed)
        for step in range(5):
            batch = batches(step)
            orders.add(tuple(batch["cameras"].tolist().index(camera) for camera in batch["wanted"].tolist()))
    assert len(orders) == 10


def test_batches_that_the_ranks_cannot_share_are_refused(world, as_rank):
    as_rank(0, 3)
    with pytest.raises(ValueError, match="the batch of stream 'source' is 8, which 3 workers cannot share"):
        method_batches(streams(world), seed=0)(0)
    with pytest.raises(ValueError, match="gan.batch is 8, which 3 workers"):
        translation_batches(world.target, 8, seed=0)(0)


def test_batches_larger_than_the_set_are_refused(world):
    with pytest.raises(ValueError, match=f"a batch of 1000 from {len(world.target)} images"):
        translation_batches(world.target, 1000, seed=0)


@pytest.mark.parametrize("name", ["baseline", "hhl", "hhl_L_D"])
def test_pictures_kept_on_the_device_give_the_same_batches(world, name, monkeypatch):
    monkeypatch.setattr("reid_da.images.ROWS", 5)  # moved at once
    method = tiny.build(name, world)
    mapped, resident = tiny.batches(method, world), tiny.batches(method, world, resident=True)
    for step in (0, 3):
        one, other = mapped(step), resident(step)
        assert all(same(one[stream], other[stream]) for stream in one if isinstance(one[stream], dict))


def test_contiguous_batches_hold_the_same_numbers(world):
    method = tiny.build("baseline", world)
    one, other = (tiny.batches(method, world, channels_last=last)(0)["source"]["images"] for last in (True, False))
    assert torch.equal(one, other) and other.is_contiguous() and not one.is_contiguous()


def test_a_translation_batch_is_cut_as_told(world):
    rows = Shuffled(len(world.target), 8, seed=0, name="stargan").indices(0)
    images = torch.from_numpy(world.target.images[rows])
    found = translation_batches(world.target, 8, seed=0, part=0.5)(0)["images"]
    assert torch.equal(found, random_shift(images, draws(0, 0), part=0.5))
