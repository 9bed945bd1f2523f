"""evaluate.py: any saved model on any data set, wherever the model lies, and what is refused in a line."""

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from started import FEW_PERSONS, TWO_STEPS

from pipelines import evaluate, graph, models, options, scoring
from pipelines.files import load_weights
from pipelines.store import Store
from reid_da.datasets import synthetic
from reid_da.images import ImageStore
from reid_da.ranking import evaluate as rank_features
from reid_da.ranking import k_reciprocal_rerank, rank_metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def evaluated(tell) -> Callable:
    """evaluated(*options): exit code, output and errors of evaluate.py on small drawn worlds."""
    return partial(tell, evaluate, *FEW_PERSONS)


def rows(work_dir: Path) -> list[dict]:
    with open(work_dir / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def scored(work_dir: Path) -> dict[str, Path]:
    """label -> folder of the scores stages."""
    found = (work_dir / "cache" / "scores").glob("*/stage.json")
    return {json.loads(path.read_text())["label"]: path.parent for path in found}


def test_another_data_set_by_the_rules_that_are_given(trained, evaluated, tmp_path):
    out = tmp_path / "out"
    code, told, errors = evaluated(
        f"model={trained}", "target=msmt17", "rerank=true", "k1=5", "k2=2", "lambda_value=0", "single_shot=20"
    )
    assert code == 0, errors
    folders = scored(out)
    data = next((out / "cache" / "data").glob("*/gallery")).parent
    query, gallery = (ImageStore(data / split) for split in ("query", "gallery"))
    assert gallery.images.shape[1:] == (32, 16, 3), "of another size than the model's"
    features = [np.load(folders["baseline"] / f"{split}_features.npy") for split in ("query", "gallery")]
    plain = rank_features(features[0], query.persons, query.cameras, features[1], gallery.persons, gallery.cameras)
    distances = k_reciprocal_rerank(*features, k1=5, k2=2, lambda_value=0.0)
    who = query.persons, query.cameras, gallery.persons, gallery.cameras
    again, drawn = rank_metrics(distances, *who), rank_metrics(_distances(features), *who, single_shot=20)
    for label, metrics in (("baseline", plain), ("re-ranked", again), ("single shot", drawn)):
        result = json.loads((folders[label] / "result.json").read_text())["target"]
        assert result["mAP"] == pytest.approx(metrics.mAP, abs=1e-6) and result["mINP"] == pytest.approx(metrics.mINP)
        assert result["num_valid_queries"] == metrics.num_valid_queries
        assert f"{label}: mINP {100 * metrics.mINP:.1f}" in told
    nearest = np.load(folders["re-ranked"] / "nearest.npy")
    np.testing.assert_array_equal(np.take_along_axis(distances, nearest, 1), np.sort(distances)[:, : nearest.shape[1]])

    of = [(row["source"], row["target"], row["method"], row["variant"].partition("trained")[2]) for row in rows(out)]
    rules = ("", " rerank=true k1=5 k2=2 lambda_value=0.0", " single_shot=20")
    assert sorted(of) == sorted(("market", "msmt17", "baseline", f"_for=duke{rule}") for rule in rules)
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("reid-da").experiment_id])
    (own,) = [run for run in runs if run.data.tags["stage"] == "evaluation"]
    assert own.data.metrics["re-ranked/mAP"] == pytest.approx(again.mAP, abs=1e-6)
    assert {run.info.status for run in runs} == {"FINISHED"} and own.data.tags["model"] == str(trained)
    assert len(client.list_artifacts(own.info.run_id, "figures")) == 1, "no CMC curves"
    pictures = [client.list_artifacts(run.info.run_id, "figures") for run in runs if run.data.tags["stage"] == "scores"]
    assert sorted(len(found) for found in pictures) == [0, 1, 1], "ranked lists of features and of a re-ranking"

    times = {folder: folder.stat().st_mtime for folder in folders.values()}
    code, told, _ = evaluated(f"model={trained}", "target=msmt17")
    assert code == 0 and "re-ranked" not in told and {f: f.stat().st_mtime for f in times} == times, "computed again"


def test_persons_of_many_digits_and_cameras_of_any_name(trained, evaluated, tmp_path):
    """As an archive's numbers are: nothing is counted up to the largest of them."""
    lines, draw = ["path,camera,person,split"], np.random.default_rng(0)
    for person in (20240131000007, 20240131000012):
        for camera, split in (("$gate_$", "query"), ("hall", "gallery")):
            name = f"{person}_{split}.png"
            Image.fromarray(draw.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(tmp_path / name)
            lines.append(f"{name},{camera},{person},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    given = [f"model={trained}", "target=folder", f"target.root={tmp_path}", "rerank=true", "k1=1", "k2=1"]
    code, told, errors = evaluated(*given)
    assert code == 0 and "2 of 2 queries are valid" in told, errors
    assert len(list((tmp_path / "out" / "figures").glob("ranked_lists*.png"))) == 2


def _distances(features: list[np.ndarray]) -> np.ndarray:
    return ((features[0][:, None] - features[1]) ** 2).sum(2)


def test_seeds_of_drawn_worlds_are_the_targets_own_and_changed_weights_are_another_model(trained, evaluated, tmp_path):
    model = tmp_path / "a = (copy)" / "baseline"
    shutil.copytree(trained, model)
    for given in ([], ["data.seed=1"]):
        code, _, errors = evaluated(f"model={model / 'model.pt'}", "target=duke", *given)
        assert code == 0, errors
    found = {row["data_seed"]: row for row in rows(tmp_path / "out")}
    assert sorted(found) == ["0", "1"] and found["0"]["mAP"] != found["1"]["mAP"]
    assert "evaluated=true" in found["0"]["variant"] and "trained_for=duke" in found["1"]["variant"]
    weights = load_weights(model / "model.pt")
    torch.save({name: 0.5 * value for name, value in weights.items()}, model / "model.pt")
    code, told, _ = evaluated(f"model={model}", "target=duke")
    assert code == 0 and len(rows(tmp_path / "out")) == 3, "the scores of other weights"


@pytest.mark.slow
def test_a_registered_model_gives_the_scores_of_the_folder_it_was_made_from(trained, evaluated, tmp_path):
    """By alias, version and run, also where the stage's folder is gone: its own preprocessing, and one image left of a batch."""
    work_dir = tmp_path / "out"
    shutil.copytree(trained.parents[2], work_dir)
    settings = options.compose(
        ["source=market", "target=duke", "cluster=inline", f"work_dir={work_dir}", *FEW_PERSONS, *TWO_STEPS]
    )
    (stage,) = [one for one in graph.plan(settings) if one.name == "baseline"]
    store = Store(work_dir, None, "pipelines/run.py")
    run = store.run(stage.hash, stage.label, {"stage": "baseline", **{k: str(v) for k, v in stage.about.items()}}, {})
    models.keep(store, stage, "champion")
    found = {}
    for model in ("models:/reid-market-to-duke@champion", "models:/reid-market-to-duke/1", run, "gone", str(trained)):
        if model == "gone":
            shutil.rmtree(work_dir / "cache" / "baseline")
        code, _, errors = evaluated(f"model={run if model == 'gone' else model}", "target=duke", "force=[scores]")
        assert code == 0, errors
        found[model] = np.load(scored(work_dir)["baseline"] / "gallery_features.npy")
    for model, features in found.items():
        np.testing.assert_array_equal(features, found[str(trained)], err_msg=model)
    assert not (work_dir / "models").exists(), "copied though its files lie on this disk"


def test_one_camera_is_judged_where_its_own_matches_count(trained, evaluated, tmp_path):
    root = tmp_path / "one camera"
    synthetic.draw("duke", str(tmp_path / "duke"), seed=0, train_persons=3, test_persons=6)
    (root / "all").mkdir(parents=True)
    lines = ["path,camera,person,split"]
    for split, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        for path in sorted((tmp_path / "duke").rglob(f"{folder}/*.jpg")):
            shutil.copy(path, root / "all" / f"{split}-{path.name}")
            lines.append(f"all/{split}-{path.name},5,{int(path.name[:4])},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    given = [f"model={trained}", "target=folder", f"target.root={root}"]
    code, _, errors = evaluated(*given)
    assert code == 2 and "count matches by the query's own camera too with same_camera=true" in errors, errors
    code, told, errors = evaluated(*given, "same_camera=true")
    assert code == 0 and "synthetic->disk" in told and "same_camera=true" in rows(tmp_path / "out")[0]["variant"], (
        errors
    )
    valid = int(told.split("; ")[1].split(" of ")[0])
    assert valid > 0


def test_query_and_gallery_are_all_it_takes(trained, evaluated, tmp_path):
    """A manifest without training crops; a crop that is in query and in gallery is told."""
    root = tmp_path / "test"
    synthetic.draw("duke", str(tmp_path / "duke"), seed=0, train_persons=2, test_persons=6)
    root.mkdir()
    lines = ["path,camera,person,split"]
    for split, folder in (("query", "query"), ("gallery", "bounding_box_test")):
        for path in sorted((tmp_path / "duke").rglob(f"{folder}/*.jpg")):
            person, camera = path.name.split("_")[:2]
            shutil.copy(path, root / f"{split}-{path.name}")
            lines.append(f"{split}-{path.name},{camera[1:]},{int(person)},{split}")
    shutil.copy(root / lines[1].split(",")[0], root / "gallery-again.jpg")
    lines.append(",".join(["gallery-again.jpg", *lines[1].split(",")[1:3], "gallery"]))
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    code, told, errors = evaluated(f"model={trained}", "target=folder", f"target.root={root}")
    assert code == 0 and "mINP" in told, errors
    assert "data folder: sizes, width x height: 64x128" in told + errors
    assert "data folder: 1 files are in two splits: test/query-" in told + errors


def test_a_full_disk_is_told_and_the_model_stays(trained, disk):
    work_dir = disk("1m") / "work"
    done = forked.run("evaluate", f"model={trained}", "target=duke", f"work_dir={work_dir}", *FEW_PERSONS)
    assert done.returncode == 2 and "No space left on device" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(work_dir.glob("cache/scores/*[0-9a-f]")) and (trained / "model.pt").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "which model? give model="),
        (["model=best"], "model=best is none that can be found; expected the id of an MLflow run"),
        (["model=models:/none@champion"], "mlflow.db, which is not there"),
        (["model={trained}/.."], "holds no model, stage.json and model.pt"),
        (["model={damaged}"], "cannot be loaded: "),
        (["model={chance}"], "chance's, which learns nothing"),
        (["model={bgr}"], "takes images with colour BGR; expected RGB, as images are prepared here"),
        (["model={trained}", "rerank=yes_please"], "rerank is yes_please; expected true or false"),
        (["model={trained}", "k1=0", "rerank=true"], "k1 is 0; expected a whole number, 1 or more"),
        (["model={trained}", "lambda_value=2"], "lambda_value is 2; expected a number from 0 to 1"),
        (["model={trained}", "single_shot=-1"], "single_shot is -1"),
        (["model={trained}", "images.height=64"], "images.height=64: the model is trained, and says its images' size"),
        (["model={trained}", "seed=1"], "seed=1: the model is trained"),
        (["model={trained}", "target=folder"], "folder is not for evaluation: folder: no query and gallery"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_a_line(trained, evaluated, tmp_path, given, told):
    broken = {
        "trained": trained,
        "damaged": tmp_path / "damaged",
        "chance": tmp_path / "chance",
        "bgr": tmp_path / "bgr",
    }
    for kind in ("damaged", "chance", "bgr"):
        shutil.copytree(trained, broken[kind])
    (broken["damaged"] / "model.pt").write_bytes((trained / "model.pt").read_bytes()[:5000])
    torch.save({}, broken["chance"] / "model.pt")
    stage = json.loads((trained / "stage.json").read_text()) | {"name": "chance"}
    (broken["chance"] / "stage.json").write_text(json.dumps(stage))
    stage = json.loads((trained / "stage.json").read_text())
    stage["about"]["preprocessing"]["colour"] = "BGR"
    (broken["bgr"] / "stage.json").write_text(json.dumps(stage))
    given = [argument.format(**broken) for argument in given]
    code, _, errors = evaluated("target=duke", *given)
    assert code == 2 and told in errors and len(errors.strip().splitlines()) <= 3, errors
    assert not (tmp_path / "out" / "mlflow.db").exists() and not list(tmp_path.glob("out/cache/*"))


def test_runs_and_models_that_are_not_there_are_named(trained, evaluated, tmp_path):
    store = Store(tmp_path / "out", None, "pipelines/run.py")
    run = store.run("0123", "market -> duke", {"stage": "pipeline"}, {})
    other = store.run("4567", "hhl", {"stage": "hhl", "method": "hhl", "mlflow.parentRunId": run}, {})
    for model, told in [
        ("models:/none@champion", "model=models:/none@champion: "),
        ("models:/none/3", "model=models:/none/3: "),
        (run, f"is of several stages; give one of its methods' runs: hhl {other}"),
        (other, "has logged no model"),
        ("0" * 32, f"model={'0' * 32}: "),
    ]:
        code, _, errors = evaluated(f"model={model}", "target=duke")
        assert code == 2 and told in errors and len(errors.strip().splitlines()) <= 3, errors


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("lambda_value", "half", "lambda_value is half; expected a number from 0 to 1"),
        ("lambda_value", True, "lambda_value is True; expected a number from 0 to 1"),
        ("k1", 2.5, "k1 is 2.5; expected a whole number, 1 or more"),
        ("k2", True, "k2 is True; expected a whole number, 1 or more"),
        ("single_shot", None, "single_shot is None; expected a whole number, 0 or more"),
    ],
)
def test_numbers_of_another_kind_are_refused(option, value, told):
    own = options.composed("evaluate", []) | {"model": "/m", "given": []}
    scoring.check(own)
    with pytest.raises(ValueError, match=told):
        scoring.check(own | {option: value})
