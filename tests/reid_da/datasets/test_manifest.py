"""Manifests of one's own cameras: columns, numbers and texts, splits, and what is wrong with a line."""

import pytest

from reid_da.datasets.folder import folder
from reid_da.records import UNLABELLED, Counts, Record

FILES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


def write(root, *lines, name="manifest.csv", encoding="utf-8"):
    """The manifest and FILES beside it."""
    (root / name).write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    for file in FILES:
        (root / file).touch()
    return root


def shown(records):
    return [(record.path.rpartition("/")[2], record.person, record.camera) for record in records]


def test_path_and_camera_are_enough(tmp_path):
    dataset = folder(write(tmp_path, "path,camera", "b.jpg,0", "a.jpg,12"))
    assert dataset.train == (
        Record(str(tmp_path / "a.jpg"), UNLABELLED, 12),
        Record(str(tmp_path / "b.jpg"), UNLABELLED, 0),
    )
    assert (dataset.name, dataset.query, dataset.gallery) == ("folder", (), ())
    assert (dataset.num_junk, dataset.unmatched, dataset.lists) == (0, (), (str(tmp_path / "manifest.csv"),))
    assert dataset.camera_names == {}


def test_crops_beside_the_listed_ones_are_counted_and_other_folders_left_alone(tmp_path):
    for place in ("gate", "gate/old", "hall"):
        (tmp_path / place).mkdir()
        for name in ("1.jpg", "2.WEBP", "notes.txt"):
            (tmp_path / place / name).touch()
    (line,) = folder(write(tmp_path, "path,camera", "gate/1.jpg,1", "gate/../gate/2.WEBP,1", "a.jpg,2")).remarks
    assert line.startswith("3 crops stand in no line of ") and line.endswith(f"are left out, {tmp_path}/b.jpg first")
    assert folder(write(tmp_path, "path,camera", "gate/1.jpg,1", "gate/2.WEBP,1")).remarks == ()


def test_persons_and_splits_as_the_market_has_them(tmp_path):
    lines = ["split, camera, path, person", ",1,a.jpg,", "query,1,b.jpg,007", "gallery,2,c.jpg,7", "gallery,2,d.jpg,0"]
    (tmp_path / "junk.jpg").touch()
    dataset = folder(write(tmp_path, *lines, "", "gallery,3,junk.jpg,-1"))
    assert shown(dataset.train + dataset.query) == [("a.jpg", UNLABELLED, 1), ("b.jpg", 7, 1)]
    assert shown(dataset.gallery) == [("c.jpg", 7, 2), ("d.jpg", 0, 2)]
    assert dataset.num_junk == 1
    assert dataset.counts()["gallery"] == Counts(images=2, persons=1, cameras=1)


def test_texts_are_numbered_in_sorted_order(tmp_path):
    lines = ["a.jpg,entrance,Zoë", "b.jpg,car park,anna", "c.jpg,7,", "d.jpg,entrance,12"]
    dataset = folder(write(tmp_path, "path,camera,person", *lines))
    assert shown(dataset.train) == [("a.jpg", 2, 3), ("b.jpg", 3, 2), ("c.jpg", UNLABELLED, 1), ("d.jpg", 1, 3)]
    assert dataset.camera_names == {1: "7", 2: "car park", 3: "entrance"}


def test_junk_and_distractors_are_so_beside_names_and_a_number_is_one_however_it_is_written(tmp_path):
    lines = ["path,camera,person,split", "a.jpg,gate,anna,query", "b.jpg,03,-1.0,query", "c.jpg,3,0,gallery"]
    dataset = folder(write(tmp_path, *lines, "d.jpg,3.0,anna,gallery"))
    assert dataset.num_junk == 1 and shown(dataset.query) == [("a.jpg", 1, 2)]
    assert shown(dataset.gallery) == [("c.jpg", 0, 1), ("d.jpg", 1, 1)]
    dataset = folder(write(tmp_path, "path,camera,person", "a.jpg,1.0,007", "b.jpg,1,7.0", "c.jpg,2,p"))
    assert shown(dataset.train) == [("a.jpg", 1, 1), ("b.jpg", 1, 1), ("c.jpg", 2, 2)] and dataset.camera_names == {}


def test_numbers_too_long_for_64_bits_are_texts(tmp_path):
    dataset = folder(write(tmp_path, "path,camera,person", f"a.jpg,1,{10**20}", "b.jpg,1,5"))
    assert shown(dataset.train) == [("a.jpg", 1, 1), ("b.jpg", 2, 1)]


def test_as_spreadsheets_write_it(tmp_path):
    dataset = folder(write(tmp_path, "path,camera\r", '"a.jpg",1\r', encoding="utf-8-sig"))
    assert shown(dataset.train) == [("a.jpg", UNLABELLED, 1)]


def test_paths_with_spaces_commas_and_other_scripts_below_or_elsewhere(tmp_path):
    below, elsewhere = tmp_path / "root" / "früh, am Tag" / "人.jpg", tmp_path / "NVR 7" / "é.jpg"
    for path in (below, elsewhere):
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "root" / "link.jpg").symlink_to(elsewhere)
    lines = ["path,camera", '"./früh, am Tag/人.jpg",1', f"{elsewhere},2", "link.jpg,2"]
    dataset = folder(write(tmp_path / "root", *lines))
    expected = {str(below), str(elsewhere), str(tmp_path / "root" / "link.jpg")}
    assert {record.path for record in dataset.train} == expected


@pytest.mark.parametrize("absolute", [False, True])
def test_another_manifest_is_read_where_it_is_given(tmp_path, absolute):
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists", "path,camera", "c.jpg,4", name="mine.csv")
    write(tmp_path, "path,camera", "a.jpg,1")
    (tmp_path / "camera_1").mkdir()
    given = str(tmp_path / "lists" / "mine.csv") if absolute else "lists/mine.csv"
    dataset = folder(tmp_path, manifest=given)
    assert dataset.train == (Record(str(tmp_path / "lists" / "c.jpg"), UNLABELLED, 4),)
    assert folder(tmp_path).train[0].camera == 1


ALL = "path,camera,person,split"


def test_query_and_gallery_alone_are_enough(tmp_path):
    dataset = folder(write(tmp_path, ALL, "a.jpg,1,3,query", "b.jpg,2,3,gallery"))
    assert (dataset.train, shown(dataset.query), shown(dataset.gallery)) == ((), [("a.jpg", 3, 1)], [("b.jpg", 3, 2)])


def test_further_columns_are_left_alone_and_told(tmp_path):
    dataset = folder(write(tmp_path, "time,path,camera,track", "09:00,a.jpg,1,17", "09:01,b.jpg,2,17"))
    assert shown(dataset.train) == [("a.jpg", UNLABELLED, 1), ("b.jpg", UNLABELLED, 2)]
    remark, _ = dataset.remarks
    assert remark.startswith("columns time, track of ") and remark.endswith("path, camera, person, split are")


@pytest.mark.parametrize(
    "lines, message",
    [
        ([], r"manifest.csv: columns \(none\)\nexpected path and camera.*\nrename .* one camera took all, .* the same"),
        (["path,person", "a.jpg,1"], "columns path, person\nexpected path and camera, and person and split if"),
        (["path;camera", "a.jpg;1"], "columns path;camera\nexpected path and camera, .* between commas\n"),
        (
            ["path,camera,persons", "a.jpg,1,2"],
            r"camera, persons \(persons: did you mean person\?\)\nexpected .*\nrename",
        ),
        (["path,Camera", "a.jpg,1"], r"columns path, Camera \(Camera: did you mean camera\?\)\n"),
        (["path,camera,camera", "a.jpg,1,2"], "columns path, camera, camera\n"),
        (["path,camera"], "0 train, 0 query, 0 gallery crops\nexpected train crops, or query"),
        (["path,camera", "a.jpg,1", "", "b.jpg"], "manifest.csv, line 4: 1 fields\nexpected 2: path, camera\n"),
        (
            ["path,camera", "a,b.jpg,1"],
            'line 2: 3 fields\nexpected 2: .*\nmend the line; a path with a comma stands in ""',
        ),
        (["path,camera", "a.jpg,1", 'b.jpg,"2'], "line 3: unexpected end of data\nexpected fields between commas"),
        (["path,camera", ",1"], "line 2: no path\n"),
        (["path,camera", "a.jpg, "], "line 2: no camera\n"),
        (["path,camera", "a.jpg,1", "b.jpg,-2"], "line 3: camera -2\nexpected a number from 0 on, or a name"),
        ([ALL, "a.jpg,1,5,test"], "line 2: split test\nexpected train, query, gallery, or nothing"),
        ([ALL, "a.jpg,1,-2,"], "line 2: person -2\nexpected a number from 1 on, .*\n.*leave person empty"),
        ([ALL, "a.jpg,1,0,"], "line 2: person 0 in train\nexpected persons from 1 on"),
        ([ALL, "a.jpg,1,3,", "b.jpg,1,,query"], "line 3: no person in query\nexpected one in every query and gallery"),
        (
            [ALL, "a.jpg,1,,", "b.jpg,1,3,query"],
            "1 train, 1 query, 0 gallery crops\nexpected train crops, or query and",
        ),
        ([ALL, "a.jpg,1,,", "b.jpg,1,3,gallery"], "1 train, 0 query, 1 gallery crops\n"),
        (
            ["path,camera", "a.jpg,1", "b.jpg,1", "./a.jpg,2"],
            r"line 4: .*/a.jpg stands in .*manifest.csv, line 2 already\nexpected every image once",
        ),
        (
            ["path,camera", "a.jpg,1", "x/y.jpg,1", "z.jpg,2"],
            r"2 of 3 listed files are missing, first: .*/x/y.jpg\nexpected a file there: it stands in .*, line 3\n",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        folder(write(tmp_path, *lines))


def test_other_encodings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="manifest.csv: not UTF-8 .*\nexpected UTF-8\nsave it as such"):
        folder(write(tmp_path, "path,camera", "a.jpg,Eingang früh", encoding="latin-1"))


def test_a_manifest_that_is_given_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="mine.csv: no such file\nexpected a manifest there"):
        folder(write(tmp_path, "path,camera", "a.jpg,1"), manifest="mine.csv")


def test_spaces_around_fields_do_not_count(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "manifest.csv").write_text("path , camera , person\na.jpg , 3 , 7 \n")
    (record,) = folder(tmp_path).train
    assert (record.path, record.camera, record.person) == (str(tmp_path / "a.jpg"), 3, 7)
