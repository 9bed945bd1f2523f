"""Ctrl-C, two commands at once, and a disk that fills up: the command ends in order, and goes on when given again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from started import ROOT, TINY, Started, reports, rows, statuses, until, with_cached

pytestmark = pytest.mark.slow
KEPT = "stopped; finished stages and checkpoints are kept, the same command goes on from them"
LIMIT = 10  # seconds that a stop may take


@pytest.mark.parametrize("cluster", ["inline", "local"])
def test_ctrl_c_twice_while_a_stage_trains(cluster, undisturbed, tmp_path):
    """To the whole group, as a terminal sends it, and again by an impatient user."""
    work_dir = with_cached(tmp_path / "work", undisturbed, "data")
    with Started(work_dir, f"cluster={cluster}") as command:
        until(lambda: reports(work_dir, "generator") > 1)
        for _ in range(2):
            os.killpg(command.process.pid, signal.SIGINT)
        assert command.end(LIMIT) == 130, command.said()
        until(lambda: not command.family(), LIMIT)
    assert command.said().splitlines()[-1] == KEPT and "Traceback" not in command.said()
    assert statuses(work_dir) == {"FINISHED", "KILLED"}


def test_sigterm_while_a_stage_trains(undisturbed, tmp_path):
    """To the command alone, as a queue sends it; Ray has a way of its own with it."""
    work_dir = with_cached(tmp_path / "work", undisturbed, "data")
    with Started(work_dir, "cluster=local") as command:
        until(lambda: reports(work_dir, "generator") > 1)
        os.kill(command.process.pid, signal.SIGTERM)
        assert command.end(LIMIT) == 143, command.said()
        until(lambda: not command.family(), LIMIT)
    assert command.said().splitlines()[-1] == KEPT and "Traceback" not in command.said()
    assert statuses(work_dir) == {"FINISHED", "KILLED"}


def test_ctrl_c_while_torch_is_imported(tmp_path):
    line = [sys.executable, ROOT / "pipelines" / "run.py", *TINY, "cluster=inline", f"work_dir={tmp_path / 'work'}"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as command:
        try:
            until(lambda: "libtorch" in Path(f"/proc/{command.pid}/maps").read_text())
            command.send_signal(signal.SIGINT)
            said, _ = command.communicate(timeout=LIMIT)
        finally:
            command.kill()
    assert command.returncode == 130 and said.strip() == KEPT and not (tmp_path / "work").exists(), said


def test_two_commands_at_once_on_one_work_dir(undisturbed, tmp_path):
    work_dir = tmp_path / "work"
    with Started(work_dir) as first, Started(work_dir) as second:
        assert first.end() == 0, first.said()
        assert second.end() == 0, second.said()
    assert "another command is making it" in first.said() + second.said()
    assert rows(work_dir) == rows(undisturbed) and statuses(work_dir) == {"FINISHED"}


def test_a_disk_that_fills_up_again_and_again(undisturbed, disk, tmp_path):
    """While data are drawn, and later, when no run can be closed in MLflow either."""
    for size in ("3m", "11m"):
        with Started(disk(size) / "work", log=tmp_path) as command:
            assert command.end() == 2, command.said()
        error = command.said().partition("error: ")[2].splitlines()
        assert "No space left" in error[0] or "no space left" in error[0], command.said()
        assert error[1:] == ["make space on that disk and give the same command again: what is finished is kept"]
    work_dir = disk("100m") / "work"
    with Started(work_dir, log=tmp_path) as command:
        assert command.end() == 0, command.said()
    assert rows(work_dir) == rows(undisturbed) and statuses(work_dir) == {"FINISHED"}
