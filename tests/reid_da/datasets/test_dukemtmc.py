"""DukeMTMC-reID's reader, where it differs from Market-1501's."""

import pytest

from reid_da.datasets.dukemtmc import PUBLISHED, dukemtmc
from reid_da.records import SPLITS

FILES = {
    "bounding_box_train": "0001_c2_f0046182.jpg",
    "query": "0005_c8_f0051341.jpg",
    "bounding_box_test": "7140_c5_f0046182.jpg",
}


@pytest.mark.parametrize("inside", ["", "DukeMTMC-reID"])
def test_reads_the_official_names(tmp_path, inside):
    for folder, name in FILES.items():
        (tmp_path / inside / folder).mkdir(parents=True)
        (tmp_path / inside / folder / name).touch()
    dataset = dukemtmc(tmp_path)
    read = [(r.person, r.camera) for split in SPLITS for r in getattr(dataset, split)]
    assert read == [(1, 2), (5, 8), (7140, 5)]
    assert (dataset.name, dataset.num_junk, dataset.unmatched) == ("dukemtmc", 0, ())


def test_an_empty_split_quotes_a_name_of_this_data_set(tmp_path):
    for folder in FILES:
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match="expected images .* named like 0001_c2_f0046182.jpg"):
        dukemtmc(tmp_path)


def test_published_sizes_cover_every_split():
    assert tuple(PUBLISHED) == SPLITS
