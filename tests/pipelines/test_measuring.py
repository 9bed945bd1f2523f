"""The measures stage on a tiny run's styles and pretrained model: what it leaves, that it goes on when stopped, and the gate."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import cache, charts, cluster, graph, judging, measuring, options, reading, stages, styling, training
from pipelines.cache import Stage

TINY = [
    "source=duke",
    "target=market",
    "cluster=inline",
    "data.world.train_persons=30",
    "data.world.test_persons=6",
    "gan.steps=4",
    "pretrain.steps=3",
    "measures.method.steps=20",
    "measures.images=90",
    "methods=[hhl]",
]
pytestmark = pytest.mark.slow


def start(stage: Stage, work_dir) -> dict:
    cache.start(stage, work_dir)
    return cache.job(stage, work_dir) | {"threads": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """work_dir with all that the measures need, and their stage."""
    work_dir = tmp_path_factory.mktemp("work")
    settings = options.compose([*TINY, f"work_dir={work_dir}"])
    plan = {stage.label: stage for stage in graph.plan(settings)}
    for label in ("data duke", "data market", "generator", "styles", "pretrain"):
        if label.startswith("data"):
            reading.make_data(start(plan[label], work_dir), cluster.Inline(settings["cluster"]))
        else:
            (styling.style if label == "styles" else training.train)(start(plan[label], work_dir))
    return work_dir, plan["measures"]


@pytest.fixture(scope="module")
def measured(made):
    work_dir, stage = made
    measuring.measure(start(stage, work_dir))
    return stage.folder(work_dir)


def matrix(result: dict, name: str) -> np.ndarray:
    return np.array(result[name], dtype=float)  # null is NaN


def test_what_it_leaves(measured):
    result = json.loads((measured / "result.json").read_text())
    assert result["cameras"] == [1, 2, 3, 4, 5, 6] and result["images"] == 90
    names = (
        "camera",
        "original",
        "cosine",
        "colour",
        "kid",
        "kid_real",
        "fid",
        "fid_real",
        "identity",
        "rank1",
        "truth",
    )
    assert all(matrix(result, name).shape == (6, 6) for name in names)
    assert all(np.isnan(np.diag(matrix(result, name))).all() for name in ("colour", "kid", "fid", "truth"))
    for name in ("camera", "original"):
        assert 0 <= np.nanmin(matrix(result, name)) and np.nanmax(matrix(result, name)) <= 1
    assert np.nanmax(matrix(result, "colour")) <= 1 and np.nanmin(matrix(result, "identity")) >= 0
    assert matrix(result, "camera_real").shape == (6,) and 0 < result["identity_real"] <= 1
    assert set(result["ratios"]) == set(measuring.RATIOS)
    assert result["ratios"]["colour"] > 0.2, "the generator starts from measured colours"
    assert result["truth_distance"]["styled"] < result["truth_distance"]["chance"]
    assert list(result["gap"]) == ["crop", "flip", "style", "truth"]
    assert all(0 < gap < 4 for gap in result["gap"].values()) and result["gap"]["flip"] < result["gap"]["truth"]
    assert sorted(path.name for path in measured.iterdir()) == ["metrics.jsonl", "result.json", "stage.json"]


def test_a_finished_one_is_passed_over(measured, made):
    work_dir, stage = made
    before = {path: path.stat().st_mtime_ns for path in measured.iterdir()}
    measuring.measure(cache.job(stage, work_dir) | {"threads": 1})
    assert {path: path.stat().st_mtime_ns for path in measured.iterdir()} == before
    assert not stage.part(work_dir).exists()


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


def changed(made, tmp_path, split: str, **values) -> dict:
    """The stage's job on a copy of the target with other values in a split's records; its folder is tmp_path/whole."""
    work_dir, stage = made
    job = start(stage, work_dir) | {"folder": str(tmp_path / "whole")}
    data = shutil.copytree(job["inputs"]["target"], tmp_path / "data")
    records = json.loads((data / split / "records.json").read_text())
    records |= {key: [value] * len(records[key]) for key, value in values.items()}
    (data / split / "records.json").write_text(json.dumps(records))
    return job | {"inputs": job["inputs"] | {"target": str(data)}}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (
            {"cameras": 99},
            "no query image of a person; its cameras are [99], those of training images [1, 2, 3, 4, 5, 6]",
        ),
        ({"persons": 0}, "no query image of a person"),
        ({"persons": 77777}, "true match"),
    ],
)
def test_without_test_persons_all_the_rest_is_told(made, measured, tmp_path, values, why):
    measuring.measure(changed(made, tmp_path, "query", **values))
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert [why in note for note in result["notes"]] == [True], result["notes"]
    whole = json.loads((measured / "result.json").read_text())
    assert result["ratios"] == whole["ratios"] | {"identity": None, "rank1": None}
    charts.style_matrices(tmp_path / "whole")


@pytest.mark.parametrize("cameras", [lambda n: [3] * n, lambda n: list(range(1, n + 1))])
def test_a_single_camera_or_single_images_are_told_and_measured_no_further(made, tmp_path, cameras):
    job = changed(made, tmp_path, "train")
    path = tmp_path / "data" / "train" / "records.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps(records | {"cameras": cameras(len(records["cameras"]))}))
    measuring.measure(job)
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert result["images"] == 0 and "expected at least two cameras, and some images of each" in result["notes"][0]
    assert measuring.failings(result, {"camera": 0.9}) == []


def test_what_cannot_be_told_does_not_pass(measured):
    result = json.loads((measured / "result.json").read_text())
    ratios = result["ratios"] | {"kid": None, "colour": 0.4}
    assert measuring.failings(result | {"ratios": ratios}, {"kid": 0.5, "colour": 0.6, "identity": None}) == [
        "KID gap closed cannot be told (expected at least 0.50)",
        "colour gap closed 0.40 (expected at least 0.60)",
    ]


def test_a_target_of_few_images_is_measured_with_two_threads(made, tmp_path):
    """oneDNN's backward of an odd batch of 8 channels can end the process."""
    job = changed(made, tmp_path, "train") | {"threads": 2}
    data, rows = tmp_path / "data" / "train", np.r_[0:7, 60:67, 100:105]
    records = json.loads((data / "records.json").read_text())
    lists = {
        key: [value[row] for row in rows] for key, value in records.items() if len(value) == len(records["cameras"])
    }
    cameras = {"cameras": [1] * 7 + [2] * 7 + [3] * 5}
    (data / "records.json").write_text(json.dumps(records | lists | cameras))
    np.save(data / "images.npy", np.load(data / "images.npy")[rows])
    styles = tmp_path / "styles"
    styles.mkdir()
    np.save(styles / "styled.npy", np.load(Path(job["inputs"]["styles"]) / "styled.npy")[rows, :3])
    inputs = {role: folder for role, folder in job["inputs"].items() if role != "generator"}
    measuring.measure(
        job
        | {
            "inputs": inputs | {"styles": str(styles)},
            "settings": {k: v for k, v in job["settings"].items() if k != "draw"},
        }
    )
    torch.set_num_threads(1)
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert result["images"] == 8 and list(result["gap"]) == ["crop", "flip", "style"], "nobody can tell the truth"


def test_the_matrices_are_drawn(measured):
    figure = charts.style_matrices(measured)
    result = json.loads((measured / "result.json").read_text())
    written = [[text.get_text() for text in axis.texts] for axis in figure.axes[:8]]
    assert [len(texts) for texts in written] == [36] * 8
    assert written[2][0] == "\u2013" and written[2][1] == f"{100 * result['colour'][0][1]:.0f}"
    kid, way = result["kid"][0][1] - result["kid_least"], result["kid_real"][0][1] - result["kid_least"]
    assert written[3][1] == f"{100 * (1 - kid / way):.0f}"


def test_what_so_few_images_cannot_tell_is_not_drawn(measured, tmp_path):
    """The least distance of two clouds of one camera takes four images of it."""
    result = json.loads((measured / "result.json").read_text())
    result |= {"kid_least": None, "ratios": result["ratios"] | {"kid": None}}
    cache.write_json(tmp_path / "result.json", result)
    titles = [axis.get_title() for axis in charts.style_matrices(tmp_path).axes]
    assert len([title for title in titles if title]) == 7 and not [title for title in titles if "KID" in title]


def test_halves_are_of_every_camera_and_apart():
    cameras = np.array([0] * 10 + [1] * 5 + [2] * 31)
    lessons, rows = measuring.halves(cameras, seed=3, most=100)
    assert sorted([*lessons, *rows]) == list(range(46))
    assert np.bincount(cameras[lessons]).tolist() == [5, 3, 16] and np.bincount(cameras[rows]).tolist() == [5, 2, 15]
    assert (np.diff(lessons) > 0).all() and (np.diff(rows) > 0).all()
    fewer = measuring.halves(cameras, seed=3, most=9)[1]
    assert set(fewer) <= set(rows) and np.bincount(cameras[fewer]).tolist() == [4, 2, 3]


def test_cameras_that_training_lacks_have_no_label():
    assert judging._labels(np.array([3, 1, 7, 2, 9]), np.array([1, 3, 7])).tolist() == [1, 0, 2, -1, -1]


BAD = {"gan.bounds.camera": 1.5, "gan.bounds.truth": 0.99}  # no generator is as good


def run(work_dir, *more: str, **values) -> tuple[list[str], dict]:
    """What a run of the same stages says, inline, without hhl; the settings."""
    settings = options.changed(options.compose([*TINY, f"work_dir={work_dir}", "hhl.steps=2", *more]), values)
    said: list[str] = []
    track = stages.Quiet()
    track.say = said.append
    with cluster.connect(settings) as launch:
        try:
            stages.run(settings, launch, track)
        except ValueError as error:
            said.append(f"error: {error}")
    return said, settings


def test_the_gate_warns_before_the_method_adapts(made, measured, tmp_path):
    said, _ = run(made[0], "hhl.beta=0.7", **BAD)
    (warning,) = [line for line in said if "WARNING" in line]
    camera = json.loads((measured / "result.json").read_text())["ratios"]["camera"]
    assert (
        f"WARNING: poor styles: classified as wanted camera {camera:.2f} (expected at least 1.50), colour gap closed "
        in warning
    )
    assert said.index(warning) < said.index("hhl: made")


def test_the_gate_stops_where_quality_is_required_also_at_its_first_making(made, measured, tmp_path):
    for again in ([], ["force=[measures]"], []):
        said, _ = run(made[0], "hhl.beta=0.8", "gan.require_quality=true", *again, **BAD)
        assert said[-1].startswith("error: measures: too poor to adapt with: classified as wanted camera ")
        assert "gan.steps" in said[-1] and "gan.require_quality=false" in said[-1]
        assert not [line for line in said if line.startswith("hhl")]
        assert [line for line in said if line.startswith("measures: ")] or again == []
    good = {"gan.bounds.camera": 0.0, "gan.bounds.original": 0.0, "gan.bounds.colour": -9.0, "gan.bounds.kid": -9.0}
    said, _ = run(made[0], "hhl.beta=0.8", "gan.require_quality=true", **good)
    assert said[-1] == "hhl: made" and not [line for line in said if "poor" in line]


def test_bounds_and_their_gate_change_no_stage(made):
    plans = [graph.plan(options.changed(options.compose(TINY), values)) for values in ({}, {"gan.bounds.camera": 0.1})]
    plans.append(graph.plan(options.compose([*TINY, "gan.require_quality=true"])))
    assert len({tuple(stage.hash for stage in plan) for plan in plans}) == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"measures.images": 1}, "measures.images is 1; expected at least 2"),
        ({"measures.method.steps": 0}, "measures.method.steps is 0; expected at least 1"),
        ({"gan.bounds": {"nonsense": 1.0}}, "gan.bounds.nonsense is no measure; expected some of camera, original"),
    ],
)
def test_settings_that_cannot_be_measured_with_are_refused(values, expected):
    with pytest.raises(ValueError, match=expected):
        graph.plan(options.changed(options.compose(TINY), values))


class Reached(Exception):
    """What is measured has begun."""


def reached(*_):
    raise Reached


def test_two_cameras_are_measured(world, tmp_path, monkeypatch):
    folder = shutil.copytree(world.folder / "target", tmp_path / "data" / "train")
    records = json.loads((folder / "records.json").read_text())
    records["cameras"] = [1 + number % 2 for number in range(len(records["cameras"]))]
    (folder / "records.json").write_text(json.dumps(records))
    monkeypatch.setattr(measuring, "_camera_classifier", reached)
    job = {"inputs": {"target": str(tmp_path / "data")}, "settings": {"seed": 0, "images": 2}}
    with pytest.raises(Reached):
        measuring._measure(job | {"threads": 1})


def test_the_camera_classifiers_batch_is_as_told_or_even_and_as_large_as_the_lessons(world, monkeypatch):
    found = []

    def new_method(settings, _):
        found.append(settings["method"]["batch"])
        raise Reached

    monkeypatch.setattr(measuring, "new_method", new_method)
    for count in (3, 7, 40):
        with pytest.raises(Reached):
            measuring._camera_classifier({"settings": {"method": {"batch": 16}}}, world.target, np.arange(count))
    assert found == [2, 6, 16]
