"""Killed at any moment and started again, the command ends with the digits of an undisturbed run."""

import json
import os
import signal

import kill_at
import pytest
from started import Started, left_over, reports, rows, statuses, until

pytestmark = pytest.mark.slow
# Train's own actors, a process each, that a Ray of the command's own does without (pipelines/cluster.py).
IN_VAIN = ("ray::DatasetManager", "ray::PlacementGroupCleaner", "ray::PreemptionWatcher")


def curves(work_dir) -> dict[str, list]:
    """Every stage's metrics.jsonl, but for the times."""
    found = {}
    for path in (work_dir / "cache").glob("*/*/metrics.jsonl"):
        if path.parent.parent.name == "styles":  # counts shards, whose size kill_at.py changes in its own process alone
            continue
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        name = str(path.parent.relative_to(work_dir))
        found[name] = [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines]
    return found


def is_whole(work_dir, undisturbed) -> None:
    """Same digits, nothing twice, nothing left over."""
    assert rows(work_dir) == rows(undisturbed)
    assert curves(work_dir) == curves(undisturbed)
    assert statuses(work_dir) == {"FINISHED"}
    assert left_over(work_dir) == []


def test_killed_at_every_moment_in_turn(undisturbed, tmp_path):
    """One run, killed at each moment and started again, so that each start meets what all those before have left."""
    work_dir = tmp_path / "work"
    with Started(work_dir, at=("SIGKILL", "each")) as command:
        assert command.end() == 0, command.said()
    killed = [line for line in command.said().splitlines() if line.endswith(": killed")]
    assert killed == [f"{moment}: killed" for moment in kill_at.MOMENTS if moment != "never"]
    is_whole(work_dir, undisturbed)


def test_workers_and_the_driver_are_killed_under_ray(undisturbed, tmp_path):
    """A worker in each kind of training, which Train mends by itself; and between them the command, whose processes outlive it
    by a moment in which the next one begins.
    """
    work_dir, killed = tmp_path / "work", set()

    def kill_worker(command: Started, stage: str) -> None:
        def at_work() -> set[int]:  # an orphan of the command before may still be at the stage, or have made it
            made = [one for one in (work_dir / "cache" / stage).glob("*/stage.json") if one.parent.suffix != ".part"]
            mine = set(command.family("RayTrainWorker")) - killed
            return mine if mine and (made or reports(work_dir, stage) > 10) else set()

        (worker,) = until(at_work)
        assert command.family("ray::TrainController") and not any(map(command.family, IN_VAIN))
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)

    with Started(work_dir, "cluster=local") as command:
        kill_worker(command, "generator")
        until(lambda: reports(work_dir, "generator") > 25)
        command.process.kill()
        command.end()
        assert command.family(), "no orphan is left: this shows nothing"
        with Started(work_dir, "cluster=local") as again:
            for stage in ("pretrain", "hhl", "arn"):
                kill_worker(again, stage)
            assert again.end() == 0, again.said()
        until(lambda: not command.family(), 60)
    is_whole(work_dir, undisturbed)
