"""Maps of features: who is on them, that they are always the same, what is said of them, and when they are drawn again."""

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pipelines import feature_maps, figures, options
from pipelines.cache import Stage

PERSONS = np.repeat([7, 3, 0, -1, 5, 9], [6, 6, 4, 2, 6, 1])
CAMERAS = np.arange(len(PERSONS)) % 3 + 1


def gallery(folder: Path, persons: np.ndarray, cameras: np.ndarray) -> Path:
    """A data stage's folder with that gallery, of no pictures to speak of."""
    count = len(persons)
    (folder / "gallery").mkdir(parents=True)
    np.save(folder / "gallery" / "images.npy", np.zeros((count, 2, 1, 3), dtype=np.uint8))
    records = {"paths": ["x"] * count, "sizes": [[1, 2]] * count, "skipped": []}
    records |= {"persons": persons.tolist(), "cameras": cameras.tolist()}
    (folder / "gallery" / "records.json").write_text(json.dumps(records))
    return folder


def method(folder: Path, features: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / "gallery_features.npy", features.astype(np.float32))
    return folder


def features(by: np.ndarray) -> np.ndarray:
    """Features that are near for equal values of `by`."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(20, 8))[by] + 0.05 * generator.normal(size=(len(by), 8))


def test_whole_persons_as_many_as_fit_in_the_seeds_order_and_nobody_else():
    rows, persons = feature_maps.whole_persons(PERSONS, seed=0)
    assert sorted(persons) == [3, 5, 7, 9] and rows.tolist() == np.flatnonzero(PERSONS > 0).tolist()
    orders = set()
    for seed in range(6):
        rows, persons = feature_maps.whole_persons(PERSONS, seed, most=13)
        orders.add(tuple(persons))
        assert len(rows) <= 13 and all((PERSONS[rows] == p).sum() == (PERSONS == p).sum() for p in persons)
        again, same = feature_maps.whole_persons(PERSONS, seed, most=13)
        assert (again.tolist(), same.tolist()) == (rows.tolist(), persons.tolist())
    assert len(orders) > 1


def test_the_same_map_every_time_with_any_number_of_threads():
    from threadpoolctl import threadpool_limits

    few = features(PERSONS % 10)
    first = feature_maps.embedded(few)
    with threadpool_limits(2):
        assert first.shape == (len(few), 2) and (feature_maps.embedded(few) == first).all()


def test_a_column_per_method_says_how_mixed_the_cameras_are(tmp_path):
    data = gallery(tmp_path / "data", PERSONS, CAMERAS)
    methods = {"baseline": CAMERAS, "hhl": PERSONS % 10}
    folders = {name: method(tmp_path / name, features(by)) for name, by in methods.items()}
    figure = feature_maps.tsne_maps(folders, data, "market -> duke", seed=0)
    titles = [axis.get_title().splitlines() for axis in figure.axes[:2]]
    assert [name for name, _ in titles] == ["baseline", "hhl"]
    apart, mixed = (int(told.split(": ")[1].split(" %")[0]) for _, told in titles)
    assert apart < 50 < mixed and "(chance 7" in titles[0][1], "19 images of 3 cameras, of 7, 6 and 6"
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["1", "2", "3"]
    points = [sum(len(dots.get_offsets()) for dots in axis.collections) for axis in figure.axes]
    assert points == [19] * 4 and len(figure.axes[2].collections) == 1 + 3, "one person has one camera: grey"
    assert "19 gallery images of 4 persons" in figure.get_suptitle()
    plt.close(figure)


@pytest.fixture
def pipeline(tmp_path):
    """pipeline(persons): draws a run's figures for such a gallery; their paths, and what was said. One work_dir."""
    settings = options.compose(["source=market", "target=duke", f"work_dir={tmp_path}"])
    data = Stage("data", "data duke", {})
    stage = Stage("baseline", "baseline", {}, {"target": data})
    results = {"baseline": {"target": {"cmc": [0.5, 1.0], "mAP": 0.5}}}

    def draw(persons: np.ndarray) -> tuple[list[Path], list[str]]:
        if not data.folder(tmp_path).exists():
            gallery(data.folder(tmp_path), persons, np.arange(len(persons)) % 3)
            method(stage.folder(tmp_path), features(persons.clip(0)))
        said: list[str] = []
        return figures.of_pipeline(results, settings, [data, stage], "key", said.append), said

    return draw


def test_a_run_draws_its_map_once_and_again_where_a_method_is_younger(pipeline, tmp_path):
    paths, said = pipeline(PERSONS)
    assert [path.name for path in paths] == ["cmc-market-duke-key.png", "tsne-market-duke-key.png"] and said == []
    drawn = paths[1].stat().st_mtime_ns
    assert pipeline(PERSONS) == (paths, []) and paths[1].stat().st_mtime_ns == drawn
    (younger,) = tmp_path.glob("cache/baseline/*/gallery_features.npy")
    os.utime(younger, (drawn / 1e9 + 9, drawn / 1e9 + 9))
    pipeline(PERSONS)
    assert paths[1].stat().st_mtime_ns != drawn


def test_too_few_images_are_no_map_and_that_is_said(pipeline):
    paths, said = pipeline(np.array([1] * 9 + [0] * 5))
    assert [path.name for path in paths] == ["cmc-market-duke-key.png"]
    assert said == ["no map of features: fewer than 10 gallery images of persons, or crops without a gallery"]
