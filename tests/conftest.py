"""What all tests share: one thread, so that digits repeat, a small drawn world, decoded once, and a small disk."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import started
import tiny
import torch

from pipelines import cache
from reid_da import distributed

torch.set_num_threads(1)


# The files that take minutes, the longest first.
LONG = "test_sweep test_stages test_story test_killed_sweep test_killed test_measuring test_stopped".split()


def pytest_collection_modifyitems(items):
    """Long files come first, then others with slow tests, so that of two processes none waits for the other's last file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    turn = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: (turn.get(item.path.stem, len(turn)), item.path not in slow))


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> tiny.World:
    return tiny.draw_world(tmp_path_factory.mktemp("world"))


def once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder in which make(folder) has done its work: once for all of pytest's processes, who wait for each other."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with cache.held(folder / "lock"):
        if not (folder / "whole").exists():
            make(folder)
            (folder / "whole").touch()
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """work_dir of a small run that nothing befell: what every killed one has to end like."""

    def make(folder: Path) -> None:
        with started.Started(folder / "work") as command:
            assert command.end() == 0, command.said()

    return once(tmp_path_factory, "undisturbed", make) / "work"


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """work_dir of a small sweep of four trials in one process, and the process, as it ended."""

    def make(folder: Path) -> None:
        done = forked.run("sweep", *started.SWEEP, "cluster=inline", f"work_dir={folder / 'work'}")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]))

    folder = once(tmp_path_factory, "swept", make)
    return folder / "work", subprocess.CompletedProcess([], 0, *json.loads((folder / "said.json").read_text()))


@pytest.fixture
def as_rank(monkeypatch):
    """as_rank(r, w): this process passes for rank r of w where no messages are exchanged, as in making batches."""

    def pretend(rank: int, world: int) -> None:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world", lambda: world)

    return pretend


@pytest.fixture
def disk(tmp_path):
    """disk(size) mounts a file system of that size, or makes it larger; its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        options = f"size={size}" + (",remount" if folder.is_mount() else "")
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """refused(run, *arguments): run() calls a command in this process; the one to three lines with which it ends, exiting 2."""

    def check(run: Callable, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["command.py", *arguments, f"work_dir={tmp_path / 'work'}"])
        with pytest.raises(SystemExit) as stop:
            run()
        printed = capsys.readouterr()
        lines = printed.err.strip().splitlines()
        assert stop.value.code == 2 and 1 <= len(lines) <= 3 and lines[0].startswith("error: "), printed.err
        assert "Traceback" not in printed.out + printed.err
        assert not (tmp_path / "work").exists()
        return printed.err

    return check
