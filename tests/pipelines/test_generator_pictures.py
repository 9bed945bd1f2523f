"""The pictures of a training generator: which images, what is drawn where, that a stop changes none, and MLflow's copies."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from tiny import same
from torch import nn

from pipelines import cache, generator_pictures, options, training
from pipelines.cache import Stage
from pipelines.files import load_weights
from pipelines.progress import Screen
from pipelines.tracking import Tracking

STEPS = 25
GAN = {
    "seed": 0,
    "batch": 8,
    "steps": STEPS,
    "epochs": None,
    "crop": 8 / 9,
    "generator": {"_target_": "gan.networks.Generator", "channels": 4, "num_blocks": 1},
    "discriminator": {"_target_": "gan.networks.Discriminator", "channels": 4, "depth": 3},
    "training": {"_target_": "gan.stargan.StarGAN", "n_critic": 2, "lr": 1e-3, "ema": 0.8, "weight_identity": 5.0},
}


class Dim(nn.Module):
    """Camera k multiplies by 1 - k / 8; it tells whether it was asked in training mode."""

    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(1 - torch.arange(8) / 8)
        self.modes = []

    def forward(self, images, cameras):
        self.modes.append(self.training)
        return images * self.factors[cameras][:, None, None, None]


# ---------------------------------------------------------------- the picture


def test_rows_are_spread_over_cameras_and_over_each_cameras_images():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 1, 1])  # camera 0 has rows 0 2 4 6, camera 1 rows 1 3 5 7 8 9
    assert generator_pictures.chosen_rows(labels).tolist() == [0, 4, 6, 3, 7, 9]
    assert generator_pictures.chosen_rows(np.arange(24) % 12).tolist() == [12, 14, 16, 18, 20, 22]
    assert generator_pictures.chosen_rows(np.array([5, 5, 9])).tolist() == [0, 1, 1, 2, 2, 2]


def test_each_cell_is_the_image_in_its_cameras_style_in_whole_pixels(world):
    store, generator = world.target, Dim().train()
    rows, scale = generator_pictures.chosen_rows(store.camera_labels), 128 // tiny.HEIGHT
    sheet = np.asarray(generator_pictures.picture(generator, store, rows)).astype(int)
    height, width, gap = tiny.HEIGHT * scale, tiny.WIDTH * scale, generator_pictures.GAP
    assert sheet.shape == (generator_pictures.HEAD + gap + 6 * (height + gap), gap + 9 * (width + gap), 3)
    for r, row in enumerate(rows):
        for column in range(9):
            y, x = generator_pictures.HEAD + gap + r * (height + gap), gap + column * (width + gap)
            factor = 1 if column == 0 else 1 - (column - 1) / 8
            expected = (store.images[row].astype(float) - 127.5) * factor + 127.5
            expected = expected.repeat(scale, 0).repeat(scale, 1)
            assert np.abs(sheet[y : y + height, x : x + width] - expected).max() <= 0.5 + 1e-3
            framed = (sheet[y - 3, x] == generator_pictures.INK).all() and (
                sheet[y + height + 2, x + width + 2] < 255
            ).all()
            assert framed == (column == 1 + store.camera_labels[row])
    assert generator.training and not any(generator.modes)


def test_ten_a_training_and_not_more_often_than_reports(world, tmp_path):
    for total, every in [(1400, 46), (995, 33), (330, 11), (25, 1)]:
        part = tmp_path / str(total)
        part.mkdir()
        draw = generator_pictures.drawing(Dim(), world.target, part, every)
        for done in [*range(every, total, every), total]:
            draw(done, total, {})
        steps = sorted(int(path.stem) for path in (part / "grids").iterdir())
        assert len(steps) == 10 and steps[-1] == total and all(step % every == 0 for step in steps[:-1])
        assert all(
            first <= step < first + every for step, first in zip(steps, np.arange(1, 11) * total / 10, strict=True)
        )


# ---------------------------------------------------------------- a real training


def stage_in(work_dir: Path, world) -> Stage:
    """The generator's stage, begun, and its finished input."""
    data = Stage("data", "data duke", {"images": {}, "skip_unreadable": False})
    data.folder(work_dir).mkdir(parents=True)
    (data.folder(work_dir) / "train").symlink_to(world.folder / "target")
    stage = Stage("generator", "generator", GAN, {"target": data})
    cache.start(stage, work_dir)
    return stage


def train(stage: Stage, work_dir: Path) -> None:
    training.train(cache.job(stage, work_dir) | {"threads": 1})


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "grids").iterdir()}


@pytest.fixture(scope="module")
def straight(world, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("straight")
    stage = stage_in(work_dir, world)
    train(stage, work_dir)
    return stage.folder(work_dir)


class Stopped(Exception):
    pass


@pytest.fixture
def stopped(world, tmp_path, monkeypatch):
    """work_dir and stage of a training that was stopped after step 17; its checkpoint is of step 10."""
    reporter = training.reporter

    def stopping(job, also=None):
        report = reporter(job, also)

        def stop(done, *more):
            report(done, *more)
            if done == 17:
                raise Stopped

        return stop

    stage = stage_in(tmp_path, world)
    with monkeypatch.context() as patch:
        patch.setattr(training, "reporter", stopping)
        with pytest.raises(Stopped):
            train(stage, tmp_path)
    return tmp_path, stage


@pytest.mark.slow
def test_a_training_leaves_ten_pictures_that_change(straight):
    found = pictures(straight)
    assert sorted(found) == [f"{step:08d}.png" for step in (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)]
    assert len(set(found.values())) == 10


def test_the_last_picture_is_of_the_generator_that_is_kept(straight, world):
    """The average, whose weights are the ones that travel."""
    generator = training.build(GAN["generator"], 8)
    generator.load_state_dict(load_weights(straight / "generator.pt"))
    sheet = generator_pictures.picture(
        generator, world.target, generator_pictures.chosen_rows(world.target.camera_labels)
    )
    assert np.array_equal(np.asarray(sheet), np.asarray(Image.open(straight / "grids" / f"{STEPS:08d}.png")))


def test_drawing_does_not_touch_the_training(straight, world, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "drawing", lambda *_: lambda *_: None)
    stage = stage_in(tmp_path, world)
    train(stage, tmp_path)
    assert not (stage.folder(tmp_path) / "grids").exists()
    assert same(*(load_weights(folder / "generator.pt") for folder in (straight, stage.folder(tmp_path))))


def losses(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds_per_step"} for line in lines]


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_pictures_and_mlflow_has_each_once(stopped, straight):
    """Three commands look on: at the stopped training, at its end, and once more."""
    work_dir, stage = stopped
    assert len(pictures(stage.part(work_dir))) == 6
    settings = options.compose(["source=market", "target=duke", f"work_dir={work_dir}"])
    with Screen(work_dir) as screen:

        def look() -> list[str]:
            with Tracking(settings, [stage], screen) as track:
                for _ in range(2):
                    track.sync(stage)
                run = track._stage_run(stage)
                assert track.client.get_run(run).data.tags["mlflow.loggedImages"] == "True"
                paths = [file.path for file in track.client.list_artifacts(run, "images")]
                track.finish({}, [], [])
            return sorted(paths)

        assert len(look()) == 2 * 6
        train(stage, work_dir)
        folder = stage.folder(work_dir)
        assert pictures(folder) == pictures(straight) and losses(folder) == losses(straight)
        assert same(*(load_weights(path / "generator.pt") for path in (folder, straight)))
        found = look()
        assert look() == found
        check_images(found, folder, work_dir)
        cut_off(next(path for path in found if "+step+18+" in path and path.endswith(".webp")), work_dir)
        assert len({path.split("+timestamp+")[0] for path in look() if path.endswith(".webp")}) == 10


def check_images(found: list[str], folder: Path, work_dir: Path) -> None:
    """One image and one preview by step, under the names that MLflow's pages look for; the image is the picture."""
    for name in pictures(folder):
        step = int(Path(name).stem)
        image, preview = sorted(
            (path for path in found if path.startswith(f"images/styles+step+{step}+timestamp+")), key=len
        )
        assert image.endswith(".png") and preview.endswith("+compressed.webp")
        (copy,) = (work_dir / "mlartifacts").rglob(Path(image).name)
        assert np.array_equal(np.asarray(Image.open(copy)), np.asarray(Image.open(folder / "grids" / name)))
    assert len(found) == 2 * len(pictures(folder))


def cut_off(preview: str, work_dir: Path) -> None:
    """As a kill between the image and its preview leaves it."""
    (path,) = (work_dir / "mlartifacts").rglob(Path(preview).name)
    path.unlink()
