"""One array written in place by many: what is on the disk, what is believed of it, and how much memory it takes."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines import shards
from pipelines.shards import Shard

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (10, 2, 4, 3, 3)


@pytest.fixture
def content():
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    shards.take_room(tmp_path / "styled.npy", SHAPE)
    (tmp_path / "shards").mkdir()
    return tmp_path / "styled.npy"


def write(path, content, first, end, sizes=(5, 1, 100)):
    """In batches of some styles each, which do not end where images do."""
    rows = content[first:end].reshape(-1, *content.shape[2:])
    edges = np.clip(np.cumsum([0, *sizes]), 0, len(rows))
    Shard(path, first, end).write(rows[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True))


def test_shards_in_any_order_make_the_array(path, content):
    for first, end in ((4, 8), (8, 10), (0, 4)):
        assert not Shard(path, first, end).whole()
        write(path, content, first, end)
        assert Shard(path, first, end).whole()
    assert np.array_equal(np.load(path), content) and shards.recorded(path.parent) == 3
    assert shards.made_again(path.parent) == 0


def torn(path, record):
    """The file was written, the disk was not."""
    with open(path, "r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(bytes(10))


def half_a_record(path, record):
    record.write_text(record.read_text()[:20])


def other_shape(path, record):
    record.write_text(json.dumps(json.loads(record.read_text()) | {"shape": [2, 2, 4, 3, 1]}))


def lost(path, record):
    path.unlink()
    shards.take_room(path, SHAPE)


@pytest.mark.parametrize("damage", [torn, half_a_record, other_shape, lost])
def test_a_shard_that_is_not_what_its_record_says_counts_as_none(damage, path, content):
    shard = Shard(path, 8, 10)
    write(path, content, 8, 10)
    damage(path, shard.record)
    assert not shard.whole() and not shard.record.exists() and shards.made_again(path.parent) == 1
    write(path, content, 8, 10)
    assert shard.whole() and np.array_equal(np.load(path)[8:], content[8:])
    assert shards.made_again(path.parent) == 1, "a restart counts it once"


def test_room_is_taken_once_and_is_really_taken(path):
    inode = path.stat().st_ino
    shards.take_room(path, SHAPE)
    assert path.stat().st_ino == inode
    shards.take_room(path, (2000, *SHAPE[1:]))
    assert path.stat().st_ino != inode and path.stat().st_blocks * 512 >= path.stat().st_size


def test_a_full_disk_is_told_at_the_start_with_the_size_and_nothing_is_left(tmp_path):
    with pytest.raises(OSError, match=r"are free \(\d+\.\d GB for 40000000x15x256x128x3 values\)") as found:
        shards.take_room(tmp_path / "styled.npy", (40_000_000, 15, 256, 128, 3))  # 59 TB
    assert found.value.errno == errno.ENOSPC and found.value.filename == str(tmp_path / "styled.npy.tmp")
    assert list(tmp_path.iterdir()) == []


def test_what_fails_while_it_writes_leaves_no_record(path, content):
    def failing():
        yield content[0]
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        Shard(path, 0, 4).write(failing())
    with pytest.raises(AssertionError, match="not all written"):
        Shard(path, 0, 4).write([content[0]])
    assert shards.recorded(path.parent) == 0


WRITER = """
import resource, sys
import numpy as np
from pathlib import Path
from pipelines import shards
path, count, kill = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
shards.take_room(path, (count, 8, 256, 128, 3))
(path.parent / "shards").mkdir(exist_ok=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def batches(first, end):
    for row in range(first, end, 4):
        yield np.full((4, 8, 256, 128, 3), row % 251, np.uint8)
        if row == 40 and kill == "kill":
            import os; os.kill(os.getpid(), 9)
for first in range(0, count, 32):
    shard = shards.Shard(path, first, first + 32)
    with shard.held():
        if not shard.whole():
            shard.write(batches(first, first + 32))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_writer_is_killed_within_a_shard_and_another_goes_on_in_bounded_memory(tmp_path):
    """640 images with 8 styles of 256x128: 480 MB of styles, 25 MB a shard, 3 MB a batch."""
    path = tmp_path / "styled.npy"

    def start(kill):
        line = [sys.executable, "-c", WRITER, str(path), "640", kill]
        return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert start("kill").returncode == -signal.SIGKILL
    assert [record.name for record in (tmp_path / "shards").glob("*.json")] == ["00000000.json"]
    done = start("")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1024 < 64, f"grew by {int(done.stdout) / 1024:.0f} MB"
    assert shards.made_again(tmp_path) == 0 and shards.recorded(tmp_path) == 20
    styled = np.load(path, mmap_mode="r")
    assert all((styled[row] == row // 4 * 4 % 251).all() for row in range(0, 640, 37))


def test_a_part_that_is_not_seen_is_told_and_one_that_is_done_is_not_asked_for(tmp_path):
    job = {"label": "styles", "part": str(tmp_path / "a.part"), "folder": str(tmp_path / "a")}
    with pytest.raises(
        ValueError, match=r"styles: .*a.part is not there on \S+; expected work_dir on storage that all"
    ):
        shards.wanted(job)
    (tmp_path / "a.part" / "shards").mkdir(parents=True)
    assert shards.wanted(job)
    with pytest.raises(
        ValueError, match="styles: 0 of 2 shards are in .*; expected work_dir on storage that all nodes"
    ):
        shards.check_all_there(job, tmp_path / "a.part", 2)
    shards.check_all_there(job, tmp_path / "a.part", 0)
    (tmp_path / "a.part").rename(tmp_path / "a")
    assert not shards.wanted(job)
