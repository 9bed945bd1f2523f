"""One's own cameras by folders: what is read, passed over and refused. Manifests have tests of their own."""

import os

import pytest

from reid_da.datasets.folder import folder
from reid_da.records import UNLABELLED, Counts, Record


def lay_out(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_reads_cameras_of_any_number(tmp_path):
    names = ["camera_0/a.jpg", "camera_12/2026/01/b.PNG", "camera_12/a.jpeg", "camera_3/c.WebP", "camera_3/d.bmp"]
    dataset = folder(lay_out(tmp_path, *names))
    cameras = [0, 12, 12, 3, 3]
    assert dataset.train == tuple(
        Record(str(tmp_path / name), UNLABELLED, camera) for name, camera in zip(names, cameras, strict=True)
    )
    assert (dataset.name, dataset.query, dataset.gallery) == ("folder", (), ())
    assert (dataset.num_junk, dataset.unmatched, dataset.lists) == (0, (), ())
    assert dataset.counts()["train"] == Counts(images=5, persons=0, cameras=3)


def test_spaces_and_other_scripts_in_names(tmp_path):
    name = "Überwachung é/camera_1/Montag früh/人 1.jpg"
    dataset = folder(lay_out(tmp_path, name) / "Überwachung é")
    assert dataset.train == (Record(str(tmp_path / name), UNLABELLED, 1),)


def test_what_a_file_named_jpg_holds_is_not_asked(tmp_path):
    lay_out(tmp_path, "camera_1/a.jpg")
    (tmp_path / "camera_1" / "a.jpg").write_text("no picture")
    assert len(folder(tmp_path).train) == 1


def test_what_is_no_crop_of_a_camera_is_told(tmp_path):
    strange = ["Camera_2/a.jpg", "b.jpg", "camera_1/notes.txt", "camera_1/old/Thumbs.db", "camera_x/a.jpg"]
    dataset = folder(lay_out(tmp_path, "camera_1/a.jpg", "camera_1.txt", *strange))
    expected = sorted(str(tmp_path / name) for name in ["camera_1.txt", *strange])
    assert dataset.unmatched == tuple(expected)
    assert len(dataset.train) == 1


def test_links_out_of_the_folder_are_followed_and_a_loop_ends(tmp_path):
    root, outside = tmp_path / "root", lay_out(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    (root / "camera_1").mkdir(parents=True)
    (root / "camera_1" / "one.jpg").symlink_to(outside / "a.jpg")
    (root / "camera_1" / "gone.jpg").symlink_to(outside / "c.jpg")
    (root / "camera_1" / "up").symlink_to(root)
    (root / "camera_2").symlink_to(outside)
    dataset = folder(root)
    found = [(os.path.relpath(record.path, root), record.camera) for record in dataset.train]
    assert found == [("camera_1/one.jpg", 1), ("camera_2/a.jpg", 2), ("camera_2/b.jpg", 2)]
    assert dataset.unmatched == (str(root / "camera_1" / "gone.jpg"), str(root / "camera_1" / "up"))


@pytest.mark.parametrize("names", [("camera_1", "camera_2"), ("camera_2", "camera_1")])
def test_no_picture_is_two_cameras(names, tmp_path):
    there, link = names
    lay_out(tmp_path, f"{there}/a.jpg")
    (tmp_path / link).symlink_to(tmp_path / there)
    with pytest.raises(ValueError, match=f"{link} leads to .*{there}, which is read already\nexpected"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("to", "told"), [(".", "camera_2 leads to .*root, which is read"), ("..", "no crop in camera_2")]
)
def test_a_camera_that_leads_back_is_none(to, told, tmp_path):
    lay_out(tmp_path / "root", "camera_1/a.jpg", "holiday.jpg")
    (tmp_path / "root" / "camera_2").symlink_to(to)
    with pytest.raises(ValueError, match=told):
        folder(tmp_path / "root")


def test_cameras_may_be_links_to_folders_beside_them(tmp_path):
    lay_out(tmp_path, "all/hall/a.jpg", "all/gate/b.jpg")
    (tmp_path / "camera_1").symlink_to(tmp_path / "all" / "hall")
    (tmp_path / "camera_2").symlink_to(tmp_path / "all" / "gate")
    dataset = folder(tmp_path)
    assert [(one.path, one.camera) for one in dataset.train] == [
        (str(tmp_path / "camera_1" / "a.jpg"), 1),
        (str(tmp_path / "camera_2" / "b.jpg"), 2),
    ]
    assert dataset.unmatched == (str(tmp_path / "all" / "gate"), str(tmp_path / "all" / "hall"))


def test_a_root_that_cannot_be_written_is_enough(tmp_path):
    lay_out(tmp_path, "camera_1/a.jpg")
    (tmp_path / "camera_1").chmod(0o555)
    tmp_path.chmod(0o555)
    try:
        assert len(folder(tmp_path).train) == 1
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "camera_1").chmod(0o755)


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "no folder of a camera; it is empty\nexpected camera_<number>/, .* or manifest.csv .*\nname"),
        (["cam1/a.jpg", "camera_x/a.jpg", "camera_2"], "it holds cam1, camera_2, camera_x\nexpected"),
        (
            [f"{i}.jpg" for i in range(6)],
            "it holds 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ...\nexpected .*\nput .* into camera_1",
        ),
        (
            ["camera_1/a.jpg", "camera_2/sub/x.gif"],
            r"no crop in camera_2; camera_2: it holds sub/x.gif\nexpected crops \(.jpg",
        ),
    ],
)
def test_folders_without_crops_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        folder(lay_out(tmp_path, *names))


def test_all_cameras_without_a_crop_are_named(tmp_path):
    for name in ("camera_1", "camera_2"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="no crop in camera_1, camera_2; camera_1: it is empty\n"):
        folder(tmp_path)


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder\nexpected one that holds camera_<number>/"):
        folder(tmp_path / "nowhere")


def test_two_folders_of_one_number_are_refused(tmp_path):
    """camera_3 and camera_03 may be two cameras: nobody is to merge them unasked."""
    lay_out(tmp_path, "camera_3/a.jpg", "camera_03/b.jpg", "camera_4/c.jpg")
    with pytest.raises(ValueError, match="camera_03 and camera_3 are both camera 3\\n.*\\nput them into one"):
        folder(tmp_path)


def test_hidden_images_are_left_out_and_told(tmp_path):
    """Thumbnails of storage boxes and desktops, and the halves that macOS writes beside a file."""
    hidden = ["camera_1/.thumbnails/a.png", "camera_1/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "camera_2/._b.jpg"]
    dataset = folder(lay_out(tmp_path, "camera_1/a.jpg", "camera_2/b.jpg", *hidden))
    assert [record.camera for record in dataset.train] == [1, 2] and dataset.unmatched == ()
    (line,) = dataset.remarks
    assert line.startswith("3 hidden images") and line.endswith(f"are left out, {tmp_path / hidden[0]} first")


def test_hidden_images_in_capital_letters_are_left_out_too(tmp_path):
    for name in ("camera_1/A.JPG", "camera_1/._A.JPG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = folder(tmp_path)
    assert len(dataset.train) == 1 and dataset.unmatched == () and dataset.remarks[0].startswith("1 hidden images")
