"""MSMT17's reader: lists, persons numbered through, cameras from the names, and what is wrong with a list."""

import pytest

from reid_da.datasets.msmt17 import PUBLISHED, msmt17
from reid_da.records import SPLITS, Counts, Record

TRAIN = ["0000/0000_000_01_0303morning_0015_0.jpg", "0000/0000_001_15_0303noon_0020_0.jpg"]
VAL = ["0002/0002_002_07_0303morning_0033_1.jpg"]
QUERY = ["0000/0000_000_02_0303morning_0040_0.jpg"]
GALLERY = ["0000/0000_001_03_0303morning_0050_0.jpg", "0001/0001_000_03_0303morning_0060_0.jpg"]
LISTS = {"train": TRAIN, "val": VAL, "query": QUERY, "gallery": GALLERY}


def lay_out(root, folders=("train", "test"), **lines):
    """The lists' images, and the lists; `lines` are other lines of a list."""
    for name, paths in LISTS.items():
        for path in paths:
            image = root / folders[name in ("query", "gallery")] / path
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        content = lines.get(name, [f"{path} {int(path[:4])}" for path in paths])
        (root / f"list_{name}.txt").write_text("".join(f"{line}\n" for line in content))
    return root


@pytest.mark.parametrize("inside", ["", "MSMT17_V1"])
def test_reads_lists_and_numbers_persons_through(tmp_path, inside):
    home = lay_out(tmp_path / inside)
    dataset = msmt17(tmp_path)
    assert dataset.train == (
        Record(str(home / "train" / TRAIN[0]), 1, 1),
        Record(str(home / "train" / TRAIN[1]), 1, 15),
        Record(str(home / "train" / VAL[0]), 3, 7),
    )
    assert [(record.person, record.camera) for record in dataset.query] == [(4, 2)]
    assert [(record.person, record.camera) for record in dataset.gallery] == [(4, 3), (5, 3)]
    assert dataset.counts()["train"] == Counts(images=3, persons=2, cameras=3)
    assert (dataset.name, dataset.num_junk, dataset.unmatched) == ("msmt17", 0, ())
    assert dataset.lists == tuple(str(home / f"list_{name}.txt") for name in LISTS)


@pytest.mark.parametrize("inside", ["", "MSMT17_V2"])
def test_reads_the_second_version(tmp_path, inside):
    home = lay_out(tmp_path / inside, ("mask_train_v2", "mask_test_v2"))
    assert msmt17(tmp_path).query[0].path == str(home / "mask_test_v2" / QUERY[0])


def test_the_order_of_lines_and_their_ends_are_nothing(tmp_path):
    lay_out(tmp_path / "one")
    lay_out(tmp_path / "other", train=[f"./{TRAIN[1]}  0\r", "", f"{TRAIN[0]} 0 "])
    one, other = (msmt17(tmp_path / name) for name in ("one", "other"))
    assert [r.path.removeprefix(str(tmp_path / "other")) for r in other.train] == [
        r.path.removeprefix(str(tmp_path / "one")) for r in one.train
    ]


def test_spaces_and_other_scripts_in_names(tmp_path):
    names = ["0000/0000_000_04_früh am Tag_1.jpg"]
    lay_out(tmp_path, train=[f"{names[0]} 0"])
    (tmp_path / "train" / names[0]).touch()
    dataset = msmt17(tmp_path)
    assert dataset.train[0] == Record(str(tmp_path / "train" / names[0]), 1, 4)


def test_what_no_list_names_is_told(tmp_path):
    lay_out(tmp_path, train=[f"{TRAIN[0]} 0"])
    (tmp_path / "test" / "Thumbs.db").touch()
    assert msmt17(tmp_path).unmatched == (str(tmp_path / "test" / "Thumbs.db"), str(tmp_path / "train" / TRAIN[1]))


@pytest.mark.parametrize(
    "lines, message",
    [
        ({"val": [f"{VAL[0]} 2", VAL[0]]}, r"list_val.txt, line 2: '0002/.*jpg'\nexpected path and pid, such as 0000/"),
        ({"query": [f"{QUERY[0]} -1"]}, r"list_query.txt, line 1: .*\nexpected path and pid"),
        (
            {"train": ["0000/0000_000.jpg 0"]},
            r"list_train.txt, line 1: no camera in 0000/0000_000.jpg\nexpected .*third _",
        ),
        ({"train": ["0000/0000_000_x1_a.jpg 0"]}, r"list_train.txt, line 1: no camera in 0000/0000_000_x1_a.jpg\n"),
        ({"gallery": []}, r"list_gallery.txt: names no image\nexpected lines such as"),
        ({"gallery": [f"{QUERY[0]} 0"]}, r"list_gallery.txt, line 1: .* stands in .*list_query.txt, line 1 already\n"),
        (
            {"val": [f"{VAL[0]} 2", "0009/0009_000_01_a.jpg 9", "0009/0009_000_02_a.jpg 9"]},
            r"2 of 8 listed files are missing, first: .*train/0009/0009_000_01_a.jpg\nexpected .*list_val.txt, line 2\n",
        ),
    ],
)
def test_a_list_that_is_wrong_is_refused_by_its_line(tmp_path, lines, message):
    lay_out(tmp_path, **lines)
    with pytest.raises(ValueError, match=message):
        msmt17(tmp_path)


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list_is_refused_by_name(tmp_path, name):
    lay_out(tmp_path)
    (tmp_path / f"list_{name}.txt").unlink()
    with pytest.raises(ValueError, match=f"list_{name}.txt: no such list\nexpected list_train.txt, list_val.txt, "):
        msmt17(tmp_path)


@pytest.mark.parametrize("there, missing", [([], "train, test: it does not exist"), (["train"], "test")])
def test_a_missing_folder_is_refused_by_name(tmp_path, there, missing):
    for folder in there:
        (tmp_path / "root" / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=f"no folder {missing}\nexpected train, test, there or in .* MSMT17_V1\n"):
        msmt17(tmp_path / "root")


def test_published_sizes_cover_every_split():
    assert tuple(PUBLISHED) == SPLITS
