"""One's own crops as they come, through the commands: what is taken as it is, and what is refused in a line with exit code 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import check, export_styles, sheets
from reid_da.images import ImageStore

STYLES = ["hhl.styles=jitter", "images.height=32", "images.width=16"]  # decoded and styled without any training


def crops(root: Path, cameras=(0, 15), count: int = 3) -> Path:
    """Noise under camera_<n>/: no two files are equal, and no two stems."""
    rng = np.random.default_rng(0)
    for camera in cameras:
        (root / f"camera_{camera}").mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / f"camera_{camera}" / f"{camera}-{number}.jpg")
    return root


def cut(root: Path) -> None:
    path = root / "camera_0" / "0-1.jpg"
    path.write_bytes(path.read_bytes()[:400])


def text(root: Path) -> None:
    (root / "camera_0" / "0-1.jpg").write_text("no picture")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, text])
def test_a_file_that_is_no_picture_is_named_and_can_be_left_out(damage, tell, tmp_path):
    root = crops(tmp_path / "root")
    damage(root)
    code, out, error = tell(check, "target=folder", f"target.root={root}")
    assert code == 2 and "3      3" in out
    assert error.splitlines()[-1].startswith(f"error: folder: 1 images cannot be read: {root}/camera_0/0-1.jpg (")
    assert error.endswith("or leave such files out with data.skip_unreadable=true\n")
    to = f"to={tmp_path / 'styled'}"
    code, _, error = tell(export_styles, "target=folder", f"target.root={root}", to, *STYLES)
    assert code == 2 and error.splitlines()[-1].startswith(f"error: {root}/camera_0/0-1.jpg cannot be read (")
    assert not list((tmp_path / "out" / "cache" / "data").glob("*[0-9a-f]")) and not (tmp_path / "styled").exists()
    code, out, error = tell(
        export_styles, "target=folder", f"target.root={root}", to, "data.skip_unreadable=true", *STYLES
    )
    assert code == 0 and "10 styles in" in out, error  # of five images in two cameras
    assert "1 unreadable images left out of train" in out + error


def none_at_all(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def an_empty_camera(root: Path) -> None:
    (root / "camera_4").mkdir()


def a_manifest_without_cameras(root: Path) -> None:
    (root / "manifest.csv").write_text("path,person\ncamera_0/0-1.jpg,7\n")


def a_manifest_of_a_camera_below_0(root: Path) -> None:
    (root / "manifest.csv").write_text("path,camera\ncamera_0/0-1.jpg,-3\n")


REFUSED = {
    none_at_all: "no folder of a camera; it is empty",
    an_empty_camera: "no crop in camera_4; camera_4: it is empty",
    a_manifest_without_cameras: "manifest.csv: columns path, person",
    a_manifest_of_a_camera_below_0: "manifest.csv, line 2: camera -3",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", REFUSED)
def test_what_is_no_data_set_is_refused_before_anything_is_written(change, tell, tmp_path):
    root = crops(tmp_path / "root")
    change(root)
    for command_, *more in ((check,), (export_styles, f"to={tmp_path / 'styled'}", *STYLES)):
        code, out, error = tell(command_, "target=folder", f"target.root={root}", *more)
        lines = error.splitlines()
        assert code == 2 and out == "" and len(lines) == 3 and REFUSED[change] in lines[0]
        assert lines[0].startswith(f"error: {root}") and lines[1].startswith("expected ")
    assert not (tmp_path / "out").exists() and not (tmp_path / "styled").exists()


@pytest.mark.slow
def test_any_names_links_out_of_it_and_cameras_0_and_15_in_a_folder_that_cannot_be_written(tell, tmp_path):
    """Whoever owns the machine may write anywhere: what would show a write is the folder's listing and times."""
    root = crops(tmp_path / "Überwachung (früh) 人")
    outside = crops(tmp_path / "another disk", cameras=(3,))
    (root / "camera_15" / "Montag, 7 Uhr").mkdir()
    (root / "camera_15" / "Montag, 7 Uhr" / "人 1.jpg").symlink_to(outside / "camera_3" / "3-0.jpg")
    (root / "camera_7").symlink_to(outside / "camera_3")
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    before = {path: (sorted(os.listdir(path)), path.stat().st_mtime_ns) for path in folders}
    for path in folders:
        path.chmod(0o555)
    try:
        code, out, error = tell(check, "target=folder", f"target.root={root}")
        assert code == 0 and out.endswith("nothing here would stop a run\n") and "c0     c7    c15" in out, error
        code, _, error = tell(
            export_styles, "target=folder", f"target.root={root}", f"to={tmp_path / 'styled'}", *STYLES
        )
        assert code == 0, error
    finally:
        for path in folders:
            path.chmod(0o755)
    assert before == {path: (sorted(os.listdir(path)), path.stat().st_mtime_ns) for path in folders}
    (data,) = (tmp_path / "out" / "cache" / "data").glob("*/train")
    store = ImageStore(data)
    assert store.camera_names.tolist() == [0, 7, 15] and len(store) == 10
    assert "人 1_fake_0.jpg" in os.listdir(tmp_path / "styled")


def test_names_of_cameras_stand_beside_their_numbers(tell, tmp_path):
    root = crops(tmp_path / "root")
    lines = [
        f"camera_{camera}/{camera}-{n}.jpg,{name}" for camera, name in ((0, "gate"), (15, "Hof 2")) for n in range(3)
    ]
    (root / "manifest.csv").write_text("\n".join(["path,camera", *lines]))
    code, out, error = tell(check, "target=folder", f"target.root={root}")
    assert code == 0 and "c1     c2" in out and "\ncameras: c1 is Hof 2, c2 is gate\n" in out, error
    code, _, error = tell(export_styles, "target=folder", f"target.root={root}", f"to={tmp_path / 'styled'}", *STYLES)
    assert code == 0, error
    about = json.loads((tmp_path / "styled" / "styles.json").read_text())
    assert about["cameras"] == [1, 2] and about["camera_names"] == {"1": "Hof 2", "2": "gate"}
    (styles,), (data,) = ((tmp_path / "out" / "cache" / kind).glob("*[0-9a-f]") for kind in ("styles", "data"))
    grid = sheets.style_grid(styles, data, rows=2)
    assert [text.get_text() for text in grid.axes[0].texts[:3]] == ["real", "as camera 1\nHof 2", "as camera 2\ngate"]


def test_a_check_tells_copies_of_a_file_queries_that_do_not_count_and_persons_seen_once(tell, tmp_path):
    root = crops(tmp_path / "root", cameras=(1, 2), count=5)
    shutil.copy(root / "camera_1" / "1-0.jpg", root / "camera_2" / "copy.jpg")
    where = {
        "train": [("1/1-0", 11), ("1/1-1", 12), ("2/2-0", 12)],
        "query": [("1/1-2", 21), ("1/1-3", 22), ("2/2-1", 23)],
        "gallery": [("2/2-2", 21), ("1/1-4", 22), ("2/copy", 0)],
    }
    lines = [f"camera_{name}.jpg,{name[0]},{who},{split}" for split, rows in where.items() for name, who in rows]
    (root / "manifest.csv").write_text("\n".join(["path,camera,person,split", *lines]))
    code, out, error = tell(check, "target=folder", f"target.root={root}")
    assert code == 0, error
    assert "1 files are in two splits: camera_1/1-0.jpg = camera_2/copy.jpg\n" in out
    reasons = "1 of 3 queries have no match in another camera; 1 of 3 no match in the gallery"
    assert f"folder: 1 of 3 queries are valid; {reasons}\n" in out
    assert "folder: 1 of 2 training persons are seen by one camera only\n" in out


def test_many_unreadable_files_are_all_listed_in_a_file(tell, tmp_path):
    root = crops(tmp_path / "root", count=6)
    for path in (root / "camera_0").iterdir():
        path.write_text("no picture")
    code, _, error = tell(check, "target=folder", f"target.root={root}")
    listed = tmp_path / "out" / "figures" / "check-target-folder.txt"
    assert code == 2 and "6 images cannot be read" in error and f"(all in {listed})" in error
    assert len(listed.read_text().splitlines()) == 6


WITH_SMALL_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from pipelines import command, export_styles
command.many_main(export_styles.story, "export_styles", {}, cluster="inline")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a full disk", "a limit"])
def test_no_room_for_the_store_is_told_with_the_size_and_nothing_is_left(kind, disk, tmp_path):
    """A disk too small by far is not filled first; what the system refuses in the middle is told alike."""
    root = crops(tmp_path / "root", count=100)
    work_dir = (disk("1m") if kind == "a full disk" else tmp_path) / "work"
    options = ["target=folder", f"target.root={root}", f"work_dir={work_dir}", f"to={tmp_path / 'styled'}", *STYLES[:1]]
    program = WITH_SMALL_FILES if kind == "a limit" else WITH_SMALL_FILES.replace("20_000", "10**9")
    line = [sys.executable, "-c", program, *options, "images.height=64", "images.width=32"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    error = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    reason = "No space left on device, 0.0 GB are free" if kind == "a full disk" else "File too large"
    assert error[-1 - (kind == "a full disk")].startswith(
        f"error: {reason} (0.0 GB for 200x64x32x3 values): {work_dir}/cache"
    )
    assert not [path for path in (work_dir / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
