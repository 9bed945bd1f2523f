"""fit: what is reported when, and that a training stopped anywhere goes on as if it had not been."""

import pytest
import tiny
import torch
from tiny import same, snapshot

from reid_da import checkpoint, loop
from reid_da.learner import adam, sgd
from reid_da.loop import fit


class Sum:
    """A learner whose state is the sum of its batches; it reports the batch, and every third step another number."""

    def __init__(self):
        self.total, self.seen = torch.zeros(()), []

    def update(self, batch):
        self.total += batch["value"]
        self.seen.append(batch["step"])
        return {"value": batch["value"]} | ({"third": 10.0 * batch["step"]} if batch["step"] % 3 == 2 else {})

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"].clone()


def squares(step):
    return {"step": step, "value": float(step**2)}


def record(calls):
    return lambda done, steps, floats: calls.append((done, steps, floats))


def figures(calls):
    """Reports without their times."""
    return [
        (done, steps, {k: v for k, v in floats.items() if k != "seconds_per_step"}) for done, steps, floats in calls
    ]


def test_reports_come_at_their_steps_and_are_means_since_the_last(tmp_path):
    calls, learner = [], Sum()
    fit(learner, squares, 10, folder=tmp_path, report=record(calls), report_every=4)
    assert learner.seen == list(range(10))
    assert figures(calls) == [
        (4, 10, {"value": (0 + 1 + 4 + 9) / 4, "third": 20.0}),
        (8, 10, {"value": (16 + 25 + 36 + 49) / 4, "third": 50.0}),
        (10, 10, {"value": (64 + 81) / 2, "third": 80.0}),
    ]


def test_a_report_falls_on_the_last_step_only_once(tmp_path):
    calls = []
    fit(Sum(), squares, 8, folder=tmp_path, report=record(calls), report_every=4)
    assert [done for done, _, _ in calls] == [4, 8]
    calls.clear()
    fit(Sum(), squares, 3, folder=tmp_path, report=record(calls), report_every=100)
    assert [done for done, _, _ in calls] == [3]


def test_seconds_per_step_counts_the_steps_since_the_last_report(tmp_path, monkeypatch):
    """Under a clock that each step moves by 2 seconds; an incomplete last report and a resumed run included."""
    clock = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])

    def batches(step):
        clock[0] += 2.0
        return squares(step)

    calls = []
    for steps in (7, 13):
        fit(Sum(), batches, steps, folder=tmp_path, report=record(calls), report_every=3, checkpoint_every=3)
    assert [done for done, _, _ in calls] == [3, 6, 7, 9, 12, 13]
    assert [floats["seconds_per_step"] for _, _, floats in calls] == [2.0] * 6


def test_the_checkpoint_is_of_the_step_that_it_names(tmp_path):
    """Written with the report; none after the last step."""
    seen = []

    def report(done, steps, floats):
        state = checkpoint.load(tmp_path)
        seen.append((done, state and (state["step"], state["learner"]["total"].item())))

    fit(Sum(), squares, 6, folder=tmp_path, report=report, report_every=1, checkpoint_every=2)
    assert seen == [(1, None), (2, None), (3, (2, 1.0)), (4, (2, 1.0)), (5, (4, 14.0)), (6, (4, 14.0))]
    assert checkpoint.load(tmp_path)["step"] == 4


@pytest.mark.parametrize(
    "report_every, checkpoint_every, expected",
    [(10, 30, [30, 60, 90]), (100, 774, [800, 1600, 2400, 3100]), (7, 1, [7, 14, 21]), (23, 70, [92, 161, 230])],
)
def test_checkpoints_fall_on_reports(tmp_path, report_every, checkpoint_every, expected):
    found = []

    def look(*_):
        if (state := checkpoint.load(tmp_path)) and state["step"] not in found:
            found.append(state["step"])

    rhythm = {"report_every": report_every, "checkpoint_every": checkpoint_every}
    fit(Sum(), squares, expected[-1] + 5, folder=tmp_path, report=look, **rhythm)
    look()
    assert found == expected


@pytest.mark.parametrize("report_every, checkpoint_every", [(1, 1), (4, 4), (4, 6), (5, 2), (3, 7)])
@pytest.mark.parametrize("killed_at", range(1, 21, 3))
def test_a_run_killed_anywhere_reports_what_an_undisturbed_one_does(
    tmp_path, report_every, checkpoint_every, killed_at
):
    """Whatever the two rhythms, and though it may say some steps again."""
    rhythm = {"report_every": report_every, "checkpoint_every": checkpoint_every}
    straight, disturbed = [], []
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    fit(Sum(), squares, 20, folder=tmp_path / "a", report=record(straight), **rhythm)

    def killer(step):
        if step == killed_at:
            raise KeyboardInterrupt
        return squares(step)

    try:
        fit(Sum(), killer, 20, folder=tmp_path / "b", report=record(disturbed), **rhythm)
    except KeyboardInterrupt:
        pass
    before = len(disturbed)
    learner = Sum()
    fit(learner, squares, 20, folder=tmp_path / "b", report=record(disturbed), **rhythm)
    expected = {done: floats for done, _, floats in figures(straight)}
    assert all(floats == expected[done] for done, _, floats in figures(disturbed))
    assert [done for done, _, _ in disturbed[before:]][-1] == 20
    assert learner.total.item() == sum(step**2 for step in range(20))


def test_a_finished_training_does_nothing_more(tmp_path):
    checkpoint.save(tmp_path, 5, {"total": torch.tensor(1.0)})
    calls, learner = [], Sum()
    fit(learner, squares, 5, folder=tmp_path, report=record(calls))
    assert calls == [] and learner.seen == [] and learner.total == 1.0


def test_fit_says_whether_it_came_to_the_end(tmp_path):
    """None, False and True of the last report all mean: whole."""
    for folder, answer in (("a", None), ("b", False), ("c", True)):
        (tmp_path / folder).mkdir()
        calls = []
        whole = fit(Sum(), squares, 9, folder=tmp_path / folder, report=ending(calls, 9, answer), report_every=4)
        assert whole is True and [done for done, _, _ in calls] == [4, 8, 9]
        assert checkpoint.load(tmp_path / folder) is None, "the model is the caller's to save"
    checkpoint.save(tmp_path, 9, {"total": torch.tensor(1.0)})
    assert fit(Sum(), squares, 9, folder=tmp_path, report=record([])) is True


def ending(calls, at, answer=True):
    """record, and that answer at step `at`."""

    def report(done, steps, floats):
        calls.append((done, steps, floats))
        return answer if done == at else None

    return report


@pytest.mark.parametrize("report_every, checkpoint_every", [(1, 1), (4, 4), (4, 6), (4, 100), (8, 2)])
def test_a_report_that_says_true_ends_the_training_there(tmp_path, report_every, checkpoint_every):
    """With a checkpoint of that step, whatever the rhythm, from which a later fit goes on as if it had never been ended."""
    rhythm = {"report_every": report_every, "checkpoint_every": checkpoint_every}
    straight, ended, later = [], [], []
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    fit(Sum(), squares, 20, folder=tmp_path / "a", report=record(straight), **rhythm)
    learner = Sum()
    whole = fit(learner, squares, 20, folder=tmp_path / "b", report=ending(ended, 8), **rhythm)
    assert whole is False and learner.seen == list(range(8)) and ended[-1][0] == 8
    state = checkpoint.load(tmp_path / "b")
    assert (state["step"], state["learner"]["total"].item()) == (8, sum(step**2 for step in range(8)))
    learner = Sum()
    assert fit(learner, squares, 20, folder=tmp_path / "b", report=record(later), **rhythm) is True
    assert learner.seen == list(range(8, 20)) and learner.total.item() == sum(step**2 for step in range(20))
    assert figures(ended + later) == figures(straight)


def test_a_training_may_be_ended_again_and_again(tmp_path):
    seen = []
    for at in (2, 4, 6):
        learner = Sum()
        assert not fit(learner, squares, 7, folder=tmp_path, report=ending([], at), report_every=2)
        seen += learner.seen
    learner = Sum()
    assert fit(learner, squares, 7, folder=tmp_path, report=record([]), report_every=2)
    assert seen + learner.seen == list(range(7)) and learner.total.item() == sum(step**2 for step in range(7))


class Stop(Exception):
    pass


def stopped_at(batches, step):
    def batch(number):
        if number == step:
            raise Stop
        return batches(number)

    return batch


@pytest.mark.slow
@pytest.mark.parametrize("name, optimiser", [("hhl", sgd), *((name, adam) for name in tiny.METHODS)])
def test_every_method_resumes_bit_for_bit(world, tmp_path, name, optimiser):
    """Stopped by an exception at step 4, its newest checkpoint damaged, gone on from other initial weights."""

    def train(seed, folder, calls, stop=None):
        folder.mkdir(exist_ok=True)
        method = tiny.build(name, world, seed)
        learner = tiny.learner(method, optimiser, steps=6)
        batches = tiny.batches(method, world)
        if stop is None:
            fit(learner, batches, 6, folder=folder, report=record(calls), report_every=1, checkpoint_every=2)
        else:
            with pytest.raises(Stop):
                fit(
                    learner,
                    stopped_at(batches, stop),
                    6,
                    folder=folder,
                    report=record(calls),
                    report_every=1,
                    checkpoint_every=2,
                )
        return snapshot(learner.state_dict())

    straight, stopped, resumed, fallen_back = [], [], [], []
    expected = train(0, tmp_path / "a", straight)
    train(0, tmp_path / "b", stopped, stop=5)
    assert checkpoint.load(tmp_path / "b")["step"] == 4
    newest, previous = ((tmp_path / "b" / file).read_bytes() for file in (checkpoint.NAME, checkpoint.PREVIOUS))
    assert same(train(1, tmp_path / "b", resumed), expected)
    assert figures(stopped + resumed) == figures(straight[:5] + straight[4:])
    (tmp_path / "b" / checkpoint.NAME).write_bytes(newest[:-1000])
    (tmp_path / "b" / checkpoint.PREVIOUS).write_bytes(previous)
    assert same(train(1, tmp_path / "b", fallen_back), expected)
    assert figures(fallen_back) == figures(straight[2:])
    assert not same(train(1, tmp_path / "c", []), expected), "the initial weights do not matter: nothing was shown"


@pytest.mark.slow
def test_a_method_that_was_ended_goes_on_bit_for_bit(world, tmp_path):
    """Looked at in evaluation mode at the end, as early stopping does, and gone on from other initial weights."""

    def train(seed, folder, end=None):
        folder.mkdir(exist_ok=True)
        method = tiny.build("hhl", world, seed)
        learner, batches = tiny.learner(method, steps=6), tiny.batches(method, world)

        def report(done, steps, floats):
            method.eval().embed(torch.zeros(2, 3, tiny.HEIGHT, tiny.WIDTH))
            return done == end

        whole = fit(learner, batches, 6, folder=folder, report=report, report_every=1, checkpoint_every=100)
        return whole, snapshot(learner.state_dict())

    _, expected = train(0, tmp_path / "a")
    whole, there = train(0, tmp_path / "b", end=3)
    assert not whole and not same(there, expected)
    assert checkpoint.load(tmp_path / "b")["step"] == 3
    whole, found = train(1, tmp_path / "b")
    assert whole and same(found, expected)
