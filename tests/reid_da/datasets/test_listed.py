"""Files below a folder, whatever links lead where."""

import os

from reid_da.datasets.listed import files_below


def test_files_of_all_depths_sorted(tmp_path):
    for name in ("b.jpg", "a/x y/ü.jpg", "a/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, strange = files_below(str(tmp_path))
    assert [os.path.relpath(path, tmp_path) for path in files] == ["a/x y/ü.jpg", "a/z.jpg", "b.jpg"]
    assert strange == []


def test_links_are_followed_and_a_loop_ends(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (inside / "real" / "a.jpg").touch()
    (outside / "b.jpg").touch()
    (inside / "again").symlink_to(inside / "real")
    (inside / "real" / "up").symlink_to(inside)
    (inside / "self").symlink_to(inside / "self")
    (inside / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (inside / "file.jpg").symlink_to(outside / "b.jpg")
    (inside / "folder").symlink_to(outside)
    files, strange = files_below(str(inside))
    assert [os.path.relpath(path, inside) for path in files] == ["file.jpg", "folder/b.jpg", "real/a.jpg"]
    assert [os.path.relpath(path, inside) for path in strange] == ["again", "gone.jpg", "real/up", "self"]
