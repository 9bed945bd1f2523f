"""Streams and draws: pure functions of (seed, step), whose slices over the ranks make up the global batch."""

import numpy as np
import pytest
import torch

from reid_da.sampling import PK, Alternating, Shuffled, draws, generator, share

LABELS = np.array([5, 1, 1, 9, 1, 5, 1, 7, 7, 9, 9, 1])  # persons 1 (5 rows), 5 (2), 7 (2), 9 (3)
SHUFFLED = {"length": 10, "batch": 3, "seed": 0, "name": "source"}
PERSONS = {"labels": LABELS, "persons": 2, "images": 3, "seed": 0, "name": "source"}


def rand(*key):
    return torch.rand(4, generator=generator(*key)).tolist()


def test_generator_depends_on_its_key_and_on_nothing_else():
    assert rand(0, 3, "box") == rand(0, 3, "box") == rand(np.int64(0), np.int32(3), "box")
    assert (
        len({tuple(rand(*key)) for key in ((0, 3, "box"), (3, 0, "box"), (0, 3, "place"), (0, 3), (1, 3, "box"))}) == 5
    )


def test_generator_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    stream = Shuffled(**SHUFFLED)
    torch.manual_seed(123)
    first = [stream.indices(0), draws(0, 0)("box", (2,)), PK(**PERSONS).indices(0)]
    torch.manual_seed(456)
    second = [Shuffled(**SHUFFLED).indices(0), draws(0, 0)("box", (2,)), PK(**PERSONS).indices(0)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    torch.set_rng_state(before)
    draws(0, 0)("box", (2,)), stream.indices(7), PK(**PERSONS).indices(7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_draws_of_the_ranks_make_up_those_of_one(world):
    everything = draws(7, 3)("box", (8, 5, 2))
    assert everything.dtype == torch.float32 and everything.min() >= 0 and everything.max() < 1
    parts = [draws(7, 3, rank, world)("box", (8 // world, 5, 2)) for rank in range(world)]
    assert torch.equal(torch.cat(parts), everything)


def test_draws_are_a_function_of_seed_step_and_purpose_in_any_order():
    draw = draws(0, 0)
    first = draw("a", (3,))
    draw("b", (7,))
    assert torch.equal(draw("a", (3,)), first)
    others = [draws(1, 0)("a", (3,)), draws(0, 1)("a", (3,)), draw("b", (3,))]
    assert not any(torch.equal(first, other) for other in others)


def test_draws_are_uniform():
    values = draws(0, 0)("a", (100_000,))
    assert values.mean().item() == pytest.approx(0.5, abs=0.004)  # four standard errors
    assert values.var().item() == pytest.approx(1 / 12, abs=0.001)


@pytest.mark.parametrize("make", [lambda: Shuffled(**SHUFFLED), lambda: PK(**PERSONS)], ids=["Shuffled", "PK"])
def test_streams_do_not_remember(make):
    """Any order of calls, and a stream made anew for each step, give the same rows."""
    steps = range(13)
    straight = {step: make().indices(step).tolist() for step in steps}
    for order in (steps, reversed(steps), [3, 3, 9, 0, 3, 12, 1]):
        stream = make()
        assert all(stream.indices(step).tolist() == straight[step] for step in order)
    assert len({tuple(rows) for rows in straight.values()}) == 13


def test_stream_rows_are_the_callers_to_change():
    stream = Shuffled(**SHUFFLED)
    before = stream.indices(0).tolist()
    stream.indices(0)[:] = 0
    assert stream.indices(0).tolist() == before


@pytest.mark.parametrize("other", [{"seed": 1}, {"name": "target"}])
def test_seed_and_name_change_a_stream(other):
    assert not np.array_equal(Shuffled(**SHUFFLED).indices(0), Shuffled(**SHUFFLED | other).indices(0))
    assert not np.array_equal(PK(**PERSONS).indices(0), PK(**PERSONS | other).indices(0))


@pytest.mark.parametrize("length, batch", [(12, 3), (10, 3), (5, 5), (1, 1)])
def test_an_epoch_shows_every_row_at_most_once(length, batch):
    """Once each if the batches fill the epoch; else the rest is dropped, and another epoch drops other rows."""
    stream = Shuffled(length, batch, seed=0, name="source")
    per_epoch = length // batch
    assert stream.steps_per_epoch == per_epoch
    epochs = [[stream.indices(epoch * per_epoch + i) for i in range(per_epoch)] for epoch in range(12)]
    for rows in epochs:
        assert all(part.shape == (batch,) and part.dtype == np.int64 for part in rows)
        flat = np.concatenate(rows)
        assert len(set(flat.tolist())) == len(flat) == per_epoch * batch
        assert flat.min() >= 0 and flat.max() < length
    if length > 1:
        assert len({np.concatenate(rows).tobytes() for rows in epochs}) > 6
    assert set(np.concatenate(sum(epochs, [])).tolist()) == set(range(length))


@pytest.mark.parametrize("length, batch", [(4, 5), (4, 0), (0, 1), (4, -1)])
def test_a_batch_that_the_set_cannot_fill_is_refused(length, batch):
    with pytest.raises(ValueError, match=f"stream 'source'.*batch of {batch} from {length} images; expected 1 to"):
        Shuffled(length, batch, seed=0, name="source")


@pytest.mark.parametrize("persons, images", [(1, 1), (2, 3), (3, 2), (4, 4)])
def test_pk_gives_p_persons_with_k_images_side_by_side(persons, images):
    stream = PK(LABELS, persons, images, seed=0, name="source")
    counts = {label: int((LABELS == label).sum()) for label in LABELS.tolist()}
    for step in range(30):
        rows = stream.indices(step)
        assert rows.shape == (persons * images,)
        groups = rows.reshape(persons, images)
        people = LABELS[groups]
        assert (people == people[:, :1]).all()
        assert len(set(people[:, 0].tolist())) == persons
        for group, person in zip(groups.tolist(), people[:, 0].tolist(), strict=True):
            if counts[person] >= images:
                assert len(set(group)) == images, "with replacement though the person has enough images"


def test_pk_draws_again_only_from_persons_with_too_few_images():
    stream = PK(LABELS, 4, 4, seed=0, name="source")
    groups = [group for step in range(50) for group in stream.indices(step).reshape(4, 4)]
    pairs = [set(group.tolist()) for group in groups if LABELS[group[0]] == 5]  # 2 rows for 4 places
    assert {len(pair) for pair in pairs} == {1, 2}
    assert all(pair <= {0, 5} for pair in pairs)
    many = [set(group.tolist()) for group in groups if LABELS[group[0]] == 1]
    assert {len(rows) for rows in many} == {4} and set.union(*many) == {1, 2, 4, 6, 11}


def test_pk_passes_show_every_person_once():
    stream = PK(LABELS, 2, 3, seed=0, name="source")
    assert stream.steps_per_pass == 2
    firsts = []
    for turn in range(20):
        people = [LABELS[stream.indices(2 * turn + i).reshape(2, 3)[:, 0]].tolist() for i in range(2)]
        assert sorted(sum(people, [])) == [1, 5, 7, 9]
        firsts.append(tuple(sum(people, [])))
    assert len(set(firsts)) > 5


def test_pk_drops_the_incomplete_step_of_a_pass():
    stream = PK(LABELS, 3, 2, seed=0, name="source")
    assert stream.steps_per_pass == 1
    left_out = {({1, 5, 7, 9} - set(LABELS[stream.indices(step)].tolist())).pop() for step in range(30)}
    assert left_out == {1, 5, 7, 9}


@pytest.mark.parametrize("persons, images", [(5, 2), (0, 2), (2, 0)])
def test_pk_refuses_what_it_cannot_fill(persons, images):
    found = f"batch of {persons} persons x {images} images from 4 persons; expected 1 to 4"
    with pytest.raises(ValueError, match=f"stream 'triplet'.*{found}"):
        PK(LABELS, persons, images, seed=0, name="triplet")


def test_share_refuses_a_world_that_does_not_divide():
    assert [share(12, world, "batch") for world in (1, 2, 3, 4)] == [12, 6, 4, 3]
    with pytest.raises(ValueError, match=r"hhl.n_t is 10, which 4 workers .*divisors of 10"):
        share(10, 4, "hhl.n_t")


UNDER = np.isin(np.arange(20), [2, 3, 11, 17, 19])


def alternating(batch=4, **options):
    return Alternating(UNDER, batch, **({"start": 3, "period": 4, "seed": 0, "name": "source"} | options))


def test_feature_transfer_s_steps_take_turns():
    """Pre-training, then stage 1 in thirds and stage 2; the count of a kind goes on where its last step left it."""
    stream = alternating()
    kinds = [stream.turn(step)[0] for step in range(19)]
    assert kinds[:3] == ["whole"] * 3
    assert kinds[3:11] == kinds[11:] == ["regular", "under", "transferred", "regular", *["compact"] * 4]
    assert [step for step in range(19) if stream.opens(step)] == [3, 11]
    numbers = {}
    for step in range(19):
        kind, number = stream.turn(step)
        numbers.setdefault("whole" if kind == "compact" else kind, []).append(number)
    assert numbers == {name: list(range(len(found))) for name, found in numbers.items()}


def test_feature_transfer_s_rows_are_those_of_their_kind_in_whole_epochs():
    stream, rows = alternating(period=3), {}
    for step in range(3 + 6 * 15):
        rows.setdefault(stream.turn(step)[0].replace("compact", "whole"), []).append(stream.indices(step))
    own = {"whole": np.arange(20), "under": np.flatnonzero(UNDER)}
    for kind, found in rows.items():
        wanted, found = own.get(kind, np.flatnonzero(~UNDER)), np.concatenate(found)
        for epoch in range(len(found) // len(wanted)):
            assert sorted(found[epoch * len(wanted) :][: len(wanted)]) == wanted.tolist(), (kind, epoch)
    assert np.concatenate(rows["regular"]).tolist() != np.concatenate(rows["transferred"]).tolist()


def test_feature_transfer_s_rows_are_a_function_of_the_step_and_seed():
    steps = [17, 0, 8, 3, 4]
    first, second = alternating(), alternating()
    assert [first.indices(s).tolist() for s in steps] == [second.indices(s).tolist() for s in reversed(steps)][::-1]
    assert any(alternating(seed=1).indices(s).tolist() != first.indices(s).tolist() for s in steps)


def test_a_batch_may_be_larger_than_the_tail():
    found = alternating(batch=12).indices(4)
    assert np.isin(found, np.flatnonzero(UNDER)).all() and set(np.bincount(found)[UNDER]) <= {2, 3}
