"""Pictures of identity losses: what is drawn of small arrays, and the two commands that draw them, run for a few steps."""

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from pipelines import identity_charts
from pipelines.identity_charts import Frame, Norms

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LABELS = np.array([0, 0, 1, 1, 2, 2])
FEATURES = np.array([[3, 0], [4, 0], [0, 3], [0, 4], [-3, 0], [-4, 0]], dtype=float)
WEIGHTS = np.array([[5, 0], [0, 0.1], [-1, 0]])
FACES = [np.zeros((24, 12, 3), dtype=np.uint8)] * 3


def frames(centres: np.ndarray | None) -> list[Frame]:
    return [Frame(step, FEATURES / 2, WEIGHTS, centres, 0.5) for step in (0, 7)]


def test_a_row_per_loss_a_column_per_step_and_the_persons_below():
    losses = {"softmax": frames(None), "centre": frames(np.zeros((3, 2)))}
    figure = identity_charts.feature_frames(losses, LABELS, FACES)
    *panels, faces = figure.axes
    assert len(panels) == 4 and [panel.get_ylabel() for panel in panels] == ["softmax", "", "centre", ""]
    assert [panel.get_title() for panel in panels[:2]] == ["step 0: 50 % right", "step 7: 50 % right"]
    points = [[len(dots.get_offsets()) for dots in panel.collections] for panel in panels]
    assert points == [[6], [6], [6, 3], [6, 3]], "centre loss has a mark per person too"
    height, width = faces.images[0].get_array().shape[:2]
    assert (height, width) == (24 + 4, 3 * (12 + 4) + 2 * 6), "three framed, and two gaps"
    plt.close(figure)


def test_rays_show_the_class_weights_directions_alone_and_reach_beyond_the_features():
    figure, axis = plt.subplots()
    identity_charts.draw_features(axis, frames(None)[0], LABELS)
    ends = np.array([line.get_xydata()[1] for line in axis.lines])
    np.testing.assert_allclose(ends / np.linalg.norm(ends, axis=1, keepdims=True), [[1, 0], [0, 1], [-1, 0]])
    assert axis.get_xlim() == axis.get_ylim() and axis.get_xlim()[1] > 2 and (abs(ends).max(1) > 2).all()
    colours = axis.collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(colours, [identity_charts.COLOURS[person] for person in LABELS])
    plt.close(figure)


def test_a_film_has_a_picture_per_step(tmp_path):
    film = identity_charts.feature_film({"softmax": frames(None), "arcface": frames(None)}, LABELS, FACES)
    film.save(tmp_path / "film.gif", writer="pillow", dpi=20)
    plt.close("all")
    with Image.open(tmp_path / "film.gif") as image:
        assert image.is_animated and image.n_frames == 2


def test_medians_of_bins_and_the_last_bin_is_open():
    x, y = np.array([2, 3, 4, 20, 30, 31]), np.array([1.0, 3.0, 5.0, 7.0, 8.0, 100.0])
    middle, medians = identity_charts.binned(x, y, np.array([2, 4, 7, 13]))
    assert middle.tolist() == [2.5, 4, 30] and medians.tolist() == [2, 5, 8], "4 to 6: one; 7 to 12: none"


NORMS = Norms(
    images=np.array([2, 2, 3]),
    weights=np.array([1.0, 2.0, 3.0]),
    labels=np.array([0, 0, 1, 1, 2, 2, 2]),
    features=np.array([1.0, 3.0, 4.0, 4.0, 1.0, 1.0, 1.0]),
    cosines=np.array([0.1, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0]),
)


def test_norms_are_set_against_images_and_cosines():
    assert NORMS.of_persons().tolist() == [2, 4, 1]
    found = NORMS.correlations()
    assert list(found) == list(identity_charts.AGAINST)
    assert found["class weight's norm"] == pytest.approx(3**0.5 / 2), "ranks 1.5, 1.5, 3 and 1, 2, 3"
    assert found["mean feature norm"] == pytest.approx(-(3**0.5) / 2), "ranks 1.5, 1.5, 3 and 2, 3, 1"
    figure = identity_charts.norm_charts({"softmax": NORMS, "ArcFace": NORMS}, "a title")
    assert figure.get_suptitle() == "a title" and len(figure.axes) == 6
    points = [len(axis.collections[0].get_offsets()) for axis in figure.axes]
    assert points == [3, 3, 3, 3, 7, 7], "rows: persons, persons, images"
    assert figure.axes[0].get_title() == "softmax\nrank correlation +0.87"
    assert all(axis.get_ylim()[0] == 0 for axis in figure.axes), "norms are seen from 0 on"
    plt.close(figure)


@pytest.fixture
def command(monkeypatch, capsys):
    """command(name, *options): runs that benchmark in this process, on one thread; the lines that it prints."""

    def call(name: str, *options: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, "--threads", "1", *options])
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return call


@pytest.mark.slow
def test_toy_features_from_its_command(command, tmp_path):
    picture = tmp_path / "toy.png"
    *lines, last = command("toy_features.py", "--steps", "6", "--images", "6", "--to", str(picture))
    assert [line.split("  ")[0] for line in lines] == ["softmax", "softmax + centre loss", "ArcFace"]
    assert not any("nan" in line for line in lines) and last == str(picture)
    with Image.open(picture) as image:
        assert image.width > image.height


@pytest.mark.slow
def test_norms_from_its_command(command, tmp_path):
    picture = tmp_path / "norms.png"
    options = ("--losses", "softmax", "MagFace", "--steps", "2", "--persons", "30")
    *lines, last = command("norms.py", *options, "--to", str(picture))
    assert len(lines) == 2 * 6 and last == str(picture) and not any("nan" in line for line in lines)
    assert "median of persons with 3 images or fewer over that of the others" in lines[3]
    assert picture.stat().st_size > 0


def test_every_loss_has_its_cost_printed(command):
    lines = command(
        "identity_losses.py", "--turns", "1", "--identities", "40", "50", "--batch", "8", "--features", "16"
    )
    printed = {line[:22].strip().rpartition(" + ")[2]: line[22:].split() for line in lines[3:-1]}
    assert printed.keys() == {path.stem for path in (BENCHMARKS.parent / "conf" / "loss").glob("*.yaml")}
    assert printed["softmax"][1:3] == ["1.00", "1.00"] and all(len(numbers) == 6 for numbers in printed.values())
