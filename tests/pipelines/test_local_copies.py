"""Copies on the node's own disk: whole or not there, made once, used instead of the original, and told where there is no room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from started import TINY, with_cached

from pipelines import cluster, options, stages
from pipelines.local_copies import nearby
from reid_da.images import ImageStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(world, tmp_path) -> dict:
    """A training's inputs of a few MB: a data stage's folder and one of styles."""
    for split in ("train", "query", "gallery"):
        folder = tmp_path / "cache" / "data" / split
        folder.mkdir(parents=True)
        for path in (world.folder / "target").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cache" / "data" / "result.json").write_text("{}")
    (tmp_path / "cache" / "styles").mkdir()
    np.save(tmp_path / "cache" / "styles" / "styled.npy", np.repeat(world.styles, 8, axis=0))
    inputs = {"target": str(tmp_path / "cache" / "data"), "styles": str(tmp_path / "cache" / "styles")}
    return {"name": "hhl", "inputs": inputs | {"start": "/elsewhere"}, "how": {"stage_dir": str(tmp_path / "near")}}


def arrays(folder: Path) -> dict[str, int]:
    """Arrays below a folder that are no links, and their inodes."""
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names if name.endswith(".npy")]
    return {str(path.relative_to(folder)): path.stat().st_ino for path in found if not path.is_symlink()}


def test_a_mirrored_folder_reads_as_the_original_and_is_used_again(job, tmp_path):
    found = nearby(job)["inputs"]
    assert found["start"] == "/elsewhere" and found["target"] == f"{tmp_path}/near{job['inputs']['target']}"
    before = arrays(tmp_path / "near")
    assert len(before) == 4
    original, copy = (ImageStore(Path(inputs["target"]) / "query") for inputs in (job["inputs"], found))
    assert copy.images.filename.is_relative_to(tmp_path / "near") and np.array_equal(copy.images, original.images)
    assert copy.persons.tolist() == original.persons.tolist()
    assert (Path(found["target"]) / "result.json").read_text() == "{}"
    assert nearby(job)["inputs"] == found and arrays(tmp_path / "near") == before
    np.save(tmp_path / "cache" / "styles" / "styled.npy", np.zeros((5, 3), np.uint8))  # made again
    nearby(job)
    after = arrays(tmp_path / "near")
    assert [path for path in before if after[path] != before[path]] == [path for path in before if "styled" in path]
    assert np.load(Path(found["styles"]) / "styled.npy").shape == (5, 3)
    assert nearby(job | {"how": {"stage_dir": None}})["inputs"] == job["inputs"]


def test_what_is_not_evaluated_takes_the_training_images_alone(job, tmp_path):
    """And what is evaluated later takes the rest in the links' place."""
    found = nearby(job | {"name": "generator"})["inputs"]
    assert sum("images.npy" in path for path in arrays(tmp_path / "near")) == 1
    assert len(ImageStore(Path(found["target"]) / "query")) > 0
    nearby(job)
    assert sum("images.npy" in path for path in arrays(tmp_path / "near")) == 3


TWO = """
import json, os, sys, time
from pathlib import Path
from pipelines.local_copies import nearby
job = json.loads(sys.argv[1])
Path(sys.argv[2]).touch()
while len(list(Path(sys.argv[2]).parent.iterdir())) < 2:
    time.sleep(0.001)
path = Path(nearby(job)["inputs"]["styles"]) / "styled.npy"
print(path.stat().st_ino, path.stat().st_size)
"""


@pytest.mark.slow
def test_two_processes_at_once_make_one_copy(job, tmp_path):
    (tmp_path / "ready").mkdir()
    lines = [[sys.executable, "-c", TWO, json.dumps(job), str(tmp_path / "ready" / str(i))] for i in range(2)]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT) for line in lines]
    said = {process.communicate(timeout=120)[0] for process in both}
    size = (Path(job["inputs"]["styles"]) / "styled.npy").stat().st_size
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1 and said.pop().split()[1] == str(size), "the same file, and whole"
    assert not list((tmp_path / "near").rglob("*.tmp"))


def test_no_room_is_told_with_the_numbers_and_nothing_half_is_left(job, disk):
    folder = disk("1m")
    with pytest.raises(OSError, match=r"No space left on device, 0.0 GB are wanted and 0.0 GB free in data.stage_dir"):
        nearby(job | {"how": {"stage_dir": str(folder)}})
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("styled.npy"))


@pytest.mark.slow
def test_a_full_disk_ends_a_group_of_workers_at_once_and_what_was_finished_is_kept(disk, undisturbed, tmp_path):
    """The real command, two workers of Ray, who raise together: none waits for the other."""
    near, work_dir = disk("100k"), with_cached(tmp_path / "work", undisturbed, "data")
    more = ["cluster=local", "cluster.num_workers=2", "methods=[baseline]", f"data.stage_dir={near}"]
    done = forked.run("run", *TINY, *more, f"work_dir={work_dir}")
    assert done.returncode == 2, done.stderr
    first, advice = [text for text in done.stderr.splitlines() if "it/s" not in text][-2:]
    assert first.startswith("error: No space left on device, 0.0 GB are wanted and 0.0 GB free in data.stage_dir: ")
    assert advice.startswith("make space on that disk")
    assert not list(near.rglob("*.tmp")) and len(list((work_dir / "cache" / "data").glob("*[0-9a-f]"))) == 2
    assert not list((work_dir / "cache").rglob("*.part"))


@pytest.mark.slow
def test_a_training_reads_the_copies_and_ends_as_without(tmp_path):
    """What lies in the copies is what counts: with black ones, which look whole, it comes to something else."""
    base = [*TINY, "cluster=inline", "methods=[baseline]", f"work_dir={tmp_path / 'work'}", "force=[baseline]"]

    def mAP(*more: str) -> float:
        settings = options.compose([*base, *more])
        with cluster.connect(settings) as launch:
            return stages.run(settings, launch, stages.Silent())["baseline"]["target"]["mAP"]

    near = f"data.stage_dir={tmp_path / 'near (own) disk'}"
    plain = mAP()
    assert mAP(near) == plain
    for path in (tmp_path / "near (own) disk").rglob("gallery/images.npy"):
        status, array = path.stat(), np.load(path, mmap_mode="r+")
        array[:] = 0
        array.flush()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert mAP(near) != plain
    assert mAP() == plain
