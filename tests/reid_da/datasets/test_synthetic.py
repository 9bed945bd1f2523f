"""The two drawn worlds: their layout by the real sets' readers, their bytes, and one picture by several cameras."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from reid_da.datasets.dukemtmc import dukemtmc
from reid_da.datasets.market1501 import market1501
from reid_da.datasets.synthetic import WORLDS, draw, redraw
from reid_da.records import SPLITS

READERS = {"market": market1501, "duke": dukemtmc}
SIZES = {"train_persons": 8, "test_persons": 3}


@pytest.fixture(scope="module", params=WORLDS)
def drawn(request, tmp_path_factory):
    world, root = request.param, tmp_path_factory.mktemp(request.param)
    draw(world, root, seed=3, **SIZES)
    return world, root, READERS[world](root)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.jpg"))}


def test_the_reader_finds_every_file(drawn):
    world, root, dataset = drawn
    records = dataset.train + dataset.query + dataset.gallery
    assert dataset.unmatched == ()
    assert len(records) + dataset.num_junk == len(contents(root))
    assert dataset.num_junk == {"market": 1, "duke": 0}[world]
    assert {record.camera for record in dataset.train} == set(range(1, WORLDS[world].num_cameras + 1))
    assert all(Image.open(record.path).size == (64, 128) for record in records)


def test_persons_of_training_and_test_are_apart(drawn):
    world, _, dataset = drawn
    train, query, gallery = ({record.person for record in getattr(dataset, split)} for split in SPLITS)
    assert (len(train), len(query)) == (8, 3)
    assert not train & (query | gallery)
    assert gallery - query == {0} if world == "market" else len(gallery - query) == 3


def test_each_query_is_alone_in_its_camera_and_found_by_another(drawn):
    _, _, dataset = drawn
    asked = [(record.person, record.camera) for record in dataset.query]
    assert len(set(asked)) == len(asked)
    for person, camera in asked:
        assert any(r.person == person and r.camera != camera for r in dataset.gallery)


def test_the_seed_decides_every_byte(drawn, tmp_path):
    world, root, _ = drawn
    calls = []
    draw(world, tmp_path / "same", seed=3, **SIZES, progress=lambda *call: calls.append(call))
    draw(world, tmp_path / "other", seed=4, train_persons=1, test_persons=1)
    assert contents(tmp_path / "same") == contents(root)
    assert calls == [(n, len(calls)) for n in range(1, len(contents(root)) + 1)]
    assert not set(contents(tmp_path / "other").values()) & set(contents(root).values())


def test_redrawn_by_its_own_camera_it_is_the_file(drawn):
    world, _, dataset = drawn
    for record in dataset.train[:5] + dataset.query[:5] + dataset.gallery[:5]:
        again, coded = redraw(world, 3, record.path, record.camera), io.BytesIO()
        assert again.shape == (128, 64, 3) and again.dtype == np.uint8
        Image.fromarray(again).save(coded, "JPEG", quality=95)
        assert coded.getvalue() == open(record.path, "rb").read()


def test_redrawing_knows_no_camera_but_the_one_asked_for(drawn):
    world, _, dataset = drawn
    record = dataset.train[0]
    name = os.path.basename(record.path)
    moved = name.replace(f"_c{record.camera}", "_c2" if record.camera != 2 else "_c3")
    by_camera = [redraw(world, 3, name, camera) for camera in range(1, WORLDS[world].num_cameras + 1)]
    assert moved != name
    assert np.array_equal(redraw(world, 3, moved, 1), by_camera[0])
    for first in range(len(by_camera)):
        for second in range(first):
            assert np.abs(by_camera[first].astype(float) - by_camera[second]).mean() > 2


def test_cameras_share_the_drawing(drawn):
    """A camera changes colours, not shapes: edges of one picture agree far better than those of two."""
    world, _, dataset = drawn

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
        (lambda: draw("mars", "unused", seed=0), "'mars': expected one of market, duke"),
        (lambda: draw("duke", "unused", seed=0, test_persons=0), "test_persons=0; expected at least 1"),
        (lambda: redraw("market", 0, "a/holiday.jpg", 1), "holiday.jpg: .*such as 0002_c1s1_000451_01.jpg"),
        (lambda: redraw("duke", 0, "0002_c1_f0000451.jpg", 9), "camera 9: expected 1 to 8"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
