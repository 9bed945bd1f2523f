"""The measures stage on a tiny run's data, generator and pretrained model: what it leaves, and that it goes on when stopped."""

import json
import shutil

import numpy as np
import pytest

from pipelines import cache, charts, graph, measuring, options, training
from pipelines.cache import Stage
from pipelines.data_stage import make_data

TINY = [
    "source=duke",
    "target=market",
    "cluster=inline",
    "data.world.train_persons=30",
    "data.world.test_persons=6",
    "gan.steps=4",
    "pretrain.steps=3",
    "methods=[hhl]",
]
pytestmark = pytest.mark.slow


def start(stage: Stage, work_dir) -> dict:
    cache.start(stage, work_dir)
    return cache.job(stage, work_dir) | {"threads": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """work_dir with all that the measures need, and their stage; the judge has learned the source's persons."""
    work_dir = tmp_path_factory.mktemp("work")
    settings = options.compose([*TINY, f"work_dir={work_dir}"])
    plan = {stage.label: stage for stage in graph.plan(settings)}
    for label in ("data duke", "data market", "generator", "pretrain"):
        (make_data if label.startswith("data") else training.train)(start(plan[label], work_dir))
    own = {"method": settings["pretrain"] | {"steps": 20}, "backbone": settings["backbone"], "seed": 0}
    inputs = {"target": plan["data market"], "generator": plan["generator"], "judge": plan["pretrain"]}
    return work_dir, Stage("measures", "measures", own, inputs)


@pytest.fixture(scope="module")
def measured(made):
    work_dir, stage = made
    measuring.measure(start(stage, work_dir))
    return stage.folder(work_dir)


def matrix(result: dict, name: str) -> np.ndarray:
    return np.array(result[name], dtype=float)  # null is NaN


def test_what_it_leaves(measured):
    result = json.loads((measured / "result.json").read_text())
    count = len(result["cameras"])
    assert result["cameras"] == [1, 2, 3, 4, 5, 6]
    assert all(matrix(result, name).shape == (count, count) for name in ("camera", "identity", "colour"))
    camera, identity, colour = (matrix(result, name) for name in ("camera", "identity", "colour"))
    assert np.isnan(np.diag(colour)).all()
    assert np.nanmax(colour) <= 1 and np.nanmin(camera) >= 0 and np.nanmax(camera) <= 1 and np.nanmin(identity) > 0
    assert matrix(result, "camera_real").shape == (count,) and 0 < result["identity_real"] <= 1
    assert result["ratios"]["colour"] > 0.3, "the generator starts from measured colours"
    assert 0 < result["ratios"]["identity"] < 2
    assert sorted(path.name for path in measured.iterdir()) == ["metrics.jsonl", "result.json", "stage.json"]


def test_images_of_no_person_are_counted_as_left_out(measured, made):
    work_dir, stage = made
    data = stage.inputs["target"].folder(work_dir)
    persons = sum((json.loads((data / s / "records.json").read_text())["persons"] for s in ("query", "gallery")), [])
    assert json.loads((measured / "result.json").read_text())["left_out"] == sum(person < 1 for person in persons) > 0


def test_a_finished_one_is_passed_over(measured, made):
    work_dir, stage = made
    measuring.measure(cache.job(stage, work_dir) | {"threads": 1})


def test_a_stopped_one_goes_on_to_the_same_digits(measured, made, tmp_path, monkeypatch):
    work_dir, stage = made
    job = start(stage, work_dir) | {"folder": str(tmp_path / "whole")}
    monkeypatch.setattr(measuring, "RHYTHM", {"report_every": 5, "checkpoint_every": 5})
    real = measuring.reporter

    def stopping(job):
        def report(done, total, floats):
            if done == 15:
                raise KeyboardInterrupt

        return report

    monkeypatch.setattr(measuring, "reporter", stopping)
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(job)
    monkeypatch.setattr(measuring, "reporter", real)
    measuring.measure(job)
    assert (tmp_path / "whole" / "result.json").read_text() == (measured / "result.json").read_text()
    assert json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[0])["step"] > 5


def test_test_images_of_other_cameras_are_told_and_end_no_table(made, tmp_path):
    work_dir, stage = made
    job = start(stage, work_dir)
    data = shutil.copytree(job["inputs"]["target"], tmp_path / "data")
    records = json.loads((data / "query" / "records.json").read_text())
    records["cameras"] = [99] * len(records["cameras"])
    (data / "query" / "records.json").write_text(json.dumps(records))
    job |= {"inputs": job["inputs"] | {"target": str(data)}, "folder": str(tmp_path / "whole")}
    measuring.measure(job)
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert "no query image of a person" in result["unmeasured"] and "cameras are [99], those of" in result["unmeasured"]
    assert result["ratios"] == {"camera": None, "identity": None, "colour": None}


def test_the_matrices_are_drawn(measured):
    figure = charts.style_matrices(measured)
    result = json.loads((measured / "result.json").read_text())
    written = [[text.get_text() for text in axis.texts] for axis in figure.axes[:4]]
    assert [len(texts) for texts in written] == [36, 36, 36, 6]
    assert written[2][0] == "\u2013" and written[2][1] == f"{100 * result['colour'][0][1]:.0f}"
    assert written[3] == [f"{100 * share:.0f}" for share in result["camera_real"]]


def test_cameras_that_training_lacks_have_no_label():
    assert measuring._labels(np.array([3, 1, 7, 2, 9]), np.array([1, 3, 7])).tolist() == [1, 0, 2, -1, -1]
