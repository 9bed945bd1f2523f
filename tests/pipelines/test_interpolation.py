"""Feature transfer's picture: which images, what is decoded, and where it lies."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from pipelines import cluster, graph, interpolation, options, stages
from pipelines.sheets import Sheet
from pipelines.tracking import Tracking
from reid_da.decoding import decode


@pytest.fixture(scope="module")
def trained(world):
    """A few steps, and the centres and directions of a stage 1."""
    method = tiny.build("ftl", world)
    learner, batches = tiny.learner(method), tiny.batches(method, world)
    for step in range(4):
        learner.update(batches(step))
    return method.eval()


@torch.no_grad()
def test_the_images_are_those_of_the_equation(world, trained):
    """c_u + t Q Q^T (g_r - c_r) by hand, of the first and the last person of each kind."""
    store, labels = world.source, world.source.labels
    shown = interpolation.decoded_transfers(trained, store, rows=2, columns=2)
    counts = np.bincount(labels)
    few, regular = (np.flatnonzero(which)[[0, -1]] for which in (counts < 9, counts >= 9))

    def about(person):
        own = np.flatnonzero(labels == person)
        features = trained.with_flips(store, own)
        return own, features[:, 0], features.mean((0, 1))

    def pixels(feature):
        image = trained.decoder(feature[None].float())[0]
        return np.clip(np.rint((image.permute(1, 2, 0).numpy() + 1) * 127.5), 0, 255)

    for c, person in enumerate(regular):
        rows, g, centre = about(person)
        along = (g - centre).float() @ trained.directions
        largest = int(along.norm(dim=1).argmax())
        assert np.array_equal(shown.regular[c], store.images[rows[largest]])
        np.testing.assert_allclose(shown.decoded[c], pixels(g[largest]), atol=1)
        for r, other in enumerate(few):
            to = about(other)[2]
            for t, part in enumerate((0.5, 1.0)):
                moved = to.float() + part * (trained.directions @ along[largest])
                np.testing.assert_allclose(shown.mixed[r, c, t], pixels(moved), atol=1)
    for r, person in enumerate(few):
        assert np.array_equal(shown.persons[r], store.images[np.flatnonzero(labels == person)[0]])
        np.testing.assert_allclose(shown.centres[r], pixels(about(person)[2]), atol=1)


def test_no_more_rows_and_columns_than_there_are_persons(world, trained):
    few = int((np.bincount(world.source.labels) < 9).sum())
    shown = interpolation.decoded_transfers(trained, world.source, rows=50, columns=50)
    assert shown.mixed.shape == (few, 12 - few, len(interpolation.PARTS), tiny.HEIGHT, tiny.WIDTH, 3)
    assert len(shown.persons) == len(shown.centres) == few and len(shown.regular) == len(shown.decoded) == 12 - few


SMALL = ["data.world.train_persons=20", "data.world.test_persons=4", "data.world.long_tail=0.5", "pretrain.steps=2"]
FTL = ["methods=[ftl]", "ftl.steps=12", "ftl.period=3", "ftl.batch=16", "ftl.decoder_width=16"]


@pytest.mark.slow
def test_the_picture_stands_among_the_stage_s_figures_in_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = options.compose(["source=market", "target=duke", "cluster=inline", *SMALL, *FTL, f"work_dir={tmp_path}"])
    plan, placed = graph.plan(settings), []
    (stage,) = [one for one in plan if one.name == "ftl"]
    real = Sheet.show
    monkeypatch.setattr(
        Sheet, "show", lambda sheet, row, column, *more: (placed.append((row, column)), real(sheet, row, column, *more))
    )
    with Tracking(settings, plan, stages.Silent()) as track, cluster.connect(settings) as launch:
        stages.run(settings, launch, track)
        (run,) = track.store.mine(f"tags.hash = '{stage.hash}'")
        names = [Path(one.path).name for one in track.client.list_artifacts(run.info.run_id, "figures")]
    assert names == [f"interpolation-market-{stage.hash}.png", f"ranked_lists-ftl-{stage.hash}.png"]
    width, height = decode(str(tmp_path / "figures" / names[0]), 64, 128, "bicubic")[1]
    assert height > width / 2
    assert {(0, c) for c in range(2, 12)} | {(r, c) for r in range(1, 7) for c in range(12)} <= set(placed)
    assert json.loads((stage.folder(tmp_path) / "result.json").read_text())["target"]["mAP"] > 0
