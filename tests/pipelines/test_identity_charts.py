"""Pictures of identity losses: what is drawn of small arrays, and the command that draws them, run for a few steps."""

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from pipelines import identity_charts
from pipelines.identity_charts import Frame

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
