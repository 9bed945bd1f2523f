"""A target of crops and cameras alone: what a whole run leaves, what it leaves out and says so, and what is refused."""

import csv
import json
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from started import TINY, left_over

from pipelines import cluster, command, options, reproduce, stages, sweep
from pipelines.training import trained_method
from reid_da.datasets import synthetic

NO_QUERY = "no query and gallery images of known persons"
SMALL = [
    *(option for option in TINY if not option.startswith(("target=", "data.world.", "register="))),
    "target=folder",
    "cluster=inline",
    "data.world.train_persons=20",
    "data.world.test_persons=3",
]


@pytest.fixture(scope="module")
def cameras(tmp_path_factory) -> Path:
    """camera_3, camera_7 and camera_12, as somebody's own."""
    folder = tmp_path_factory.mktemp("own") / "crops"
    synthetic.draw("folder", str(folder), seed=0, train_persons=12, test_persons=2)
    return folder


@pytest.fixture(scope="module")
def whole(cameras):
    """A whole run on them: work_dir, and what it said."""
    work_dir = cameras.parent / "work"
    done = forked.run("run", *SMALL, "target.name=mall", f"target.root={cameras}", f"work_dir={work_dir}")
    assert done.returncode == 0, done.stderr
    return work_dir, done


@pytest.mark.slow
def test_the_methods_adapt_and_the_table_says_why_they_are_not_judged(whole):
    work_dir, done = whole
    before, after = done.stdout.split("market -> mall: synthetic->disk data, recipe quick, seed 0 (percent)\n")
    assert f"mall: {NO_QUERY}: methods adapt to it and are not judged on it" in before
    told, head, *rows = after.splitlines()
    assert told == f"mall is not judged: it has {NO_QUERY}. These are scores on market, the source:"
    assert head.startswith("on market   rank-1") and [row.split()[0] for row in rows[:3]] == ["baseline", "hhl", "arn"]
    for row in rows[:3]:
        (model,) = (work_dir / "cache" / row.split()[0]).glob("*/model.pt")
        source = json.loads((model.parent / "result.json").read_text())["source"]
        assert float(row.split()[5]) == pytest.approx(100 * source["mAP"], abs=0.06)
        trained_method(model.parent)  # loads
    assert "identity kept cannot be told: the target has no query and gallery" in done.stderr
    assert "Traceback" not in done.stderr and not left_over(work_dir)


@pytest.mark.slow
def test_views_have_no_scores_of_the_target_and_are_whole(whole):
    work_dir, done = whole
    with open(work_dir / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["target"], row["mAP"], row["rank1"]) for row in rows] == [
        (m, "mall", "", "") for m in ("arn", "baseline", "hhl")
    ]
    assert all(row["mlflow_run_id"] and float(row["seconds"]) > 0 for row in rows)
    client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("reid-da").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    untold = [run for run in runs if run.data.tags.get("not_judged") == f"mall has {NO_QUERY}"]
    assert sorted(run.data.tags["stage"] for run in untold) == ["arn", "baseline", "hhl", "pipeline"]
    assert not any(name in run.data.metrics for run in runs for name in ("mAP", "hhl/mAP", "rank1"))
    assert all("source/mAP" in run.data.metrics for run in untold if run.data.tags["stage"] != "pipeline")
    (pipeline,) = (run for run in untold if run.data.tags["stage"] == "pipeline")
    assert "mall is not judged" in pipeline.data.tags["mlflow.note.content"]
    for name in ("baseline", "hhl", "arn"):  # registered, each under its own name
        version = client.get_model_version_by_alias("reid-market-to-mall", name)
        assert version.run_id == next(run.info.run_id for run in untold if run.data.tags["stage"] == name)
        assert f"model: models:/reid-market-to-mall@{name} (version {version.version})" in done.stdout
    assert "results.csv" in [file.path for file in client.list_artifacts(pipeline.info.run_id)]
    names = sorted(path.name.split("-")[0] for path in (work_dir / "figures").iterdir())
    assert names == ["contact_sheet", "contact_sheet", "style_measures", "styles", "tsne"]
    for path in (work_dir / "figures").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 200


@pytest.mark.slow
def test_one_camera_adapts_with_plain_copies(cameras, tmp_path):
    root = tmp_path / "crops"
    (root / "camera_1").mkdir(parents=True)
    for path in (cameras / "camera_7").iterdir():
        (root / "camera_1" / path.name).hardlink_to(path)
    settings = options.compose([*SMALL, f"target.root={root}", f"work_dir={tmp_path / 'work'}", "methods=[hhl]"])
    with cluster.connect(settings) as launch:
        found = stages.run(settings, launch, stages.Silent())
    assert found["hhl"]["target"] is None and 0 < found["hhl"]["source"]["mAP"] <= 1
    assert sorted(path.name for path in (tmp_path / "work" / "cache").iterdir()) == ["data", "hhl", "pretrain"]
    (features,) = (tmp_path / "work" / "cache" / "hhl").glob("*/train_features.npy")
    assert len(np.load(features)) == len(list((root / "camera_1").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "given", "told"),
    [
        (
            "sweep",
            ["source=market", "target=folder"],
            f"error: folder has {NO_QUERY}, and those are what a sweep measures its trials on, by mAP",
        ),
        ("sweep", ["source=market", "target=folder", "sweep.metric=style_retrieval"], "by style_retrieval as well"),
        (
            "reproduce",
            ["grid=controls", "directions=[market-folder]"],
            f"error: market-folder: folder has {NO_QUERY}, and the grid is of scores",
        ),
    ],
)
def test_what_goes_by_scores_on_the_target_is_refused_in_a_line(program, given, told, tmp_path, monkeypatch, capsys):
    own = {"sweep": sweep, "reproduce": reproduce}[program]
    monkeypatch.setattr(sys, "argv", [program, *given, "cluster=inline", f"work_dir={tmp_path / 'work'}"])
    with pytest.raises(SystemExit) as stop:
        command.many_main(own.story, program, own.INSTEAD, cluster="inline")
    said = capsys.readouterr().err
    assert stop.value.code == 2 and told in said and said.count("\n") == 1 and not (tmp_path / "work").exists()
