"""MLflow as a view of the stages' folders: one run per stage, one per pipeline, rewritten from result.json and metrics.jsonl.

What is there already is left, what is missing is put there: so a killed command's runs are taken up, no metric is there twice
and none stays RUNNING.
"""

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

from pipelines import cache, logged
from pipelines.cache import Stage, free, held

EXPERIMENT = "reid-da"
FOLLOW_SECONDS = 15  # how far the curves of a training lag behind


class Tracking:
    """The runs of one command: a run of its own, and one per stage beneath it.

    Args:
        settings: plain values of the command. stages: the plan. screen: where progress is shown.
        kind: the own run's tag `stage`, "pipeline" or "grid". name: what it is called. tags: more of them.
        ranked_lists: draw a ranked list for each method.
    """

    def __init__(
        self, settings, stages: list[Stage], screen, *, kind="pipeline", name="", tags=None, ranked_lists=True
    ):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # its errors are raised too

        self.settings, self.screen, self.ranked_lists = settings, screen, ranked_lists
        self.work_dir = Path(settings["work_dir"]).absolute()
        self.uri = settings["tracking"]["uri"] or f"sqlite:///{self.work_dir / 'mlflow.db'}"
        self.owner = self._owner()
        with nullcontext() if settings["tracking"]["uri"] else self.alone():
            if not settings["tracking"]["uri"]:
                _make_store(self.work_dir / "mlflow.db")
            self.client = MlflowClient(self.uri)
            self.experiment = self._experiment()
        self.runs: dict[str, str] = {}
        self.taken: set[str] = set()  # hashes whose runs this command has opened
        self.logged: dict[str, set] = {}
        content = json.dumps([kind, *sorted(stage.hash for stage in stages)])
        self.key = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.tags = {"stage": kind, "hash": self.key, **(tags or logged.names(settings))}
        self.name = name or "{source} -> {target}".format(**self.tags)
        self.source = "pipelines/reproduce.py" if kind == "grid" else "pipelines/run.py"
        self.active: list[Stage] = []
        self.lock, self.stop = threading.RLock(), threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Tracking":
        self.thread.start()
        self.alive = ExitStack()
        lock = self._folder(self.tags["stage"]) / f"{self.key}.{os.getpid()}.lock"
        self.alive.callback(lock.unlink, missing_ok=True)
        self.alive.enter_context(held(lock))
        with ExitStack() as opening:
            opening.push(self)  # an error or Ctrl-C in here closes what is open, too
            with self.alone():
                self._open()
            opening.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.stop.set()
        self.thread.join()
        if kind is not None:
            self.fail("KILLED" if kind is KeyboardInterrupt else "FAILED")
        self.alive.close()

    def alone(self):
        """One command of the work_dir at a time: two would both make the store's tables, or log what both found missing."""
        return held(self.work_dir / "mlflow.lock")

    def _owner(self) -> str:
        """A name for the work_dir that moves with it: a store may hold the runs of many, and each keeps to its own."""
        path = self._folder("") / "owner"
        with held(f"{path}.lock"):
            if not path.exists():
                cache.write_json(path, uuid.uuid4().hex)
        return json.loads(path.read_text())

    def _mine(self, condition: str, **options):
        return self.client.search_runs([self.experiment], f"{condition} and tags.work_dir = '{self.owner}'", **options)

    def _folder(self, stage: str) -> Path:
        return self.work_dir / "cache" / stage

    def _open(self) -> None:
        self._close_the_dead()
        self.pipeline = self._run(self.key, self.name, self.tags, logged.flat(self.settings, ""))
        self.client.log_dict(self.pipeline, self.settings, "settings.json")

    def _close_the_dead(self) -> None:
        """What a killed command left RUNNING, and nobody works on, was KILLED. The same command given again takes it up.

        Somebody works on it while a lock that begins with its hash is held: a stage's own, or one per command and process.
        """
        for run in self._mine("attributes.status = 'RUNNING'"):
            tags = run.data.tags
            if all(map(free, self._folder(tags["stage"]).glob(f"{tags['hash']}*.lock"))):
                self.client.set_terminated(run.info.run_id, "KILLED")

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
        pictures = figures.of_stage(stage, self.work_dir, again=not reused, ranked=self.ranked_lists)
        if self.client.get_run(run).info.status == "FINISHED":
            return
        self.sync(stage)
        folder = stage.folder(self.work_dir)
        self.client.log_artifact(run, str(folder / "stage.json"))
        if (folder / "result.json").exists():
            self.client.log_artifact(run, str(folder / "result.json"))
            self._log(run, logged.numbers(json.loads((folder / "result.json").read_text())))
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

    def finish(self, numbers: dict[str, float], pictures: list[Path], files: list[Path], whole: bool = True) -> None:
        """The command's own metrics, figures and tables; its run is FINISHED.

        whole: false leaves the metrics, which are logged once, to the command that goes on; till then the run is KILLED.
        """
        if whole:
            self._log(self.pipeline, numbers)
        for path in pictures:
            self.client.log_artifact(self.pipeline, str(path), "figures")
        for path in files:
            self.client.log_artifact(self.pipeline, str(path))
        self.client.set_terminated(self.pipeline, "FINISHED" if whole else "KILLED")

    def fail(self, status: str) -> None:
        """Close what is still open: "FAILED", or "KILLED" by Ctrl-C."""
        from mlflow.exceptions import MlflowException

        try:
            for run in self._mine("attributes.status = 'RUNNING'"):
                if run.data.tags.get("hash") in self.taken:
                    self.client.set_terminated(run.info.run_id, status)
        except MlflowException:  # the error that ended the run may be MLflow's own, and is the one to tell
            self.screen.say("MLflow's runs could not be closed; the next command takes them up")

    def run_ids(self) -> dict[str, str]:
        """Stage hash -> id of its run, of all stages of the work_dir."""
        found, token = {}, None
        while True:
            page = self._mine("attributes.status != ''", max_results=1000, page_token=token)
            found |= {run.data.tags["hash"]: run.info.run_id for run in page}
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
        for run in self._mine(f"tags.hash = '{stage.hash}'"):
            if run.info.status == "FINISHED":
                self.client.delete_run(run.info.run_id)
                self.runs.pop(stage.hash, None)

    def _stage_run(self, stage: Stage) -> str:
        if stage.hash not in self.runs:
            about = {k: str(v) for k, v in stage.about.items() if k != "notes"}
            tags = {"stage": stage.name, "hash": stage.hash, "mlflow.parentRunId": self.pipeline, **about}
            variant = about.get("variant", "default")
            name = stage.label if variant == "default" else f"{stage.label} {variant}"
            self.runs[stage.hash] = self._run(stage.hash, name, tags, logged.params(stage))
        return self.runs[stage.hash]

    def _run(self, key: str, name: str, tags: dict, params: dict) -> str:
        """The run tagged with this hash: the one that is there, taken up unless it is finished, or a new one."""
        from mlflow.entities import Param

        self.taken.add(key)  # first, or a run that Ctrl-C meets in the making would stay RUNNING
        found = self._mine(f"tags.hash = '{key}'", max_results=1)
        if found:
            run = found[0]
            if run.info.status != "FINISHED":
                self.client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {**tags, "work_dir": self.owner, "mlflow.source.name": self.source, **logged.commit()}
            run = self.client.create_run(self.experiment, tags=tags, run_name=name)
        values = [Param(key, str(value)) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(values), 100):
            self.client.log_batch(run.info.run_id, params=values[start : start + 100])
        return run.info.run_id

    def _log(self, run: str, numbers: dict[str, float]) -> None:
        """Results, as the run's last values: one that has changed, since a stage was made again, takes the next step."""
        from mlflow.entities import Metric

        now, there = int(time.time() * 1000), self.client.get_run(run).data.metrics
        new = {name: value for name, value in numbers.items() if there.get(name) != value}
        steps = {n: max(m.step for m in self.client.get_metric_history(run, n)) + 1 for n in new if n in there}
        self._log_missing(run, [Metric(name, value, now, steps.get(name, 0)) for name, value in new.items()])

    def _log_missing(self, run: str, metrics: list) -> None:
        there = self.logged.setdefault(run, set())
        for name in {metric.key for metric in metrics} - {name for name, _ in there}:
            there |= {(name, old.step) for old in self.client.get_metric_history(run, name)}
        new = [metric for metric in metrics if (metric.key, metric.step) not in there]
        for start in range(0, len(new), 1000):
            self.client.log_batch(run, metrics=new[start : start + 1000])
        there |= {(metric.key, metric.step) for metric in new}


def _make_store(path: Path) -> None:
    """Make the database whole or not at all: MLflow cannot mend one that a kill left in the middle of its migrations."""
    if path.exists():
        return
    from mlflow.tracking import MlflowClient

    new = path.with_name(f"{path.name}.tmp")
    for half in path.parent.glob(f"{new.name}*"):
        half.unlink()
    MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
    os.replace(new, path)
