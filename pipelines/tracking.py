"""MLflow as a view of the stages' folders: one run per stage, one per pipeline, rewritten from result.json and metrics.jsonl.

What is there already is left, what is missing is put there: so a killed command's runs are taken up, no metric is there twice
and none stays RUNNING.
"""

import hashlib
import json
import logging
import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from pipelines.cache import Stage

EXPERIMENT = "reid-da"
FOLLOW_SECONDS = 15  # how far the curves of a training lag behind
ROOT = Path(__file__).resolve().parent.parent


class Tracking:
    """The runs of one pipeline.

    Args:
        settings: plain values of the command. stages: the plan. screen: where progress is shown.
    """

    def __init__(self, settings: dict, stages: list[Stage], screen):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # its errors are raised too

        self.settings, self.screen = settings, screen
        self.work_dir = Path(settings["work_dir"]).absolute()
        self.uri = settings["tracking"]["uri"] or f"sqlite:///{self.work_dir / 'mlflow.db'}"
        if not settings["tracking"]["uri"]:
            self.work_dir.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(self.uri)
        self.experiment = self._experiment()
        self.runs: dict[str, str] = {}
        self.logged: dict[str, set] = {}
        key = self.key = hashlib.sha256(json.dumps(sorted(stage.hash for stage in stages)).encode()).hexdigest()[:16]
        tags = {"stage": "pipeline", "hash": key, **_names(settings), "methods": ",".join(settings["methods"])}
        name = "{source} -> {target}".format(**tags)
        self.pipeline = self._run(key, name, tags, _flat(settings, ""))
        self.client.log_dict(self.pipeline, settings, "settings.json")
        self.active: list[Stage] = []
        self.lock, self.stop = threading.RLock(), threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Tracking":
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.stop.set()
        self.thread.join()
        if kind is not None:
            self.fail("KILLED" if kind is KeyboardInterrupt else "FAILED")

    def begin(self, stages: list[Stage]) -> None:
        with self.lock:
            for stage in stages:
                self._forget_finished(stage)
                self._stage_run(stage)
            self.active = list(stages)
        self.screen.begin(stages)

    def end(self, stage: Stage, reused: bool) -> None:
        """Bring the stage's run up to its folder, draw its figures, and close it."""
        from pipelines import figures

        self.screen.end(stage, reused)
        with self.lock:
            self._end(stage, reused, figures)

    def _end(self, stage: Stage, reused: bool, figures) -> None:
        self.active = [other for other in self.active if other is not stage]
        run = self._stage_run(stage)
        pictures = figures.of_stage(stage, self.work_dir, again=not reused)
        if self.client.get_run(run).info.status == "FINISHED":
            return
        self.sync(stage)
        folder = stage.folder(self.work_dir)
        self.client.log_artifact(run, str(folder / "stage.json"))
        if (folder / "result.json").exists():
            self.client.log_artifact(run, str(folder / "result.json"))
            self._log(run, _numbers(json.loads((folder / "result.json").read_text())))
        for path in pictures:
            self.client.log_artifact(run, str(path), "figures")
        self.client.set_terminated(run, "FINISHED")

    def _follow(self) -> None:
        from mlflow.exceptions import MlflowException

        while not self.stop.wait(FOLLOW_SECONDS):
            with self.lock, suppress(MlflowException):  # a courtesy: what fails here is tried again, and told, by end
                for stage in self.active:
                    self.sync(stage)

    def say(self, line: str) -> None:
        self.screen.say(line)

    def sync(self, stage: Stage) -> None:
        """Log the lines of metrics.jsonl that are not there yet, by step."""
        from mlflow.entities import Metric

        run, folder = self._stage_run(stage), stage.folder(self.work_dir)
        path = (folder if folder.is_dir() else stage.part(self.work_dir)) / "metrics.jsonl"
        if not path.exists() or stage.name in ("data", "styles"):
            return
        now, metrics = int(time.time() * 1000), []
        for line in path.read_text().splitlines(keepends=True):
            entry = json.loads(line) if line.endswith("\n") else {}
            step = entry.pop("step", None)
            names = [name for name in entry if name not in ("total", "phase")]
            metrics += [Metric(name, entry[name], now, step) for name in names]
        self._log_missing(run, metrics)

    def finish(self, results: dict[str, dict]) -> None:
        """The pipeline's own metrics and figures; its run is FINISHED."""
        from pipelines import figures

        for method, result in results.items():
            self._log(self.pipeline, {f"{method}/{k}": v for k, v in _numbers(result).items() if "/" not in k})
        for path in figures.of_pipeline(results, self.settings, self.work_dir, self.key):
            self.client.log_artifact(self.pipeline, str(path), "figures")
        self.client.log_artifact(self.pipeline, str(self.work_dir / "results.csv"))
        self.client.set_terminated(self.pipeline, "FINISHED")

    def fail(self, status: str) -> None:
        """Close what is still open: "FAILED", or "KILLED" by Ctrl-C."""
        from mlflow.exceptions import MlflowException

        try:
            for run in [*self.runs.values(), self.pipeline]:
                if self.client.get_run(run).info.status == "RUNNING":
                    self.client.set_terminated(run, status)
        except MlflowException:  # the error that ended the run may be MLflow's own, and is the one to tell
            self.screen.say("MLflow's runs could not be closed; the next command takes them up")

    def run_ids(self) -> dict[str, str]:
        """Stage hash -> id of its run, of all stages in the store."""
        found, token = {}, None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            found |= {run.data.tags["hash"]: run.info.run_id for run in page if "hash" in run.data.tags}
            token = page.token
            if not token:
                return found

    def _experiment(self) -> str:
        known = self.client.get_experiment_by_name(EXPERIMENT)
        if known:
            return known.experiment_id
        local = None if self.settings["tracking"]["uri"] else (self.work_dir / "mlartifacts").as_uri()
        return self.client.create_experiment(EXPERIMENT, artifact_location=local)

    def _forget_finished(self, stage: Stage) -> None:
        """A stage that is made again, by force, gets a new run."""
        for run in self.client.search_runs([self.experiment], f"tags.hash = '{stage.hash}'"):
            if run.info.status == "FINISHED":
                self.client.delete_run(run.info.run_id)
                self.runs.pop(stage.hash, None)

    def _stage_run(self, stage: Stage) -> str:
        if stage.hash not in self.runs:
            about = {k: str(v) for k, v in stage.about.items() if k != "notes"}
            tags = {"stage": stage.name, "hash": stage.hash, "mlflow.parentRunId": self.pipeline, **about}
            variant = about.get("variant", "default")
            name = stage.label if variant == "default" else f"{stage.label} {variant}"
            self.runs[stage.hash] = self._run(stage.hash, name, tags, _params(stage))
        return self.runs[stage.hash]

    def _run(self, key: str, name: str, tags: dict, params: dict) -> str:
        """The run tagged with this hash: the one that is there, taken up unless it is finished, or a new one."""
        from mlflow.entities import Param

        found = self.client.search_runs([self.experiment], f"tags.hash = '{key}'", max_results=1)
        if found:
            if found[0].info.status != "FINISHED":
                self.client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id
        tags = {**tags, "mlflow.source.name": "pipelines/run.py", **_commit()}
        run = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        values = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(values), 100):
            self.client.log_batch(run, params=values[start : start + 100])
        return run

    def _log(self, run: str, numbers: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._log_missing(run, [Metric(name, value, now, 0) for name, value in numbers.items()])

    def _log_missing(self, run: str, metrics: list) -> None:
        there = self.logged.setdefault(run, set())
        for name in {metric.key for metric in metrics} - {name for name, _ in there}:
            there |= {(name, old.step) for old in self.client.get_metric_history(run, name)}
        new = [metric for metric in metrics if (metric.key, metric.step) not in there]
        for start in range(0, len(new), 1000):
            self.client.log_batch(run, metrics=new[start : start + 1000])
        there |= {(metric.key, metric.step) for metric in new}


def _params(stage: Stage) -> dict[str, object]:
    """A stage's options under the names that they have on the command line."""
    values = stage.settings
    if "method" in values:
        return {
            "seed": values["seed"],
            **_flat(values["method"], f"{stage.name}."),
            **_flat(values["backbone"], "backbone."),
        }
    if stage.name == "data":
        draw = values.get("draw", {})
        world = {f"data.world.{key}": value for key, value in draw.items() if key not in ("world", "seed")}
        own = {"data.skip_unreadable": values["skip_unreadable"], **_flat(values["images"], "images.")}
        return own | ({"data.seed": draw["seed"], **world} if draw else {"root": values["root"]})
    return _flat(values, "gan.")


def _names(settings: dict) -> dict[str, str]:
    names = {role: settings[role]["name"] for role in ("source", "target")}
    return {**names, "recipe": settings["recipe"], "seed": str(settings["seed"])}


def _flat(block: dict, prefix: str) -> dict[str, object]:
    """Nested settings as full names: {"hhl": {"beta": 0.5}} -> {"hhl.beta": 0.5}."""
    flat = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _numbers(result: dict) -> dict[str, float]:
    """A method's result.json as metrics: the target's under their own names, the source's as source/mAP."""
    numbers = {}
    for role, prefix in (("target", ""), ("source", "source/")):
        values = result.get(role, {})
        numbers |= {prefix + name: value for name, value in values.items() if isinstance(value, int | float)}
    return numbers


def _commit() -> dict[str, str]:
    """The git commit of this code, if it is a checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": commit.stdout.strip()} if commit.returncode == 0 else {}
