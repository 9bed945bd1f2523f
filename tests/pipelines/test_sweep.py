"""sweep.py: trials that share what comes before them, in one process and under Ray, and what MLflow has of them."""

import csv
import json
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import forked
import numpy as np
import pytest
from mlflow import MlflowClient
from started import FOUR, TINY, left_over, statuses, with_cached

from pipelines import cluster, command, graph, options, retrieving, space, sweep, sweeps
from pipelines.progress import Screen
from pipelines.tracking import Tracking

LR = "hhl.optimiser.lr.new"


def run(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    return forked.run("sweep", *TINY, f"work_dir={work_dir}", *arguments)


def table(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def runs(work_dir: Path) -> tuple[MlflowClient, dict[str, list]]:
    """MLflow's runs by their tag `stage`."""
    client, found = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}"), {}
    for one in client.search_runs([client.get_experiment_by_name("reid-da").experiment_id]):
        found.setdefault(one.data.tags["stage"], []).append(one)
    return client, found


# -- a small sweep in one process


def own_folder(work_dir: Path) -> Path:
    (folder,) = (work_dir / "sweeps").iterdir()
    return folder


@pytest.mark.slow
def test_what_it_says(swept):
    work_dir, done = swept
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "market -> duke: synthetic data, recipe quick"
    headline = "grid over hhl.beta x hhl.n_t: market -> duke, synthetic data, recipe quick, seed 0; by mAP"
    assert said.count(headline) == 2, "before and above the table"
    assert any(line.startswith("4 trials, 1 at a time, one after another in this process; about ") for line in said)
    for label in ("data market", "data duke", "generator", "pretrain", "styles"):
        assert sum(line.startswith(f"{label} ") for line in done.stderr.splitlines()) == 1, "made once, and said once"
    growing = [line.split()[:5] for line in done.stderr.splitlines() if line[1:3] == "/4"]
    grid = [("0.1", "0"), ("0.1", "2"), ("0.5", "0"), ("0.5", "2")]
    assert growing == [[f"{n}/4", "beta", beta, "n_t", n_t] for n, (beta, n_t) in enumerate(grid, 1)]
    report = (own_folder(work_dir) / "report.txt").read_text()
    assert report in done.stdout
    best = next(line for line in report.splitlines() if line.startswith("best: "))
    assert "with one seed: sweep.seeds=[0,1,2] tells how sure" in best and best.endswith("an oracle)")
    assert "rank correlation of mAP and style retrieval over 4 trials: " in report and "time: shared stages " in report


@pytest.mark.slow
def test_trials_csv_has_a_row_for_each_and_results_csv_the_same_figures(swept):
    work_dir, done = swept
    rows = table(own_folder(work_dir) / "trials.csv")
    assert {(row["hhl.beta"], row["hhl.n_t"]) for row in rows} == {(b, n) for b in ("0.1", "0.5") for n in ("0", "2")}
    scores = [float(row["mAP"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and all(0 < float(row["style_retrieval"]) <= 1 for row in rows)
    every = {row["settings"]: row for row in table(work_dir / "results.csv")}
    assert every.keys() == {row["settings"] for row in rows} and len(every) == 4
    for row in rows:
        found = every[row["settings"]]
        assert all(found[name] == row[name] for name in ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid"))
        assert f"hhl.n_t={row['hhl.n_t']}" in found["variant"].split() and len(found["mlflow_run_id"]) == 32
    shown = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("beta ")]
    assert [line[1] for line in shown] == [row["hhl.beta"] for row in rows], "in the same order"
    assert [line[4] for line in shown] == [f"{100 * score:.1f}" for score in scores]


@pytest.mark.slow
def test_mlflow_has_a_sweep_its_trials_and_their_stages(swept):
    work_dir, _ = swept
    client, found = runs(work_dir)
    once = dict.fromkeys(("sweep", "generator", "styles", "measures", "pretrain"), 1)
    assert {stage: len(group) for stage, group in found.items()} == once | {
        "data": 2,
        **dict.fromkeys(("trial", "hhl", "style_retrieval"), 4),
    }
    assert statuses(work_dir) == {"FINISHED"}
    (own,) = found["sweep"]
    trials = {one.info.run_id: one for one in found["trial"]}
    assert {one.data.tags["mlflow.parentRunId"] for one in trials.values()} == {own.info.run_id}
    for stage in ("data", "generator", "styles", "measures", "pretrain"):
        assert {one.data.tags["mlflow.parentRunId"] for one in found[stage]} == {own.info.run_id}, stage
    for stage in ("hhl", "style_retrieval"):
        assert {one.data.tags["mlflow.parentRunId"] for one in found[stage]} == trials.keys(), "one under each"
    for one in found["hhl"]:
        trial = trials[one.data.tags["mlflow.parentRunId"]]
        for option in ("hhl.beta", "hhl.n_t", "hhl.margin"):
            assert trial.data.params[option] == one.data.params[option]
        assert trial.data.metrics["mAP"] == one.data.metrics["mAP"] and 0 < trial.data.metrics["style_retrieval"] <= 1
    best = max(trials.values(), key=lambda one: one.data.metrics["mAP"])
    assert own.data.metrics["best/mAP"] == best.data.metrics["mAP"]
    assert -1 <= own.data.metrics["rank_correlation"] <= 1
    assert {"seconds/shared", "seconds/trials", "seconds/training"} < own.data.metrics.keys()
    assert own.data.tags["source"] == "market" and own.data.tags["mlflow.source.name"] == "pipelines/sweep.py"


@pytest.mark.slow
def test_mlflow_has_the_sweep_s_charts_and_tables(swept):
    work_dir, _ = swept
    client, found = runs(work_dir)
    own = found["sweep"][0].info.run_id
    assert {file.path for file in client.list_artifacts(own)} == {
        *("figures", "settings.json", "trials.csv", "report.txt", "results.csv")
    }
    charts = {Path(file.path).stem.split("-", 2)[2] for file in client.list_artifacts(own, "figures")}
    assert charts == {"over_hhl.beta", "over_hhl.n_t", "mAP_heat_map", "with_and_without_labels"}
    assert {path.stem.split("-", 2)[2] for path in (work_dir / "figures").glob("sweep-*.png")} == charts


@pytest.mark.slow
def test_the_champion_is_the_best_trial_s_model(swept):
    import mlflow.pyfunc

    work_dir, done = swept
    client, _ = runs(work_dir)
    best = table(own_folder(work_dir) / "trials.csv")[0]
    version = client.get_model_version_by_alias("reid-market-to-duke", "champion")
    assert version.tags["hash"] == best["settings"]
    assert f"model: models:/reid-market-to-duke@champion (version {version.version})" in done.stdout
    stage = work_dir / "cache" / "hhl" / best["settings"]
    inputs = json.loads((stage / "stage.json").read_text())["inputs"]
    images = np.load(work_dir / "cache" / "data" / inputs["target"]["hash"] / "query" / "images.npy")[:7]
    model = mlflow.pyfunc.load_model(version.source, model_config={"device": "cpu"})
    np.testing.assert_allclose(model.predict(images), np.load(stage / "query_features.npy")[:7], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_best_trial_s_command_line_finds_everything_made(swept):
    work_dir, done = swept
    line = next(line for line in done.stdout.splitlines() if line.startswith("again: "))
    arguments = shlex.split(line)[3:]
    given = [argument for argument in TINY if not argument.startswith("cluster.")]
    assert arguments[: len(given)] == given and not any(a.startswith(("sweep", "cluster")) for a in arguments)
    assert f"work_dir={work_dir}" in arguments
    plan = graph.plan(options.compose(arguments))
    assert all(stage.finished(work_dir) for stage in plan)
    assert plan[-1].hash == table(own_folder(work_dir) / "trials.csv")[0]["settings"]


@pytest.mark.slow
def test_the_same_command_again_makes_nothing_and_doubles_nothing(swept):
    work_dir, first = swept
    _, before = runs(work_dir)
    tables = [(own_folder(work_dir) / "trials.csv").read_text(), (work_dir / "results.csv").read_text()]
    done = run(work_dir, *FOUR, "cluster=inline")
    assert done.returncode == 0 and "made in" not in done.stderr, done.stderr
    assert [line.split()[-1] for line in done.stderr.splitlines() if line[1:3] == "/4"] == ["reused"] * 4
    assert [(own_folder(work_dir) / "trials.csv").read_text(), (work_dir / "results.csv").read_text()] == tables
    client, after = runs(work_dir)
    assert {stage: {one.info.run_id for one in group} for stage, group in before.items()} == {
        stage: {one.info.run_id for one in group} for stage, group in after.items()
    }
    assert statuses(work_dir) == {"FINISHED"} and left_over(work_dir) == []
    assert len(client.search_model_versions("name = 'reid-market-to-duke'")) == 1


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_does_not_end_the_sweep(swept, tmp_path):
    """Over two seeds, the failing one first; a sweep of which all trials fail is an error."""
    work_dir = with_cached(tmp_path / "work", swept[0])
    arguments = ("hhl.steps=4", "n_t=0", "cluster=inline", "sweep.seeds=[0,1]")
    done = run(work_dir, *arguments, f"sweep.space.{LR}=[1e30,0.003]")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    why = "FloatingPointError: step 1: loss/source is nan; a smaller learning rate may help"
    assert f"failed: {LR} 1e+30: {why}" in done.stdout.splitlines() and f"{LR}=1e+30: failed, {why}" in done.stderr
    assert " +- " in next(line for line in done.stdout.splitlines() if line.startswith("best: ")), "two seeds"
    (row,) = table(own_folder(work_dir) / "trials.csv")
    assert row[LR] == "0.003" and 0 < float(row["mAP"]) < 1 and 0 < float(row["mAP_deviation"]) < 1
    _, found = runs(work_dir)
    assert {one.data.params[LR]: one.info.status for one in found["trial"]} == {"1e+30": "FAILED", "0.003": "FINISHED"}
    failed = next(one for one in found["trial"] if one.info.status == "FAILED")
    assert failed.data.tags["error"] == why.partition(": ")[2]
    assert [one.info.status for one in found["sweep"]] == ["FINISHED"]
    stages = [one for one in found["hhl"] if one.data.tags["mlflow.parentRunId"] == failed.info.run_id]
    assert {one.info.status for one in stages} == {"FAILED"} and statuses(work_dir) == {"FAILED", "FINISHED"}

    done = run(work_dir, *arguments, f"sweep.space.{LR}=[1e30]")
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == f"error: no trial has come to its end: {why}"
    _, found = runs(work_dir)
    assert {one.info.status for one in found["sweep"]} == {"FINISHED", "FAILED"}
    assert statuses(work_dir) == {"FAILED", "FINISHED"}


# -- under Ray, with trials that stop themselves


def planned(monkeypatch, work_dir: Path, *arguments: str) -> tuple[dict, list[sweeps.Trial], Path]:
    """conf/sweep.yaml's block, the trials and the folder of a sweep that has not begun."""
    found = []
    monkeypatch.setattr(sys, "argv", ["sweep.py", *TINY, f"work_dir={work_dir}", *arguments])
    command.many_main(lambda *both: found.append(both), "sweep", sweep.INSTEAD, cluster="local")
    own, compose = found[0][0]["sweep"] | {"known_methods": options.method_names()}, found[0][1]
    base = compose(["methods=[hhl]"])
    trials = [sweeps.trial(own, point, base, options.changed, 1) for point in space.points(own)]
    with Screen(work_dir) as screen:
        track = Tracking(base, [], screen, kind="sweep", key=sweeps.key(own, trials))
    return own, trials, work_dir / "sweeps" / track.key


@pytest.mark.slow
def test_more_trials_than_room_some_of_which_stop_themselves(swept, tmp_path, monkeypatch):
    """Three, two at a time. Records of two that were perfect at a third lie there: the first to come there finds too few others
    and passes, whoever comes after one of ours is through is below the median. At two thirds the first finds nobody and passes."""
    work_dir = with_cached(tmp_path / "work", swept[0])
    arguments = ("hhl.steps=12", "n_t=0", "sweep.early_stopping=true", "sweep.space.beta=[0.1,0.2,0.3]")
    own, trials, folder = planned(monkeypatch, work_dir, *arguments)
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / f"perfect{name}-0.json").write_text(json.dumps({"scores": {"0.33": 1.0}}))
    here = [*TINY, "work_dir=work", *arguments]  # from the command's folder: Tune's trials have others
    done = forked.run("sweep", *here, "sweep.max_concurrent=2", "cluster=local", cwd=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert "3 trials, 2 at a time, each 1 worker of 1 CPU; the cluster has " in done.stdout
    found = {one.name: sweeps.summary(one, "mAP", folder) for one in trials}
    stopped = {name for name, numbers in found.items() if "stopped" in numbers}
    assert 1 <= len(stopped) <= 2 and {found[name]["stopped"] for name in stopped} <= {4, 8}
    assert all(found[name].keys() == {"mAP", "stopped"} for name in stopped)
    shown = [line for line in done.stdout.splitlines() if "stopped at step" in line]
    assert {f"hhl.beta={line.split()[1]}" for line in shown} == stopped
    rows = {f"hhl.beta={row['hhl.beta']}": row for row in table(folder / "trials.csv")}
    assert {name for name, row in rows.items() if row["stopped"]} == stopped and len(rows) == 3
    best = next(line for line in done.stdout.splitlines() if line.startswith("best: "))
    assert f"hhl.{best.split()[1]}={best.split()[2].rstrip(',')}" not in stopped

    client, by_stage = runs(work_dir)
    assert statuses(work_dir) == {"FINISHED", "KILLED"}
    assert [one.info.status for one in by_stage["trial"]] == ["FINISHED"] * 3
    assert {one.info.run_name for one in by_stage["trial"] if "stopped" in one.data.metrics} == stopped
    assert sum(one.info.status == "KILLED" for one in by_stage["hhl"]) == len(stopped)
    assert {path.stem for path in left_over(work_dir)} == {
        one.trained()[0].hash for one in trials if one.name in stopped
    }, "checkpoints to go on from"

    # a training that was looked at has the digits of one that was not
    (passed, *_) = [one for one in trials if one.name not in stopped]
    alone = with_cached(tmp_path / "alone", swept[0])
    settings = passed.settings[0] | {"work_dir": str(alone)}
    same = sweeps.Trial(passed.point, [settings], passed.graphs)
    with cluster.connect(settings | {"cluster": settings["cluster"] | {"kind": "inline"}}) as launch:
        numbers = sweeps.make(own | {"early_stopping": False}, same, launch, alone / "sweeps" / "other")
    assert {k: v for k, v in numbers.items() if k != "seconds"} == {
        k: v for k, v in found[passed.name].items() if k != "seconds"
    }

    # and the same command, now in one process, decides nothing again
    again = run(work_dir, *arguments, "cluster=inline")
    assert again.returncode == 0, again.stderr
    assert {f"hhl.beta={row['hhl.beta']}": row for row in table(folder / "trials.csv")} == rows
    _, after = runs(work_dir)
    assert {stage: len(group) for stage, group in after.items()} == {s: len(group) for s, group in by_stage.items()}
    assert statuses(work_dir) == {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_a_stop_ends_the_trial_s_other_seeds(swept, tmp_path):
    """In one process: seed 0 stops itself at a third, and seed 1, that nobody would have stopped, is not begun."""
    work_dir, folder = with_cached(tmp_path / "work", swept[0]), tmp_path / "sweep"
    settings = options.compose(
        [*TINY, "methods=[hhl]", "cluster=inline", f"work_dir={work_dir}", "hhl.steps=6", "n_t=0"]
    )
    own = {"metric": "style_retrieval", "early_stopping": True, "seeds": [0, 1], "space": {"hhl.beta": [0.5]}}
    own |= {"known_methods": options.method_names()}
    one = sweeps.trial(own, {"hhl.beta": 0.5}, settings, options.changed, 1)
    folder.mkdir()
    for name in "abc":
        (folder / f"perfect{name}-0.json").write_text(json.dumps({"scores": {"0.33": 1.0}}))
    with cluster.connect(settings) as launch:
        numbers = sweeps.make(own, one, launch, folder)
        assert numbers["stopped"] == 2 and 0 < numbers["style_retrieval"] < 1 and len(numbers) == 2
        first, second = one.trained()
        assert first.part(work_dir).exists() and not second.part(work_dir).exists()
        assert not any(
            stage.finished(work_dir) or stage.part(work_dir).exists() for plan in one.graphs for stage in plan[-1:]
        )
        assert sweeps.make(own, one, launch, folder) == numbers
        numbers = sweeps.make(own | {"early_stopping": False}, one, launch, tmp_path / "another")
    assert "stopped" not in numbers and numbers["style_retrieval_deviation"] >= 0, "it goes on from its checkpoint"
    steps = [json.loads(line)["step"] for line in (first.folder(work_dir) / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


# -- what is refused


@pytest.fixture
def fails(refused):
    return partial(
        refused,
        partial(command.many_main, sweep.story, "sweep", sweep.INSTEAD, cluster="local"),
        *TINY,
        "cluster=inline",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sweep.metric=x"], "sweep.metric is x; expected one of mAP, style_retrieval"),
        (["sweep.metric"], "error: "),
        (["sweep.mtric=mAP"], "unknown option 'sweep.mtric'"),
        (["sweep=btea"], "unknown sweep 'btea'"),
        (["hhl.beta=0.3"], "hhl.beta=0.3: the sweep sets it; take it out of sweep.space, or off the command line"),
        (["n_t=4", "sweep=n_t"], "hhl.n_t=4: the sweep sets it"),
        (["methods=[arn]"], "methods=[arn]: this command sets it itself; give 'sweep.space.arn.weight_rec=[0.1,0.5]'"),
        (["seed=1"], "seed=1: this command sets it itself; give sweep.seeds=[0,1,2]"),
        (["sweep.space.seed=[0,1]"], "seeds are not searched; give sweep.seeds=[0,1,2]"),
        (["sweep.search=tpe", "force=[hhl]"], "force=['hhl']: which points sweep.search=tpe tries is found on the way"),
        (["sweep.search=tpe"], "sweep.search=tpe is Ray Tune's; expected cluster=local or cluster=auto"),
        (["sweep.space.hhl.nonsense=[1,2]"], "unknown option 'hhl.nonsense'"),
        (["sweep.space.nonsense.beta=[1,2]"], "unknown option 'nonsense.beta'"),
        (["sweep.space.beta=[0.1,abc]"], "hhl.beta is 'abc'; expected a number"),
        (["sweep.space.beta=[0.1,-1]"], "hhl.beta is -1.0 "),
        (["sweep.space.beta=0.3"], "sweep.space.beta=0.3: expected values such as"),
        (["sweep.space.beta=[0.1"], "sweep.space.beta=[0.1: expected values such as"),
        (["sweep.space.beta={from: 0.1, to: 1.0}"], "sweep.search=grid takes values"),
        (["sweep.space.beta=[1]", "sweep.space.arn.margin=[1]"], "options of arn and hhl; a sweep trains one method"),
        (["sweep.space.n_t=[0,1]", "sweep.search=random"], "the space has 2 points, expected no more trials"),
        (["hhl.betta=1"], "unknown option 'hhl.betta' (did you mean 'hhl.beta'?)"),
        (["target=market"], "source and target are the same data"),
        (["cluster.num_workers=2"], "cluster=inline is one process; cluster.num_workers is 2, expected 1"),
    ],
)
def test_bad_input(fails, arguments, expected):
    assert expected in fails(*arguments)


def test_what_does_not_fit_the_cluster_is_refused_with_the_numbers(monkeypatch):
    from pipelines import tuning

    class Launch:
        num_workers, threads, gpu = 2, 3, True

        def start(self):
            pass

    def has(*nodes: dict) -> None:
        whole = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
        monkeypatch.setattr(tuning.ray, "cluster_resources", lambda: whole)
        monkeypatch.setattr(tuning.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])

    has(*[{"CPU": 16.0, "GPU": 4.0, "memory": 1e9}] * 2)
    words = "each 2 workers of 1 GPU and 3 CPUs; the cluster has 32 CPUs and 8 GPUs"
    assert tuning.room({"max_concurrent": "auto"}, Launch()) == (4, words)
    assert tuning.room({"max_concurrent": 3}, Launch()) == (3, words)
    with pytest.raises(
        ValueError, match="^5 trials at a time, each 2 workers.*has 32 CPUs and 8 GPUs on 2 nodes, room for 4"
    ):
        tuning.room({"max_concurrent": 5}, Launch())
    has({"CPU": 16.0, "GPU": 8.0})
    assert tuning.room({"max_concurrent": "auto"}, Launch())[0] == 2, "by what is scarcest"
    has(*[{"CPU": 2.0, "GPU": 1.0}] * 8)
    with pytest.raises(ValueError, match="^1 trial at a time, .*has 16 CPUs and 8 GPUs on 8 nodes, room for 0"):
        tuning.room({"max_concurrent": "auto"}, Launch())  # a worker's three CPUs are on no node
    has({"CPU": 16.0, "GPU": 8.0})
    Launch.gpu, Launch.num_workers, Launch.threads = False, 1, 1
    assert tuning.room({"max_concurrent": "auto"}, Launch()) == (
        16,
        "each 1 worker of 1 CPU; the cluster has 16 CPUs and 8 GPUs",
    )


def test_tpe_begins_with_the_papers_values_and_stays_within_the_space():
    from pipelines import tuning

    wanted = {"hhl.beta": {"from": 0.05, "to": 2.0, "log": True}, "hhl.n_t": {"from": 15, "to": 17}}
    search = tuning._optuna({"metric": "mAP", "seed": 0, "space": wanted})
    found = []
    for number in range(40):
        found.append(search.suggest(str(number)))
        search.on_trial_complete(str(number), {"mAP": found[-1]["hhl.beta"], "training_iteration": 1})
    assert found[0] == space.PAPERS
    assert {point["hhl.n_t"] for point in found} == {15, 16, 17} and {type(point["hhl.n_t"]) for point in found} == {
        int
    }
    assert all(0.05 <= point["hhl.beta"] <= 2 for point in found)
    assert sum(point["hhl.beta"] > 1 for point in found[20:]) > 10, "it has learned where it is better"
    wanted = {
        "hhl.persons": {"from": 1, "to": 2, "log": True},
        "hhl.margin": {"from": 0.0, "to": 1.0},
        "hhl.styles": ["copies"],
    }
    search = tuning._optuna({"metric": "mAP", "seed": 0, "space": wanted})
    found = [search.suggest(str(number)) for number in range(20)]
    assert {point["hhl.persons"] for point in found} == {1, 2} and {point["hhl.styles"] for point in found} == {
        "copies"
    }


@pytest.mark.slow
def test_a_failed_trials_finished_stage_is_not_left_running(swept, monkeypatch, tmp_path):
    real, calls = retrieving.style_retrieval, []

    def fail_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("the second one")
        return real(*arguments)

    monkeypatch.setattr(retrieving, "style_retrieval", fail_second)
    work_dir = with_cached(tmp_path / "work", swept[0])
    arguments = [*TINY, f"work_dir={work_dir}", "hhl.steps=2", "n_t=0", "sweep.space.beta=[0.1,0.5]"]
    monkeypatch.setattr(sys, "argv", ["sweep.py", *arguments])
    command.many_main(sweep.story, "sweep", sweep.INSTEAD, cluster="inline")
    _, found = runs(work_dir)
    assert sorted(one.info.status for one in found["trial"]) == ["FAILED", "FINISHED"]
    assert {one.info.status for one in found["hhl"]} == {"FINISHED"}
