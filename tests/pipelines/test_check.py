"""The check of a data set as a command: what it prints, its sheet, and what it refuses with exit code 2."""

import re
import shutil
from pathlib import Path

import forked
import pytest
from PIL import Image

from reid_da.datasets import synthetic
from reid_da.datasets.folders import FOLDERS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A small world in Market-1501's layout, in a folder with a space and a letter beyond ASCII."""
    folder = tmp_path_factory.mktemp("drawn") / "ein Märkt"
    synthetic.draw("market", str(folder), seed=0, train_persons=8, test_persons=3)
    return folder


@pytest.fixture
def copy(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "set"))


def check(*options: str, work_dir: Path):
    return forked.run("check", *options, f"work_dir={work_dir}")


@pytest.mark.slow
def test_a_sound_set_is_told_in_counts_and_a_sheet(drawn, tmp_path):
    done = check("target=market", f"target.root={drawn}", work_dir=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    train = list((drawn / FOLDERS["train"]).iterdir())
    assert f"train     {len(train):9}        8        6" in done.stdout
    queries = len(list((drawn / FOLDERS["query"]).iterdir()))
    assert f"valid queries: {queries} of {queries}\n" in done.stdout
    assert f"target market: {drawn}" in done.stdout and "sizes, width x height: 64x128" in done.stdout
    assert f"market, train: {len(train)} images of 8 persons; published 12936 of 751" in done.stdout
    assert done.stdout.endswith("nothing here would stop a run\n")
    with Image.open(tmp_path / "out" / "figures" / "check-target-market.png") as sheet:
        assert min(sheet.size) > 200
    assert not (tmp_path / "out" / "cache").exists(), "nothing is computed"


@pytest.mark.slow
def test_all_that_must_be_mended_is_told_at_once_with_what_helps(copy, tmp_path):
    first, second = sorted((copy / FOLDERS["train"]).glob("*.jpg"))[:2]
    first.write_bytes(first.read_bytes()[:300])
    second.rename(second.with_name("somebody.jpg"))
    for path in (copy / FOLDERS["gallery"]).iterdir():  # now every match is by the query's own camera, or there is none
        person, camera, *rest = path.name.split("_")
        if person not in ("-1", "0000", "0"):
            path.rename(path.with_name("_".join([str(int(person) + 9000), camera, *rest])))
    done = check("target=market", f"target.root={copy}", work_dir=tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    queries = len(list((copy / FOLDERS["query"]).iterdir()))
    assert f"0 of {queries} queries are valid; {queries} of {queries} no match in the gallery" in done.stderr
    assert "1 images cannot be read" in done.stderr and "data.skip_unreadable=true" in done.stderr
    assert "somebody.jpg first" in done.stderr and "data.skip_unmatched=true" in done.stderr


@pytest.mark.slow
def test_counts_are_told_without_what_is_left_out(copy, tmp_path):
    gallery, skip = sorted((copy / FOLDERS["gallery"]).glob("*.jpg")), "data.skip_unreadable=true"
    for path in gallery[-3:]:
        path.write_bytes(path.read_bytes()[:300])
    done = check("target=market", f"target.root={copy}", skip, work_dir=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split(f"3 images cannot be read, {gallery[-3]} first; without them:")
    counts = [int(re.search(r"gallery +([\d,]+)", text)[1].replace(",", "")) for text in (first, second)]
    assert counts[0] - counts[1] == 3
    for path in gallery:
        path.write_bytes(b"no picture")
    done = check("target=market", f"target.root={copy}", skip, work_dir=tmp_path / "out")
    assert done.returncode == 2 and "images of gallery are unreadable, so that leaving them out" in done.stderr


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_a_sheet(drawn, disk):
    done = check("target=market", f"target.root={drawn}", work_dir=disk("40k") / "out")
    assert done.returncode == 2 and "No space left on device" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list(disk("40k").rglob("*.png*"))


@pytest.mark.slow
def test_without_a_data_set_it_says_how_to_name_one(tmp_path):
    done = check(work_dir=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: which data set? give target=NAME (or source=NAME), such as target=folder target.root=/path\n"
    )


@pytest.mark.slow
def test_ones_own_cameras_are_told_without_persons_and_what_a_run_leaves_out(tmp_path):
    """camera_3, camera_7 and camera_12, drawn; as a source they are refused."""
    synthetic.draw("folder", str(tmp_path / "cameras"), seed=0, train_persons=6, test_persons=2)
    root = f"root={tmp_path / 'cameras'}"
    done = check("target=folder", f"target.{root}", work_dir=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "c3     c7    c12" in done.stdout and "query             0        0        0" in done.stdout
    assert "folder: no query and gallery images of known persons: methods adapt to it and are not judged" in done.stdout
    assert "one camera" not in done.stdout
    done = check("source=folder", f"source.{root}", work_dir=tmp_path / "out")
    assert done.returncode == 2 and "a set without persons can be the target" in done.stderr
