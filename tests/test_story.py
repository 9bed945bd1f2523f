"""The whole job as a user gives it: the real command, real Ray, real MLflow on sqlite, small."""

import csv
import json
import subprocess
from pathlib import Path

import forked
import pytest
from mlflow.tracking import MlflowClient
from started import BATCHES, SMALL, with_cached
from started import TINY as SMALLER

from pipelines import cluster, logged, options, results, stages

pytestmark = pytest.mark.slow
# with the recipe's sizes true styles are a gain to share, and two workers' rounding grows less
TINY = [option for option in SMALLER if option not in (*BATCHES, *SMALL)]
WHOLE = ["upper_bound=true", "register=true"]


def run(work_dir: Path, *overrides: str) -> subprocess.CompletedProcess:
    done = forked.run("run", *TINY, f"work_dir={work_dir}", *overrides, cwd=work_dir.parent)
    assert done.returncode == 0, done.stderr
    return done


def rows(work_dir: Path) -> list[dict]:
    with open(work_dir / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def runs(work_dir: Path) -> dict[str, list]:
    """MLflow runs by their tag `stage`."""
    client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("reid-da").experiment_id
    found = {}
    for one in client.search_runs([experiment]):
        found.setdefault(one.data.tags["stage"], []).append(one)
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """One worker under Ray."""
    work_dir = tmp_path_factory.mktemp("story") / "work"
    return work_dir, run(work_dir, *WHOLE)


def test_it_shows_a_table_and_says_which_data_and_recipe(local):
    _, done = local
    assert "market -> duke: synthetic data, recipe quick" in done.stdout
    assert all(
        name in done.stdout for name in ("rank-1", "mAP", "baseline", "hhl", "arn", "mlflow ui --backend-store-uri")
    )
    assert "published" not in done.stdout, "published figures stand only beside real data"
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_results_csv(local):
    work_dir, _ = local
    found = rows(work_dir)
    assert [row["method"] for row in found] == ["arn", "baseline", "hhl", "hhl"]
    assert found[-1]["variant"].startswith("hhl.styles=redrawn ")
    header = (
        "source,target,data,recipe,method,variant,seed,data_seed,gan_seed,rank1,rank5,rank10,rank20,mAP,mAP_trapezoid,"
    )
    assert (work_dir / "results.csv").read_text().startswith(header + "seconds,settings,mlflow_run_id\n")
    for row in found:
        assert (row["source"], row["target"], row["data"], row["seed"]) == ("market", "duke", "synthetic", "0")
        assert 0 < float(row["mAP_trapezoid"]) <= float(row["mAP"]) <= 1 and len(row["mlflow_run_id"]) == 32


def test_mlflow_holds_every_stage_finished(local):
    work_dir, _ = local
    found = runs(work_dir)
    counts = {stage: len(group) for stage, group in found.items()}
    assert counts == {
        "pipeline": 1,
        "data": 2,
        **dict.fromkeys(("generator", "measures", "pretrain", "baseline", "arn"), 1),
        **dict.fromkeys(("styles", "hhl"), 2),  # the generator's, and the true ones
    }
    assert {one.info.status for group in found.values() for one in group} == {"FINISHED"}
    pipeline, hhl = found["pipeline"][0], own_styles(found["hhl"])
    assert hhl.data.tags["mlflow.parentRunId"] == pipeline.info.run_id
    assert hhl.data.params["hhl.beta"] == "0.5" and hhl.data.params["hhl.n_t"] == "8"
    assert pipeline.data.params["hhl.beta"] == "0.5" and pipeline.data.metrics["hhl/mAP"] == hhl.data.metrics["mAP"]
    tag = "mlflow.source.git.commit"
    assert hhl.data.tags.get(tag) == logged.commit().get(tag)  # none where the code is no checkout
    true = next(one for one in found["hhl"] if one is not hhl)
    least, reached, most = (one.data.metrics["mAP"] for one in (found["baseline"][0], hhl, true))
    assert pipeline.data.metrics["true_styles/mAP"] == most
    told = "share_of_gain/mAP" in pipeline.data.metrics
    assert told == (most - least >= results.LEAST_GAIN)
    if told:
        assert pipeline.data.metrics["share_of_gain/mAP"] == pytest.approx((reached - least) / (most - least))
    assert {"ratio/camera", "ratio/kid", "ratio/truth"} <= set(found["measures"][0].data.metrics)
    row = next(row for row in rows(work_dir) if row["method"] == "hhl" and "redrawn" not in row["variant"])
    assert row["mlflow_run_id"] == hhl.info.run_id and float(row["mAP"]) == pytest.approx(
        hhl.data.metrics["mAP"], abs=1e-6
    )


def test_mlflow_holds_each_method_s_model(local):
    work_dir, done = local
    client, found = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}"), runs(work_dir)
    for method in ("baseline", "hhl", "arn"):
        version = client.get_model_version_by_alias("reid-market-to-duke", method)
        assert f"model: models:/reid-market-to-duke@{method} (version {version.version})" in done.stdout
        (run,) = (one for one in found[method] if one.info.run_id == version.run_id)
        scores = ": mAP {:.1f}, rank-1 {:.1f}".format(*(100 * run.data.metrics[name] for name in ("mAP", "rank1")))
        assert (
            version.description
            == f"{method} ({run.data.tags['variant']}), synthetic data, recipe quick, seed 0{scores}"
        )
    assert len(client.search_model_versions("name = 'reid-market-to-duke'")) == 3


def own_styles(runs: list):
    """HHL's run with the generator's styles."""
    return next(one for one in runs if one.data.params["hhl.styles"] == "generator")


def test_mlflow_holds_curves_and_figures(local):
    work_dir, _ = local
    client, found = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}"), runs(work_dir)
    history = client.get_metric_history(found["hhl"][0].info.run_id, "loss/triplet")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    assert client.get_metric_history(found["generator"][0].info.run_id, "loss/D")
    for stage, *figures in (
        ("data", "contact_sheet"),
        ("styles", "styles"),
        ("measures", "style_measures"),
        ("hhl", "ranked_lists"),
        ("pipeline", "cmc", "style_measures", "styles", "tsne"),
    ):
        paths = sorted(file.path for file in client.list_artifacts(found[stage][0].info.run_id, "figures"))
        assert len(paths) == len(figures) and all(f"/{name}" in p for p, name in zip(paths, figures, strict=True))
    settings = [file.path for file in client.list_artifacts(found["pipeline"][0].info.run_id)]
    assert "settings.json" in settings


def test_the_same_command_again_computes_nothing_and_logs_nothing_twice(local):
    work_dir, _ = local
    before, csv_before = runs(work_dir), (work_dir / "results.csv").read_text()
    done = run(work_dir, *WHOLE)
    assert done.stderr.count("reused") == 11 and "made in" not in done.stderr
    after = runs(work_dir)
    assert {s: len(g) for s, g in before.items()} == {s: len(g) for s, g in after.items()}
    assert (work_dir / "results.csv").read_text() == csv_before
    client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
    for name in ("mAP", "loss/triplet"):
        steps = [metric.step for metric in client.get_metric_history(after["hhl"][0].info.run_id, name)]
        assert len(steps) == len(set(steps))


def test_a_view_that_was_lost_is_made_again_from_the_folders(local):
    work_dir, _ = local
    before = {row["settings"]: row["mAP"] for row in rows(work_dir)}
    for path in (work_dir / "results.csv", work_dir / "mlflow.db", *(work_dir / "figures").iterdir()):
        path.unlink()
    run(work_dir, *WHOLE)
    assert {row["settings"]: row["mAP"] for row in rows(work_dir)} == before
    found = runs(work_dir)
    assert [one.info.status for one in found["hhl"]] == ["FINISHED"] * 2
    assert len(list((work_dir / "figures").glob("ranked_lists-*.png"))) == 4


def test_one_process_gives_the_digits_of_one_ray_worker(local, tmp_path):
    work_dir, _ = local
    settings = options.compose([*TINY, "cluster=inline", f"work_dir={with_cached(tmp_path, work_dir, 'data')}"])
    with cluster.connect(settings) as launch:
        found = stages.run(settings, launch)
    for row in rows(work_dir)[:3]:
        assert row["mAP"] == f"{found[row['method']]['target']['mAP']:.6f}"
        assert row["rank1"] == f"{found[row['method']]['target']['rank1']:.6f}"


def test_poor_styles_stop_a_run_that_wants_good_ones_and_are_shown(local, tmp_path):
    """The worker that measures stops the group; what is whole by then stands in MLflow, pictures included."""
    work_dir = with_cached(tmp_path / "work", local[0], "data", "generator", "styles")
    more = ["methods=[hhl]", "gan.require_quality=true", "gan.bounds.camera=1.5"]
    done = forked.run("run", *TINY, f"work_dir={work_dir}", *more)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "error: measures: too poor to adapt with: classified as wanted camera" in done.stderr.splitlines()[-2]
    found = runs(work_dir)
    assert {stage: group[0].info.status for stage, group in found.items()} == {
        **dict.fromkeys(("data", "generator", "styles", "pretrain", "measures"), "FINISHED"),
        **dict.fromkeys(("pipeline", "hhl"), "FAILED"),
    }
    client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
    (picture,) = client.list_artifacts(found["measures"][0].info.run_id, "figures")
    assert "style_measures-duke" in picture.path and not list((work_dir / "cache").glob("hhl/*.part"))


def test_two_workers_run_whole_and_agree(local, tmp_path):
    """Same global batches: the losses after each step are those of one worker, before any update to float tolerance."""
    work_dir, _ = local
    run(with_cached(tmp_path / "work", work_dir, "data"), "cluster.num_workers=2")
    assert len(rows(tmp_path / "work")) == 3
    for method in ("pretrain", "hhl", "arn", "generator"):
        one, two = (losses(folder, method) for folder in (work_dir, tmp_path / "work"))
        assert len(one) == len(two) == 4
        for step, (alone, shared) in enumerate(zip(one, two, strict=True)):
            assert alone.keys() == shared.keys()
            place = step if method in ("pretrain", "generator") else min(step + 1, 3)  # after pretrain's own steps
            for name, value in alone.items():  # rounding grows with every step of Adam
                assert shared[name] == pytest.approx(
                    value, rel=(1e-3, 0.02, 0.05, 0.1)[place], abs=0.02 * place + 1e-4
                ), (method, name, step)


def losses(work_dir: Path, stage: str) -> list[dict[str, float]]:
    """The losses of a stage's metrics.jsonl, line by line."""
    path = next((work_dir / "cache" / stage).glob("*/metrics.jsonl"))
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name.startswith("loss")} for entry in entries]


def test_an_error_in_two_workers_is_one_clear_line(local, tmp_path):
    """As in one process, and what came to no checkpoint leaves no folder."""
    work_dir, _ = local
    for workers in (("cluster.num_workers=2",), ("cluster=inline",)):
        done = forked.run("run", *TINY, f"work_dir={work_dir}", "methods=[hhl]", "hhl.optimiser.lr.new=1e30", *workers)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert "error: step " in done.stderr and "a smaller learning rate may help" in done.stderr.splitlines()[-1]
        assert not list((work_dir / "cache" / "hhl").glob("*.part"))
