"""The rule of early stopping, on records of others that are written here: who is stopped, when, and only once decided."""

import json
from pathlib import Path

import pytest

from pipelines import cache, space, stopping
from reid_da import checkpoint, loop

STEPS = 30  # so that the rungs are 10 and 20


class Fake:
    """A method, for what stopping.py sees of it: what it scores."""

    def __init__(self, score: float):
        self.score, self.asked = score, 0


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """The metric asks the method, and counts."""

    def ask(job, method):
        method.asked += 1
        return method.score

    monkeypatch.setattr(stopping, "SCORES", {"mAP": ask})


def job(folder: Path, trial: str = "mine", seed: int = 0) -> dict:
    return {"early": {"folder": str(folder), "trial": trial, "seed": seed, "metric": "mAP", "generator": "/none"}}


def others(folder: Path, *values: float, rungs: tuple = ("0.33", "0.67"), seed: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        cache.write_json(folder / f"other{number}-{seed}.json", {"scores": dict.fromkeys(rungs, value)})


def record(folder: Path, trial: str = "mine", seed: int = 0) -> dict:
    return json.loads((folder / f"{trial}-{seed}.json").read_text())


def train(folder: Path, method, every: int = 1, begin: int = 0, **whose) -> int | None:
    """Report each `every` steps after `begin`; the step at which it is told to end."""
    report = stopping.watch(job(folder, **whose), method)
    for done in range(begin + every, STEPS + 1, every):
        if report(done, STEPS, {}):
            return done
    return None


def test_there_is_a_score_for_every_metric(monkeypatch):
    monkeypatch.undo()
    assert set(stopping.SCORES) == set(space.METRICS)


@pytest.mark.parametrize("count", range(stopping.LEAST + 3))
def test_nobody_is_stopped_before_enough_others_were_there(tmp_path, count):
    others(tmp_path / "sweep", *[0.9] * count)
    ended = train(tmp_path / "sweep", Fake(0.1))
    assert ended == (10 if count >= stopping.LEAST else None)
    assert record(tmp_path / "sweep").get("stopped") == ended


@pytest.mark.parametrize(
    ("there", "score", "ended"),
    [
        ((0.1, 0.5, 0.9), 0.49, 10),
        ((0.1, 0.5, 0.9), 0.5, None),
        ((0.1, 0.5, 0.9), 0.51, None),
        ((0.1, 0.4, 0.6, 0.9), 0.49, 10),
        ((0.1, 0.4, 0.6, 0.9), 0.5, None),
        ((0.5, 0.5, 0.5), 0.5, None),
        ((0.9, 0.1, 0.2), 0.15, 10),
        ((0.0, 0.0, 0.9), 0.0, None),
    ],
)
def test_below_the_median_of_the_others_it_stops(tmp_path, there, score, ended):
    others(tmp_path, *there)
    assert train(tmp_path, Fake(score)) == ended


def test_it_is_compared_with_what_the_others_were_at_the_same_rung(tmp_path):
    """Better than all at a third, worse than all at two thirds; who was stopped before is no longer there."""
    for number, (third, second) in enumerate([(0.2, 0.8), (0.2, 0.8), (0.2, 0.8), (0.1, None)]):
        there = {"0.33": third} | ({"0.67": second} if second else {})
        cache.write_json(tmp_path / f"other{number}-0.json", {"scores": there})
    method = Fake(0.5)
    assert train(tmp_path, method) == 20 and method.asked == 2
    assert record(tmp_path) == {"scores": {"0.33": 0.5, "0.67": 0.5}, "stopped": 20}


def test_too_few_at_the_second_rung_stop_nobody_there(tmp_path):
    others(tmp_path, 0.1, 0.1, 0.9)
    cache.write_json(tmp_path / "other1-0.json", {"scores": {"0.33": 0.1}})
    assert train(tmp_path, Fake(0.5)) is None


def test_trainings_with_other_seeds_do_not_count(tmp_path):
    for seed in (1, 10, 20):
        others(tmp_path, *[0.9] * 5, seed=seed)
    assert train(tmp_path, Fake(0.1)) is None
    assert train(tmp_path, Fake(0.1), seed=10) == 10


def test_its_own_record_is_none_of_the_others(tmp_path):
    others(tmp_path, 0.9, 0.9)
    cache.write_json(tmp_path / "mine-0.json", {"scores": {"0.67": 0.9}})
    assert train(tmp_path, Fake(0.1)) is None


@pytest.mark.parametrize(
    ("every", "asked", "ended"), [(1, 2, None), (7, 2, None), (12, 2, None), (25, 1, None), (30, 0, None)]
)
def test_it_looks_once_at_a_rung_with_the_first_report_there(tmp_path, every, asked, ended):
    """With a report beyond both only at the later; never at the end, which has a score of its own."""
    method = Fake(0.5)
    assert train(tmp_path, method, every=every) is ended and method.asked == asked
    assert (tmp_path / "mine-0.json").exists() == bool(asked)
    if asked == 1:
        assert record(tmp_path)["scores"] == {"0.67": 0.5}


def test_looking_again_after_a_restart_is_neither_scored_nor_decided_again(tmp_path):
    """Alone at the rung the first time; among better ones when it comes there again."""
    method = Fake(0.1)
    assert not stopping.watch(job(tmp_path), method)(10, STEPS, {}) and method.asked == 1
    others(tmp_path, *[0.9] * 5, rungs=("0.33",))
    for asked in (1, 0):  # at two thirds, where it has not been; then at neither
        again = Fake(0.0)
        assert train(tmp_path, again, begin=8) is None and again.asked == asked
        assert record(tmp_path) == {"scores": {"0.33": 0.1, "0.67": 0.0}}


def test_a_stopped_one_stays_stopped_though_the_others_were_worse_by_now(tmp_path):
    others(tmp_path, 0.9, 0.9, 0.9)
    assert train(tmp_path, Fake(0.1)) == 10
    others(tmp_path, 0.0, 0.0, 0.0)
    method = Fake(0.5)
    assert train(tmp_path, method, begin=9) == 10 and method.asked == 0
    assert train(tmp_path, method, begin=14) == 15 and method.asked == 0, "its checkpoint may be of later, too"
    assert record(tmp_path)["stopped"] == 10


def test_a_trial_has_ended_if_a_training_of_it_has_whatever_its_seed(tmp_path):
    own = job(tmp_path)["early"]
    assert not stopping.ended(own), "there is no folder yet"
    others(tmp_path, 0.9, 0.9, 0.9, seed=1)
    assert train(tmp_path, Fake(0.5)) is None and not stopping.ended(own)
    assert train(tmp_path, Fake(0.5), seed=1) == 10
    assert stopping.ended(own) and stopping.ended(own | {"seed": 1})
    assert not stopping.ended(own | {"trial": "other0"}) and not stopping.ended(own | {"trial": "min"})
    assert [one.get("stopped") for one in stopping.records(tmp_path, "mine")] == [None, 10]


class Learner:
    """Scores its number of updates, by a sequence."""

    def __init__(self, sequence: list[float]):
        self.sequence, self.done, self.asked = sequence, 0, 0

    @property
    def score(self) -> float:
        return self.sequence[self.done - 1]

    def update(self, batch):
        self.done += 1
        return {}

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.done = state["done"]


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("killed_at", range(0, STEPS, 3))
def test_a_killed_and_restarted_training_is_decided_on_alike(tmp_path, every, killed_at):
    """Under reid_da's loop, with a checkpoint each 5 steps, on sequences that pass, and that stop at one rung or the other."""
    for name, (first, second) in {"passes": (0.6, 0.6), "first": (0.4, 0.6), "second": (0.6, 0.4)}.items():
        sequence = [first] * 15 + [second] * 15
        found = []
        for stop in (None, killed_at):
            folder = tmp_path / f"{name}{stop}"
            others(folder, 0.1, 0.5, 0.9)

            def batches(step, stop=stop):
                if step == stop:
                    raise KeyboardInterrupt
                return {}

            def fit(batches, folder=folder, sequence=sequence):
                learner = Learner(sequence)
                report = stopping.watch(job(folder), learner)
                rhythm = {"report_every": every, "checkpoint_every": 5}
                whole = loop.fit(learner, batches, STEPS, folder=folder, report=report, **rhythm)
                return whole, learner.done, record(folder)

            try:
                found.append(fit(batches))
            except KeyboardInterrupt:
                found.append(fit(lambda step: {}))
            if not found[-1][0]:
                assert checkpoint.load(folder)["step"] == record(folder)["stopped"]
        assert found[0] == found[1], name
        assert found[0][0] == (name == "passes")
