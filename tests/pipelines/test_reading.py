"""The data stage's work in shards: the same store whoever makes them, nothing made twice, and one clear end where it fails."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import cache, cluster, data_stage, options, reading, stages
from reid_da import decoding
from reid_da.images import ImageStore
from reid_da.records import Record

ROOT = Path(__file__).resolve().parents[2]
DATA = ["source=market", "target=folder", "images.height=32", "images.width=16", "cluster.cpus_per_worker=1"]
COUNT = 40  # crops, of two cameras


@pytest.fixture
def root(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        path = tmp_path / "root" / f"camera_{number % 2 + 1}" / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path / "root"


def spoil(root: Path, *numbers: int) -> None:
    for number in numbers:
        (root / f"camera_{number % 2 + 1}" / f"{number:02d}.jpg").write_text("no picture")


def settings_of(root: Path, work_dir: Path, *more: str) -> dict:
    return options.compose([*DATA, f"target.root={root}", f"work_dir={work_dir}", *more])


def make(root: Path, work_dir: Path, *more: str, launch=None) -> Path:
    """The folder of the finished data stage."""
    settings = settings_of(root, work_dir, *more)
    stage = data_stage.data_stage(settings, "target", 1)
    stages.make([stage], settings, launch or cluster.Inline(settings["cluster"]), stages.Silent())
    return stage.folder(work_dir)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the notes of progress; records.json without what depends on where it lies."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("metrics.jsonl", "stage.json")]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    for split in data_stage.SPLITS:
        records = json.loads(found[f"{split}/records.json"])
        records["paths"] = [os.path.normpath(folder / split / path) for path in records["paths"]]
        found[f"{split}/records.json"] = json.dumps(records).encode()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["data.skip_unreadable=true"]])
def test_shards_of_any_size_make_the_store_that_one_pass_makes(more, root, tmp_path, monkeypatch):
    """Where files are left out, too: at the beginning, the end, and a whole shard of them."""
    if more:
        spoil(root, 0, 14, 16, 18, 20, 22, 39)
    whole = contents(make(root, tmp_path / "whole", *more))
    monkeypatch.setattr(decoding, "CHUNK", 2)
    monkeypatch.setattr(reading, "SHARD", 4)
    folder = make(root, tmp_path / "shards", *more)
    assert contents(folder) == whole
    store = ImageStore(folder / "train")
    records = [Record(path, -1, int(camera)) for path, camera in zip(store.paths, store.cameras, strict=True)]
    plain = decoding.create(tmp_path / "plain", records, height=32, width=16, resample="bilinear")
    assert np.array_equal(plain.images, store.images) and len(store) == COUNT - 7 * bool(more)
    assert plain.sizes.tolist() == store.sizes.tolist() == [[32, 64]] * len(store)


KILLED = """
import os, sys
from pipelines import command, export_styles, reading
reading.SHARD = 8
finished = 0
def hear(event, arguments):
    global finished
    if event == "os.rename" and "train/shards/" in str(arguments[1]):
        finished += 1
        if finished == 4:
            os.kill(os.getpid(), 9)
sys.addaudithook(hear)
command.many_main(export_styles.story, "export_styles", {}, cluster="inline")
"""


@pytest.mark.slow
def test_a_killed_command_s_shards_are_kept(root, tmp_path, monkeypatch):
    work_dir = tmp_path / "work"
    line = [*DATA[1:], f"target.root={root}", f"work_dir={work_dir}", f"to={tmp_path / 'files'}", "hhl.styles=jitter"]
    done = subprocess.run([sys.executable, "-c", KILLED, *line], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (part,) = (work_dir / "cache" / "data").glob("*.part")
    assert len(list(part.glob("train/shards/*.json"))) == 3
    real, asked = decoding.decode, []
    monkeypatch.setattr(decoding, "decode", lambda path, *size: asked.append(path) or real(path, *size))
    monkeypatch.setattr(reading, "SHARD", 8)
    settings = settings_of(root, work_dir)
    block = json.loads((part / "stage.json").read_text())
    stage = cache.Stage("data", block["label"], block["settings"], version=block["version"])
    stages.make([stage], settings, cluster.Inline(settings["cluster"]), stages.Silent())
    assert stage.finished(work_dir) and len(asked) == COUNT - 3 * 8
    assert contents(stage.folder(work_dir)) == contents(make(root, tmp_path / "undisturbed"))


def test_leaving_out_all_images_of_a_camera_is_refused(root, tmp_path):
    """Else the run goes on with a camera less than it was planned with."""
    spoil(root, *range(1, COUNT, 2))
    with pytest.raises(ValueError, match="folder: all training images of camera 2 are unreadable"):
        make(root, tmp_path / "work", "data.skip_unreadable=true")
    spoil(root, *range(0, COUNT, 2))
    with pytest.raises(ValueError, match="folder: all 40 images of train are unreadable"):
        make(root, tmp_path / "work", "data.skip_unreadable=true")
    assert not [path for path in (tmp_path / "work" / "cache" / "data").iterdir() if path.suffix != ".lock"]


@pytest.mark.slow
def test_tasks_of_ray_make_the_same_store_and_tell_the_first_error_once(root, tmp_path, monkeypatch):
    """In one Ray, which takes long to start: the store, an unreadable file, a full disk."""
    whole = contents(make(root, tmp_path / "whole"))
    monkeypatch.setattr(reading, "SHARD", 4)
    two = ["cluster=local", "cluster.num_workers=2"]

    def full(job: dict) -> None:
        with open(job["log"], "a") as file:
            file.write("x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), job["log"])

    with cluster.connect(settings_of(root, tmp_path / "ray", *two)) as launch:
        assert contents(make(root, tmp_path / "ray", *two, launch=launch)) == whole
        spoil(root, 11, 31)
        with pytest.raises(ValueError, match=r"(11|31)\.jpg cannot be read .* data.skip_unreadable=true"):
            make(root, tmp_path / "spoilt", *two, launch=launch)
        left = (tmp_path / "spoilt" / "cache" / "data").glob("*")
        assert [path for path in left if path.suffix != ".lock"] == []
        with pytest.raises(OSError, match="No space left on device") as stop:
            launch(full, [{"log": str(tmp_path / "log")}], on="cores")
        assert stop.value.errno == errno.ENOSPC and stop.value.filename == str(tmp_path / "log")
        assert (tmp_path / "log").read_text() == "x", "it was tried again"


def test_a_command_killed_between_two_splits_leaves_no_array_twice(root, tmp_path, monkeypatch):
    real = decoding.seal

    def seal(folder, *rest):
        if folder.name != "train":
            raise KeyboardInterrupt
        real(folder, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "seal", seal)
        with pytest.raises(KeyboardInterrupt):
            make(root, tmp_path / "work")
    (part,) = (tmp_path / "work" / "cache" / "data").glob("*.part")
    assert (part / "train" / "records.json").exists() and not (part / "query" / "records.json").exists()
    assert contents(make(root, tmp_path / "work")).keys() == contents(make(root, tmp_path / "whole")).keys()
