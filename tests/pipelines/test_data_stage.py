"""What the data stage makes of a data set as it was read: its fingerprint, and what is told or refused of it."""

import os

import pytest

from pipelines import data_stage, files, options
from pipelines.graph import VERSIONS
from reid_da.records import Dataset, Record


@pytest.fixture
def listed(tmp_path):
    """A data set of one image and the list that says what it shows."""
    (tmp_path / "a.jpg").write_bytes(b"picture")
    (tmp_path / "list.txt").write_text("a.jpg 1")
    return Dataset("listed", (Record(str(tmp_path / "a.jpg"), 1, 1),), (), (), lists=(str(tmp_path / "list.txt"),))


def test_another_list_is_another_data_set(listed):
    before = data_stage.fingerprint(listed)
    assert data_stage.fingerprint(listed) == before
    for path in (listed.train[0].path, listed.lists[0]):
        os.utime(path, ns=(0, 0))
        assert data_stage.fingerprint(listed) != before
        before = data_stage.fingerprint(listed)


def test_images_of_which_nothing_tells_stop_a_run_unless_left_out():
    strange = Dataset("strange", (), (), (), unmatched=("x/Thumbs.db", "x/holiday.JPG", "x/sea.webp"))
    (line,) = data_stage.unmatched(strange, skip=False)
    assert line.startswith(
        "2 images whose names match no pattern and stand in no list, x/holiday.JPG first; expected names such as "
    )
    assert data_stage.unmatched(strange, skip=True) == []


@pytest.mark.parametrize("boxes, published", [("detected", 7365), ("labeled", 7368)])
def test_published_sizes_are_those_of_the_boxes(boxes, published):
    reader = {"_target_": "reid_da.datasets.cuhk03np.cuhk03np", "boxes": boxes}
    lines = data_stage.notes("cuhk03np", Dataset(f"cuhk03np {boxes}", (), (), ()), reader)
    assert lines[0] == f"cuhk03np, train: 0 images of 0 persons; published {published} of 767"
    assert len(lines) == 3


def test_a_manifest_without_a_folder_is_not_read_beside_a_drawn_world():
    settings = options.compose(["source=market", "target=folder", "target.reader.manifest=/data/mine.csv"])
    with pytest.raises(ValueError, match="target.reader.manifest is /data/mine.csv; .* target.root=/path"):
        data_stage.data_root(settings, "target")


@pytest.mark.parametrize("name, cameras", [("msmt17", 15), ("cuhk03np", 2), ("folder", 3)])
def test_training_files_of_worlds_to_be_drawn(name, cameras):
    settings = options.compose(["source=market", f"target={name}"])
    files = data_stage.training_files(settings, "target")
    assert len({camera for _, camera in files}) == cameras and len(files) > 700


@pytest.mark.slow
@pytest.mark.parametrize("role, known", [("source", "c8fa0b3574ec9d25"), ("target", "4e4e8297a51f83aa")])
def test_without_a_long_tail_a_drawn_set_is_the_one_of_before(role, known):
    """Its hash before there was data.world.long_tail. Changes on purpose only, with VERSIONS."""
    plain, thin = (
        options.compose(["source=market", "target=duke", f"data.world.long_tail={share}"]) for share in (0, 0.5)
    )
    stage, other = (data_stage.data_stage(settings, role, VERSIONS["data"]) for settings in (plain, thin))
    assert stage.hash == known != other.hash
    assert len(data_stage.training_files(thin, role)) < len(data_stage.training_files(plain, role))
    told = "50 % of the training persons have two or three images (data.world.long_tail)"
    assert told in other.about["notes"][0] and not stage.about["notes"]


def test_many_files_are_looked_at_in_order(tmp_path):
    for size in range(40):
        (tmp_path / str(size)).write_bytes(b"x" * size)
    paths = [str(tmp_path / str(size)) for size in range(40)]
    assert [status.st_size for status in files.statuses(paths)] == list(range(40))


def test_a_drawn_source_beside_real_crops_is_said_to_be_for_trying(tmp_path):
    (tmp_path / "camera_1").mkdir()
    (tmp_path / "camera_1" / "a.jpg").touch()
    real = options.compose(["source=market", "target=folder", f"target.root={tmp_path}"])
    (line,) = data_stage.data_stage(real, "source", VERSIONS["data"]).about["notes"]
    assert line.startswith("market: drawn people, no photographs") and "source.root=/path, and recipe=paper" in line


def test_query_and_gallery_alone_judge_a_model_and_adapt_none(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,camera,person,split,hour\na.jpg,1,7,query,9\nb.jpg,2,7,gallery,9\n")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    settings = options.compose(["source=market", "target=folder", f"target.root={tmp_path}"])
    stage = data_stage.data_stage(settings, "target", VERSIONS["data"], judging=True)
    assert stage.about["judged"] and stage.about["notes"][0].startswith("folder: columns hour of ")
    with pytest.raises(ValueError, match="folder: no training images, so there is nothing to adapt to; .*/evaluate.py"):
        data_stage.data_stage(settings, "target", VERSIONS["data"])


def test_a_long_tail_out_of_its_range_is_refused():
    settings = options.compose(["source=market", "target=duke", "data.world.long_tail=1"])
    with pytest.raises(ValueError, match="data.world.long_tail is 1.0; expected 0 .no tail. to below 1, such as 0.5"):
        data_stage.data_stage(settings, "source", VERSIONS["data"])
