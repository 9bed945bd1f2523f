"""search.py: the nearest crops of a query, by whatever model, and what is refused in a line."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from started import FEW_PERSONS

from pipelines import options, search, searching
from pipelines.cache import Given, Stage
from pipelines.training import trained_method
from reid_da.augment import normalise
from reid_da.decoding import decode
from reid_da.images import ImageStore
from reid_da.retrieval import embed

pytestmark = pytest.mark.slow


@pytest.fixture
def searched(tell, trained) -> Callable:
    """searched(*options): exit code, output and errors of search.py with the model on small drawn worlds."""
    return partial(tell, search, f"model={trained}", *FEW_PERSONS)


def found(work_dir: Path) -> dict:
    (path,) = (work_dir / "searches").glob("*/answers.json")
    assert Image.open(path.with_name("answers.png")).width > 100
    return json.loads(path.read_text())


def test_the_nearest_are_those_of_all_distances(trained, searched, tmp_path):
    """Training crops of cameras of one's own; the query is one of them, and not its own answer."""
    code, _, errors = searched("target=folder", "query=nowhere.jpg")
    assert code == 2 and "query=nowhere.jpg is not there" in errors and not (tmp_path / "out").exists()
    (tmp_path / "first.png").write_bytes(b"")
    code, _, errors = searched("target=folder", f"query={tmp_path / 'first.png'}")
    assert code == 2 and "first.png cannot be read" in errors, "an empty file"
    data = next((tmp_path / "out" / "cache" / "data").glob("*/train")).parent
    features = next((tmp_path / "out" / "cache" / "features").glob("*/features.npy"))
    made, store = features.stat().st_mtime_ns, ImageStore(data / "train")
    code, told, errors = searched("target=folder", f"query={store.paths[7]}", "k=4")
    assert code == 0 and features.stat().st_mtime_ns == made, errors

    rows = embed(trained_method(trained), store, normalise).double().numpy()
    np.testing.assert_allclose(np.load(features), rows, atol=1e-6)
    distances = np.sqrt(((rows - rows[7]) ** 2).sum(1))
    answers = found(tmp_path / "out")
    (answer,) = answers["answers"]
    assert (answers["among"], answers["crops"], answers["method"]) == ("train", len(store), "baseline")
    assert answer["query"] == store.paths[7] and [crop["rank"] for crop in answer["nearest"]] == [1, 2, 3, 4]
    expected = [row for row in np.argsort(distances, kind="stable") if row != 7][:4]
    np.testing.assert_allclose([crop["distance"] for crop in answer["nearest"]], distances[expected], atol=2e-3)
    for crop in answer["nearest"]:
        assert crop["path"] == store.paths[crop["row"]] and crop["camera"] == store.cameras[crop["row"]]
        assert crop["person"] is None and f"{crop['distance']:.3f}  camera {crop['camera']} " in told


def test_some_cameras_crops_alone(trained, searched, tmp_path):
    code, _, errors = searched("target=folder", "query=nowhere.jpg", "cameras=3")
    assert code == 2 and "cameras is 3; expected a list such as cameras=[3,7]" in errors
    Image.new("RGB", (8, 16), "red").save(tmp_path / "crop.jpg")
    code, _, errors = searched("target=folder", f"query={tmp_path / 'crop.jpg'}", "cameras=[4]")
    assert code == 2 and "cameras has 4, of which there is no crop; expected some of 3, 7, 12" in errors
    assert not (tmp_path / "out" / "searches").exists()
    code, _, errors = searched("target=folder", f"query={tmp_path / 'crop.jpg'}", "cameras=[12,3]", "k=10000")
    assert code == 0, errors
    store = ImageStore(next((tmp_path / "out" / "cache" / "data").glob("*/train")))
    (answer,) = found(tmp_path / "out")["answers"]
    assert sorted(crop["row"] for crop in answer["nearest"]) == np.flatnonzero(store.cameras != 7).tolist()
    assert all(crop["camera"] == store.cameras[crop["row"]] for crop in answer["nearest"])


def test_features_are_made_again_with_the_data_that_they_are_of(searched, tmp_path):
    Image.new("RGB", (8, 16), "red").save(tmp_path / "crop.jpg")

    def made(*more: str) -> int:
        code, _, errors = searched("target=folder", f"query={tmp_path / 'crop.jpg'}", *more)
        assert code == 0, errors
        (features,) = (tmp_path / "out" / "cache" / "features").glob("*/features.npy")
        return features.stat().st_mtime_ns

    first = made()
    assert made() == first < made("force=[data]")


def test_a_folder_of_queries_among_a_gallery_of_known_persons(trained, searched, tmp_path):
    """Below the folder, too, and no file that is no image; more crops are asked for than there are."""
    folder = tmp_path / "who (ö)"
    (folder / "below").mkdir(parents=True)
    (folder / "notes.txt").write_text("no image")
    for name, colour in (("one.jpg", "red"), ("below/two.PNG", "blue")):
        Image.new("RGB", (20, 50), colour).save(folder / name)
    code, told, errors = searched("target=msmt17", f"query={folder}", "k=10000")
    assert code == 0, errors
    answers = found(tmp_path / "out")
    gallery = ImageStore(next((tmp_path / "out" / "cache" / "data").glob("*/gallery")))
    assert [Path(one["query"]).name for one in answers["answers"]] == ["two.PNG", "one.jpg"]
    for one in answers["answers"]:
        assert sorted(crop["row"] for crop in one["nearest"]) == list(range(len(gallery)))
        assert all(crop["person"] == gallery.persons[crop["row"]] for crop in one["nearest"])
        picture = decode(one["query"], 32, 16, "bicubic")[0]
        features = embed(trained_method(trained), Pictures(picture[None]), normalise)
        nearest = (embed(trained_method(trained), gallery, normalise) - features).norm(dim=1).min()
        assert one["nearest"][0]["distance"] == pytest.approx(float(nearest), abs=2e-3)
    assert "crops of msmt17 (gallery), 32x16 pixels" in told


class Pictures(list):
    """What embed takes for a store."""

    @property
    def images(self):
        return np.stack(self)


BAD = {
    "no model": (["model=", "target=duke", "query=x"], "which model?"),
    "no query": (["target=duke"], "which crop? give query=/path"),
    "no crop": (["target=duke", "query=x", "k=0"], "k is 0; expected a whole number"),
    "no place": (["target=duke", "query=x", "among=all"], "among is all; expected gallery or train"),
    "no image": (["target=duke", "query=."], "query=. holds no image"),
    "no gallery": (["target=folder", "query=crop.jpg", "among=gallery"], "among=gallery: folder has no gallery"),
    "a training's option": (["target=duke", "query=crop.jpg", "hhl.beta=1"], "hhl.beta=1: the model is trained"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, searched, tmp_path, monkeypatch):
    arguments, expected = BAD[case]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if "query=crop.jpg" in arguments:
        Image.new("RGB", (8, 16)).save("crop.jpg")
    code, _, errors = searched(*arguments)
    assert code == 2 and expected in errors and errors.count("\n") == 1, errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("judged", "images", "among", "split"),
    [(True, 0, None, "gallery"), (False, 5, None, "train"), (True, 5, "train", "train"), (True, 5, None, "gallery")],
)
def test_the_gallery_is_searched_where_there_is_one_unless_told_otherwise(judged, images, among, split):
    data = Stage("data", "data mall", {}, about={"judged": judged, "images": images, "dataset": "mall"})
    assert searching.plan(Given("hhl", "hhl", {}), data, {"among": among})[-1].settings == {"split": split}


def test_training_crops_that_are_not_there_are_not_searched():
    data = Stage("data", "data mall", {}, about={"judged": True, "images": 0, "dataset": "mall"})
    with pytest.raises(ValueError, match="among=train: mall has no training crops; expected among=gallery"):
        searching.plan(Given("hhl", "hhl", {}), data, {"among": "train"})


def test_a_camera_goes_by_its_number_and_by_its_name(world, tmp_path):
    (tmp_path / "train").symlink_to(world.folder / "target")
    one, other, *_ = world.target.camera_names.tolist()
    (tmp_path / "result.json").write_text(json.dumps({"camera_names": {str(other): "hall"}}))
    data = Given("data", "data", {}, known="0", place=str(tmp_path))
    features = Stage("features", "features", {"split": "train"}, {"target": data})
    cameras = world.target.cameras
    assert searching.rows(features, tmp_path, ["hall"]).tolist() == np.flatnonzero(cameras == other).tolist()
    both = np.flatnonzero((cameras == one) | (cameras == other)).tolist()
    assert searching.rows(features, tmp_path, ["hall", one]).tolist() == both
    with pytest.raises(ValueError, match=rf"cameras has gate, of which .* expected some of {one}, {other} \(hall\)"):
        searching.rows(features, tmp_path, ["gate"])


@pytest.mark.parametrize("k", [2.5, True, "many", 0])
def test_how_many_is_a_whole_number(k):
    own = options.composed("search", []) | {"model": "/m", "query": "/q", "given": []}
    searching.check(own)
    with pytest.raises(ValueError, match=f"k is {k}; expected a whole number, 1 or more"):
        searching.check(own | {"k": k})
