"""The drawn worlds: their layout by the real sets' readers, their bytes, and one picture by several cameras."""

import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from reid_da.datasets.cuhk03np import cuhk03np
from reid_da.datasets.dukemtmc import dukemtmc
from reid_da.datasets.folder import folder
from reid_da.datasets.market1501 import market1501
from reid_da.datasets.msmt17 import msmt17
from reid_da.datasets.synthetic import can_redraw, draw, redraw, training_files
from reid_da.datasets.worlds import WORLDS
from reid_da.records import SPLITS, UNLABELLED

READERS = {"market": market1501, "duke": dukemtmc, "msmt17": msmt17, "cuhk03np": cuhk03np, "folder": folder}
LABELLED = [world for world in WORLDS if world != "folder"]
MEANS = {"market": [138.08, 129.49, 106.68], "duke": [109.13, 94.55, 91.87]}  # red, green, blue of all pixels
SIZES = {"train_persons": 8, "test_persons": 3}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """world -> (world, root, data set), drawn when asked for."""
    made = {}

    def make(world):
        if world not in made:
            root = tmp_path_factory.mktemp(world)
            draw(world, root, seed=3, **sizes(world))
            made[world] = world, root, READERS[world](root)
        return made[world]

    return make


@pytest.fixture(params=WORLDS)
def drawn(request, worlds):
    return worlds(request.param)


@pytest.fixture(params=LABELLED)
def labelled(request, worlds):
    """A world whose names tell the persons."""
    return worlds(request.param)


def sizes(world):
    """Persons enough for each camera to see one in training."""
    return SIZES | {"train_persons": max(8, len(WORLDS[world].cameras))}


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.*"))}


def images(root):
    return {name: content for name, content in contents(root).items() if not name.endswith(".txt")}


@pytest.mark.slow
def test_the_reader_finds_every_file(drawn):
    world, root, dataset = drawn
    records = dataset.train + dataset.query + dataset.gallery
    assert dataset.unmatched == ()
    assert len(records) + dataset.num_junk == len(images(root))
    assert dataset.num_junk == (world == "market")
    assert {record.camera for record in dataset.train} == set(WORLDS[world].cameras)
    assert all(Image.open(record.path).size == (64, 128) for record in records)


def test_persons_of_training_and_test_are_apart(labelled):
    world, _, dataset = labelled
    train, query, gallery = ({record.person for record in getattr(dataset, split)} for split in SPLITS)
    assert (len(train), len(query)) == tuple(sizes(world).values())
    assert not train & (query | gallery)
    assert {"market": {0} == gallery - query, "duke": len(gallery - query) == 3}.get(world, gallery == query)
    assert query <= gallery


def test_ones_own_cameras_tell_no_person_and_have_no_test(worlds):
    _, root, dataset = worlds("folder")
    assert {record.person for record in dataset.train} == {UNLABELLED}
    assert {path.name for path in root.iterdir()} == {"camera_3", "camera_7", "camera_12"}
    assert (dataset.query, dataset.gallery) == ((), ())


def test_msmt17_has_validation_images_and_persons_from_0_on_either_side(worlds):
    _, root, _ = worlds("msmt17")
    persons = {}
    for name in ("train", "val", "query", "gallery"):
        lines = (root / f"list_{name}.txt").read_text().splitlines()
        persons[name] = {int(line.split()[1]) for line in lines}
        assert all(line.startswith(f"{int(line.split()[1]):04d}/") for line in lines)
    assert persons["train"] | persons["val"] == set(range(15)) and persons["val"] < persons["train"]
    assert persons["query"] == persons["gallery"] == {0, 1, 2}


def test_cuhk03np_is_not_jpeg(worlds):
    _, root, dataset = worlds("cuhk03np")
    assert dataset.train[0].path.startswith(str(root / "cuhk03-np" / "detected" / "bounding_box_train"))
    assert Image.open(dataset.train[0].path).format == "PNG"


@pytest.mark.parametrize("world, names", [("market", "e8571858a6eced0e"), ("duke", "044f410ec70ef1c5")])
def test_the_first_two_worlds_stay_as_they_were(worlds, world, names):
    """Measured results rest on them. Names are pinned to the letter, pixels up to what a decoder may differ in."""
    _, root, _ = worlds(world)
    found = contents(root)
    assert hashlib.sha256("".join(f"{name}\n" for name in found).encode()).hexdigest().startswith(names)
    mean = np.mean(
        [np.asarray(Image.open(io.BytesIO(content))).mean(axis=(0, 1)) for content in found.values()], axis=0
    )
    assert mean == pytest.approx(MEANS[world], abs=0.2)


def test_training_files_are_those_that_the_reader_finds(drawn):
    world, root, dataset = drawn
    expected = [(os.path.relpath(record.path, root), record.camera) for record in dataset.train]
    assert training_files(world, seed=3, **sizes(world)) == expected


def test_each_query_is_alone_in_its_camera_and_found_by_another(labelled):
    _, _, dataset = labelled
    asked = [(record.person, record.camera) for record in dataset.query]
    assert len(set(asked)) == len(asked)
    for person, camera in asked:
        assert any(r.person == person and r.camera != camera for r in dataset.gallery)


@pytest.mark.slow
def test_the_seed_decides_every_byte(drawn, tmp_path):
    world, root, _ = drawn
    calls = []
    draw(world, tmp_path / "same", seed=3, **sizes(world), progress=lambda *call: calls.append(call))
    draw(world, tmp_path / "other", seed=4, train_persons=1, test_persons=1)
    assert contents(tmp_path / "same") == contents(root)
    assert calls == [(n, len(calls)) for n in range(1, len(images(root)) + 1)]
    assert not set(images(tmp_path / "other").values()) & set(images(root).values())


def test_a_long_tail_leaves_two_or_three_images_of_half_the_persons_and_all_else(drawn, tmp_path):
    world, root, _ = drawn
    calls = []
    draw(world, tmp_path, seed=3, **sizes(world), long_tail=0.5, progress=lambda *call: calls.append(call))
    whole, thinned, dataset = images(root), images(tmp_path), READERS[world](tmp_path)
    assert thinned.items() < whole.items(), "what is left is as it was, byte by byte"
    assert calls == [(n, len(thinned)) for n in range(1, len(thinned) + 1)]
    kept = [(os.path.relpath(record.path, tmp_path), record.camera) for record in dataset.train]
    assert training_files(world, seed=3, **sizes(world), long_tail=0.5) == kept
    names = [name for name in whole if name not in thinned]
    assert len(names) == len(training_files(world, seed=3, **sizes(world))) - len(kept), "of training alone"


def cameras_of(records):
    """Person -> the cameras of her images."""
    found = {}
    for record in records:
        found.setdefault(record.person, []).append(record.camera)
    return found


@pytest.mark.parametrize("world", LABELLED)
def test_who_is_of_the_tail_keeps_two_or_three_images_of_two_cameras(worlds, tmp_path, world):
    draw(world, tmp_path, seed=3, **sizes(world), long_tail=0.5)
    before, after = (cameras_of(dataset.train) for dataset in (worlds(world)[2], READERS[world](tmp_path)))
    assert before.keys() == after.keys()
    thin = [person for person in before if before[person] != after[person]]
    assert len(thin) <= round(0.5 * len(before)) <= sum(len(cameras) <= 3 for cameras in after.values())
    assert thin and {len(after[person]) for person in thin} <= {2, 3}
    assert all(len(set(cameras)) > 1 for cameras in after.values())


def test_a_share_that_leaves_nobody_whole_is_refused(tmp_path):
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"data.world.long_tail is {share}; expected 0 .no tail. to below 1"):
            draw("market", tmp_path, seed=3, **SIZES, long_tail=share)


def test_redrawn_by_its_own_camera_it_is_the_file(labelled):
    world, _, dataset = labelled
    for record in dataset.train[:5] + dataset.query[:5] + dataset.gallery[:5]:
        again, coded = redraw(world, 3, record.path, record.camera), io.BytesIO()
        assert again.shape == (128, 64, 3) and again.dtype == np.uint8
        Image.fromarray(again).save(coded, Image.open(record.path).format, quality=95)
        assert coded.getvalue() == open(record.path, "rb").read()


def test_redrawing_knows_no_camera_but_the_one_asked_for(labelled):
    world, _, dataset = labelled
    record = dataset.train[0]
    name = os.path.basename(record.path)
    own, other = record.camera, 2 if record.camera != 2 else 1
    moved = (
        name.replace(f"_{own:02d}_", f"_{other:02d}_") if world == "msmt17" else name.replace(f"_c{own}", f"_c{other}")
    )
    by_camera = [redraw(world, 3, name, camera) for camera in WORLDS[world].cameras]
    assert moved != name
    assert np.array_equal(redraw(world, 3, moved, 1), by_camera[0])
    for first in range(len(by_camera)):
        for second in range(first):
            assert np.abs(by_camera[first].astype(float) - by_camera[second]).mean() > 2


def test_cameras_share_the_drawing(labelled):
    """A camera changes colours, not shapes: edges of one picture agree far better than those of two."""
    world, _, dataset = labelled

    def edges(record, camera):
        grey = redraw(world, 3, record.path, camera).astype(float).mean(axis=2)
        across = np.abs(np.diff(grey, axis=1)).ravel()
        return (across - across.mean()) / across.std()

    one, two = dataset.train[0], dataset.train[-1]
    assert np.mean(edges(one, 1) * edges(one, 2)) > 0.8
    assert np.mean(edges(one, 1) * edges(two, 1)) < 0.4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: draw("mars", "unused", seed=0), "'mars': expected one of market, duke, msmt17, cuhk03np, folder"),
        (lambda: draw("duke", "unused", seed=0, test_persons=0), "test_persons=0; expected at least 1"),
        (lambda: redraw("market", 0, "a/holiday.jpg", 1), "holiday.jpg: .*such as 0002_c1s1_000451_01.jpg"),
        (lambda: redraw("duke", 0, "0002_c1_f0000451.jpg", 9), "camera 9: expected 1 to 8"),
        (
            lambda: redraw("msmt17", 0, "0002_c1_1.jpg", 1),
            "0002_c1_1.jpg: .*such as 0000_000_01_0303morning_0451_2.jpg",
        ),
        (lambda: redraw("folder", 0, "camera_3/000451.jpg", 3), "names of the synthetic world folder tell no person"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_can_be_drawn_again_is_known_beforehand():
    assert [world for world in WORLDS if can_redraw(world)] == LABELLED


def test_a_drawing_cut_short_is_made_whole(tmp_path):
    def contents():
        return {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    draw("market", tmp_path, seed=3, train_persons=1, test_persons=1)
    whole = contents()
    first, *others = sorted(tmp_path / path for path in whole)
    first.write_bytes(b"half a picture")
    others[0].unlink()
    draw("market", tmp_path, seed=3, train_persons=1, test_persons=1)
    assert contents() == whole
