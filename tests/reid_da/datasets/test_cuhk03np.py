"""CUHK03-NP's reader, where it differs from Market-1501's: two sets of boxes."""

import pytest

from reid_da.datasets.cuhk03np import BOXES, PUBLISHED, cuhk03np
from reid_da.records import SPLITS, Record

FILES = {
    "bounding_box_train": ["0001_c1_1.png", "0001_c2_10.png"],
    "query": ["0768_c1_3.jpg"],
    "bounding_box_test": ["0768_c2_5.png"],
}


def lay_out(root, boxes=BOXES):
    for kind in boxes:
        for folder, names in FILES.items():
            (root / kind / folder).mkdir(parents=True)
            for name in names:
                (root / kind / folder / name).touch()
    return root


@pytest.mark.parametrize("inside", ["", "cuhk03-np"])
@pytest.mark.parametrize("boxes", BOXES)
def test_reads_the_boxes_asked_for(tmp_path, inside, boxes):
    home = lay_out(tmp_path / inside)
    dataset = cuhk03np(tmp_path, boxes)
    train = home / boxes / "bounding_box_train"
    assert dataset.train == (Record(str(train / "0001_c1_1.png"), 1, 1), Record(str(train / "0001_c2_10.png"), 1, 2))
    assert [(record.person, record.camera) for record in dataset.query + dataset.gallery] == [(768, 1), (768, 2)]
    assert (dataset.name, dataset.num_junk, dataset.unmatched) == (f"cuhk03np {boxes}", 0, ())


def test_detected_boxes_unless_told_otherwise(tmp_path):
    lay_out(tmp_path)
    assert cuhk03np(tmp_path) == cuhk03np(tmp_path, "detected") != cuhk03np(tmp_path, "labeled")


def test_one_kind_of_boxes_is_never_taken_for_the_other(tmp_path):
    lay_out(tmp_path, ["detected"])
    for root in (tmp_path, tmp_path / "detected"):
        with pytest.raises(
            ValueError, match="no folder labeled/bounding_box_train, .*\nexpected .* in a sub-folder cuhk03-np\n"
        ):
            cuhk03np(root, "labeled")


def test_other_boxes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="boxes is drawn; expected detected or labeled"):
        cuhk03np(tmp_path, "drawn")


def test_published_sizes_cover_every_split_of_both():
    assert list(PUBLISHED) == [f"cuhk03np {boxes}" for boxes in BOXES]
    assert all(tuple(sizes) == SPLITS for sizes in PUBLISHED.values())
