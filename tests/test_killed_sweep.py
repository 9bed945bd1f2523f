"""A sweep killed again and again ends with the numbers of an undisturbed one; test_killed.py has runs."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from started import Started, left_over, reports, rows, statuses, until, with_cached

pytestmark = pytest.mark.slow


def trials(work_dir: Path) -> list[dict]:
    """A sweep's trials.csv without the times."""
    with open(next(work_dir.glob("sweeps/*/trials.csv")), newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def with_trials(work_dir: Path, other: Path, trained: list[str]) -> None:
    """Copies of what the trials of these methods' stages made in another work_dir."""
    for path in other.glob("cache/style_retrieval/*/stage.json"):
        if (method := json.loads(path.read_text())["inputs"]["method"]["hash"]) in trained:
            for stage in (path.parent, other / "cache" / "hhl" / method):
                shutil.copytree(stage, work_dir / stage.relative_to(other))


def test_a_sweep_killed_twice_ends_with_every_trial_once_and_the_same_numbers(swept, tmp_path):
    """In the training of two trials at a time under Ray, and between these, two others being made; then left alone.

    Shared stages: test_killed.py.
    """
    undisturbed, _ = swept
    work_dir = with_cached(tmp_path / "work", undisturbed)
    with_trials(work_dir, undisturbed, [row["settings"] for row in trials(undisturbed)[:2]])
    moments = [
        lambda: reports(work_dir, "hhl") > 12,
        lambda: len(list(work_dir.glob("cache/hhl/*/result.json"))) > 2,
    ]
    for moment in moments:
        with Started(work_dir, "cluster=local", at=None, name="sweep") as command:
            until(moment)
    with Started(work_dir, "cluster=local", at=None, name="sweep") as command:
        assert command.end() == 0, command.said()
    assert trials(work_dir) == trials(undisturbed) and len(trials(work_dir)) == 4
    assert rows(work_dir) == rows(undisturbed)
    assert statuses(work_dir) == {"FINISHED"} and left_over(work_dir) == []
