"""MLflow as a view of the stages' folders: one run per stage, one per command, rewritten from result.json and metrics.jsonl.

What is there already is left, what is missing is put there: so a killed command's runs are taken up, no metric is there twice
and none stays RUNNING.
"""

import hashlib
import json
import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines import generator_pictures, logged
from pipelines.cache import Stage, held
from pipelines.store import Store

FOLLOW_SECONDS = 15  # how far the curves of a training lag behind


class Tracking:
    """The runs of one command: a run of its own, and one per stage beneath it.

    Args:
        settings: plain values of the command. stages: the plan. screen: where progress is shown.
        kind: the own run's tag `stage`, "pipeline", "grid", "sweep" or "evaluation". name: what it is called. tags: more of them.
        key: what the own run is found by again; by default the kind and the plan. ranked_lists: draw one for each method.
    """

    def __init__(
        self, settings, stages: list[Stage], screen, *, kind="pipeline", name="", tags=None, key="", ranked_lists=True
    ):
        self.settings, self.screen, self.ranked_lists = settings, screen, ranked_lists
        self.work_dir = Path(settings["work_dir"]).absolute()
        command = {"grid": "reproduce", "sweep": "sweep", "evaluation": "evaluate"}.get(kind, "run")
        self.store = Store(self.work_dir, settings["tracking"]["uri"], f"pipelines/{command}.py")
        self.uri, self.client = self.store.uri, self.store.client
        self.runs: dict[str, str] = {}
        self.parents: dict[str, str] = {}  # stage hash -> the run that it belongs to, if not the command's own
        content = json.dumps([kind, key or sorted(stage.hash for stage in stages)])
        self.key = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.tags = {"stage": kind, **(tags or logged.names(settings))}
        self.name = name or "{source} -> {target}".format(**self.tags)
        self.data = [stage for stage in stages if stage.name == "data"]
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
        return self.store.alone()

    def run_ids(self) -> dict[str, str]:
        return self.store.run_ids()

    def _folder(self, stage: str) -> Path:
        return self.work_dir / "cache" / stage

    def _open(self) -> None:
        self.store.close_the_dead()
        self.pipeline = self.store.run(self.key, self.name, self.tags, logged.flat(self.settings, ""))
        self.client.log_dict(self.pipeline, self.settings, "settings.json")
        self._watch_the_machine()

    def _watch_the_machine(self) -> None:
        """CPU, memory, disk, network and GPUs of this machine as system/... metrics of the command's run, till it ends.

        By one command: a second one with the same run would log what the first has at the same steps.
        """
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        watch = FileLock(self._folder(self.tags["stage"]) / f"{self.key}.watch.lock", fallback_to_soft=False)
        try:
            watch.acquire(timeout=0)
        except Timeout:
            return
        self.alive.callback(watch.release)
        monitor = SystemMetricsMonitor(self.pipeline, resume_logging=True, tracking_uri=self.uri)
        monitor.start()
        self.alive.callback(monitor.finish)

    def begin(self, stages: list[Stage]) -> None:
        with self.lock:
            for stage in stages:
                self._forget_finished(stage)
                self._stage_run(stage)
            self.active += stages
        self.screen.begin(stages)

    def leave(self, stages: list[Stage], status: str) -> None:
        """Close the runs of stages that were begun and will not be finished: "KILLED" or "FAILED"."""
        self.screen.leave(stages)
        with self.lock:
            self.active = [stage for stage in self.active if stage not in stages]
            for stage in stages:
                self.sync(stage)
                self.client.set_terminated(self._stage_run(stage), status)

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
        if self.store.status(run) == "FINISHED":
            return
        self.sync(stage)
        folder = stage.folder(self.work_dir)
        self.client.log_artifact(run, str(folder / "stage.json"))
        if (folder / "result.json").exists():
            self.client.log_artifact(run, str(folder / "result.json"))
            self.store.log(run, logged.numbers(json.loads((folder / "result.json").read_text())))
        for path in pictures:
            self.client.log_artifact(run, str(path), "figures")
        self._log_data(run, [(role, one) for role, one in stage.inputs.items() if one.name == "data"])
        self.client.set_terminated(run, "FINISHED")

    def _follow(self) -> None:
        from mlflow.exceptions import MlflowException

        while not self.stop.wait(FOLLOW_SECONDS):
            # A courtesy: what fails here, e.g. as a folder is renamed meanwhile, is tried again, and told, by end.
            with self.lock, suppress(MlflowException, OSError):
                for stage in self.active:
                    self.sync(stage)

    def say(self, line: str) -> None:
        self.screen.say(line)

    def sync(self, stage: Stage) -> None:
        """Log the lines of metrics.jsonl and the pictures of styles that are not there yet, by step."""
        from mlflow.entities import Metric

        run, folder = self._stage_run(stage), stage.folder(self.work_dir)
        folder = folder if folder.is_dir() else stage.part(self.work_dir)
        pictures = {int(path.stem): path for path in (folder / generator_pictures.FOLDER).glob("*.png")}
        self.store.log_missing_images(run, "styles", pictures)
        path = folder / "metrics.jsonl"
        if not path.exists() or stage.name in ("data", "styles"):
            return
        now, metrics = int(time.time() * 1000), []
        for line in path.read_text().splitlines(keepends=True):
            entry = json.loads(line) if line.endswith("\n") else {}
            step = entry.pop("step", None)
            names = [name for name in entry if name not in ("total", "phase")]
            metrics += [Metric(name, entry[name], now, step) for name in names]
        self.store.log_missing(run, metrics)

    def finish(
        self, numbers: dict[str, float], pictures: list[Path], files: list[Path], note: str = "", whole: bool = True
    ) -> None:
        """The command's own metrics, figures and tables; its run is FINISHED.

        Args:
            note: the run's description, what its page shows first. whole: false leaves the metrics to the command that goes on;
                till then the run is KILLED.
        """
        if whole:
            self.store.log(self.pipeline, numbers)
        for path in pictures:
            self.client.log_artifact(self.pipeline, str(path), "figures")
        for path in files:
            self.client.log_artifact(self.pipeline, str(path))
        if note:
            self.client.set_tag(self.pipeline, "mlflow.note.content", f"```\n{note}\n```")
        self._log_data(self.pipeline, [(self.tags["stage"], one) for one in self.data if one.finished(self.work_dir)])
        self.client.set_terminated(self.pipeline, "FINISHED" if whole else "KILLED")

    def _log_data(self, run: str, stages: list[tuple[str, Stage]]) -> None:
        self.store.log_data(run, [(role, logged.dataset(stage, self.work_dir)) for role, stage in stages])

    def fail(self, status: str) -> None:
        """Close what is still open: "FAILED", or "KILLED" by Ctrl-C."""
        from mlflow.exceptions import MlflowException

        try:
            self.store.close_open(status)
        except MlflowException:  # the error that ended the run may be MLflow's own, and is the one to tell
            self.screen.say("MLflow's runs could not be closed; the next command takes them up")

    def _forget_finished(self, stage: Stage) -> None:
        """A stage that is made again, by force, gets a new run."""
        for run in self.store.mine(f"tags.hash = '{stage.hash}'"):
            if run.info.status == "FINISHED":
                self.client.delete_run(run.info.run_id)
                self.runs.pop(stage.hash, None)

    def _stage_run(self, stage: Stage) -> str:
        if stage.hash not in self.runs:
            about = {k: str(v) for k, v in stage.about.items() if k not in ("notes", "preprocessing")}
            parent = self.parents.get(stage.hash, self.pipeline)
            tags = {"stage": stage.name, "mlflow.parentRunId": parent, **about}
            variant = about.get("variant", "default")
            name = stage.label if variant == "default" else f"{stage.label} {variant}"
            self.runs[stage.hash] = self.store.run(stage.hash, name, tags, logged.params(stage))
        return self.runs[stage.hash]
