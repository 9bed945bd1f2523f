"""The three-folder layout by Market-1501's reader: what is read, passed over, counted and refused."""

import pytest

from reid_da.datasets.market1501 import PUBLISHED, market1501
from reid_da.records import SPLITS, Counts, Record

FILES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c12s3_077419_03.JPG", "0007_c2s1_000001_01.jpeg"],
    "query": ["0001_c1s1_001051_00.png"],
    "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c3s1_000551_01.jpg", "0001_c2s1_000301_01.jpg"],
}


def lay_out(root, files):
    for folder, names in files.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()


@pytest.mark.parametrize("inside", ["", "Market-1501-v15.09.15"])
def test_reads_persons_and_cameras_of_any_number_of_digits(tmp_path, inside):
    lay_out(tmp_path / inside, FILES)
    dataset = market1501(tmp_path)
    train = tmp_path / inside / "bounding_box_train"
    assert dataset.train == (
        Record(str(train / "0002_c1s1_000451_03.jpg"), 2, 1),
        Record(str(train / "0007_c12s3_077419_03.JPG"), 7, 12),
        Record(str(train / "0007_c2s1_000001_01.jpeg"), 7, 2),
    )
    assert [(record.person, record.camera) for record in dataset.query] == [(1, 1)]
    assert dataset.name == "market1501" and dataset.unmatched == ()


def test_junk_is_dropped_and_counted_and_distractors_stay(tmp_path):
    lay_out(tmp_path, FILES)
    dataset = market1501(tmp_path)
    assert [(record.person, record.camera) for record in dataset.gallery] == [(0, 3), (1, 2)]
    assert dataset.num_junk == 1
    assert dataset.counts()["gallery"] == Counts(images=2, persons=1, cameras=2)


def test_what_no_pattern_matches_is_listed(tmp_path):
    strange = [
        "Thumbs.db",
        "0002.jpg",
        "x_c1s1.jpg",
        "0002_c1s1_000451_03.txt",
        "-2_c1s1_000451_03.jpg",
        "._0002_c1.jpg",
    ]
    lay_out(tmp_path, {**FILES, "query": FILES["query"] + strange})
    (tmp_path / "bounding_box_train" / "0003_c1s1_000451_03.jpg").mkdir()
    dataset = market1501(tmp_path)
    expected = [tmp_path / "query" / name for name in strange]
    expected.append(tmp_path / "bounding_box_train" / "0003_c1s1_000451_03.jpg")
    assert dataset.unmatched == tuple(sorted(map(str, expected)))
    assert dataset.counts()["query"].images == 1


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_folder_is_refused_by_name(tmp_path, missing):
    lay_out(tmp_path, {folder: names for folder, names in FILES.items() if folder != missing})
    with pytest.raises(ValueError, match=f"no folder {missing}\nexpected .*Market-1501-v15.09.15\nset "):
        market1501(tmp_path)


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no folder .*: it does not exist\nexpected"):
        market1501(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "query: nothing in it\nexpected images"),
        (["-1_c1s1_000401_03.jpg"], "1 images, all of them junk"),
        (["Thumbs.db", "person2.jpg"], "2 files, none named like 0002_c1s1_.*, first: person2.jpg\n"),
        (["0000_c1s1_000401_03.jpg"], "1 images of person 0, first: 0000_c1s1_000401_03.jpg\nexpected persons from 1"),
    ],
)
def test_a_split_without_a_usable_image_is_refused(tmp_path, names, message):
    lay_out(tmp_path, {**FILES, "query": names})
    with pytest.raises(ValueError, match=message):
        market1501(tmp_path)


def test_published_sizes_cover_every_split():
    assert tuple(PUBLISHED) == SPLITS
    assert PUBLISHED["gallery"] == (19732 - 3819, 750)
