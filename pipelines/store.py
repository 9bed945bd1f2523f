"""The MLflow store of a work_dir: its runs, found by hash, and numbers and images that are never there twice.

A store may hold the runs of many work_dirs (tracking.uri); each keeps to its own, by the tag work_dir.
"""

import json
import logging
import os
import re
import shlex
import time
import uuid
from contextlib import nullcontext
from pathlib import Path

from PIL import Image

from pipelines import cache, database, logged
from pipelines.cache import free, held


class Store:
    """A client, and what is asked of it.

    Args:
        work_dir: absolute. uri: of an MLflow server or store; None: sqlite in the work_dir, its artifacts beside it.
        source: the command that runs are said to come from.
    """

    def __init__(self, work_dir: Path, uri: str | None, source: str):
        _hush()
        own = f"sqlite:///{work_dir / 'mlflow.db'}"
        self.work_dir, self.source, self.own = work_dir, source, uri in (None, own)
        self.uri = uri or own
        with self.alone() if self.own else nullcontext():
            if self.own:
                database.make(work_dir / "mlflow.db")
                database.follow(work_dir / "mlflow.db")
            self.client = client_of(self.uri)
            self.experiment = self._experiment()
        self.owner = self._owner()
        self.taken: set[str] = set()  # hashes whose runs this command has opened
        self.logged: dict[str, set] = {}
        self.pictured: dict[tuple[str, str], set[int]] = {}  # run, key of images -> steps

    def how_to_browse(self) -> str:
        """In words. MLflow's own first page is one for language models."""
        page = f"#/experiments/{self.experiment}/runs?workflowType=machine_learning"
        if self.uri.startswith("http"):
            return f"{self.uri.rstrip('/')}/{page}"
        return f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}, then http://127.0.0.1:5000/{page}"

    def alone(self):
        """One command of the work_dir at a time: two would both make the store's tables, or log what both found missing."""
        return held(self.work_dir / "mlflow.lock")

    def _owner(self) -> str:
        """A name for the work_dir that moves with it."""
        path = self.work_dir / "cache" / "owner"
        with held(f"{path}.lock"):
            if not path.exists():
                cache.write_json(path, uuid.uuid4().hex)
        return json.loads(path.read_text())

    def _experiment(self) -> str:
        known = self.client.get_experiment_by_name(database.EXPERIMENT)
        if known:
            return known.experiment_id
        file = self.uri.removeprefix("sqlite:///")  # beside it, where MLflow's own place is under the cwd
        place = database.artifacts(Path(file)) if file != self.uri else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # or MLflow's pages are those for language models
        return self.client.create_experiment(database.EXPERIMENT, artifact_location=place, tags=kind)

    def mine(self, condition: str, **options):
        """The work_dir's runs for which the condition holds."""
        return self.client.search_runs([self.experiment], f"{condition} and tags.work_dir = '{self.owner}'", **options)

    def run(self, key: str, name: str, tags: dict, params: dict) -> str:
        """The run tagged with this hash: the one that is there, taken up unless it is finished, or a new one."""
        from mlflow.entities import Param

        self.taken.add(key)  # first, or a run that Ctrl-C meets in the making would stay RUNNING
        found = self.mine(f"tags.hash = '{key}'", max_results=1)
        if found:
            run = found[0]
            if run.info.status != "FINISHED":
                self.client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {**tags, "hash": key, "work_dir": self.owner, "mlflow.source.name": self.source, **logged.commit()}
            run = self.client.create_run(self.experiment, tags=tags, run_name=name)
        values = [Param(key, str(value)) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(values), 100):
            self.client.log_batch(run.info.run_id, params=values[start : start + 100])
        return run.info.run_id

    def run_ids(self) -> dict[str, str]:
        """Stage hash -> id of its run, of all stages of the work_dir."""
        found, token = {}, None
        while True:
            page = self.mine("attributes.status != ''", max_results=1000, page_token=token)
            found |= {run.data.tags["hash"]: run.info.run_id for run in page}
            token = page.token
            if not token:
                return found

    def status(self, run: str) -> str:
        return self.client.get_run(run).info.status

    def close_the_dead(self) -> None:
        """What a killed command left RUNNING, and nobody works on, was KILLED. The same command given again takes it up.

        Somebody works on it while a lock that begins with its hash is held: a stage's own, or one per command and process. A
        trial's is its sweep's, whose name stands in the tag `sweep`.
        """
        for run in self.mine("attributes.status = 'RUNNING'"):
            tags = run.data.tags
            kind, name = ("sweep", tags["sweep"]) if "sweep" in tags else (tags["stage"], tags["hash"])
            if all(map(free, (self.work_dir / "cache" / kind).glob(f"{name}*.lock"))):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def close_open(self, status: str) -> None:
        """Close what this command has opened and not ended."""
        for run in self.mine("attributes.status = 'RUNNING'"):
            if run.data.tags["hash"] in self.taken:
                self.client.set_terminated(run.info.run_id, status)

    def log(self, run: str, numbers: dict[str, float]) -> None:
        """Results, as the run's last values: one that has changed, since a stage was made again, takes the next step."""
        from mlflow.entities import Metric

        now, there = int(time.time() * 1000), self.client.get_run(run).data.metrics
        new = {name: value for name, value in numbers.items() if there.get(name) != value}
        steps = {n: max(m.step for m in self.client.get_metric_history(run, n)) + 1 for n in new if n in there}
        self.log_missing(run, [Metric(name, value, now, steps.get(name, 0)) for name, value in new.items()])

    def log_missing(self, run: str, metrics: list) -> None:
        """Those of the metrics that the run does not have at their steps."""
        there = self.logged.setdefault(run, set())
        for name in {metric.key for metric in metrics} - {name for name, _ in there}:
            there |= {(name, old.step) for old in self.client.get_metric_history(run, name)}
        new = [metric for metric in metrics if (metric.key, metric.step) not in there]
        for start in range(0, len(new), 1000):
            self.client.log_batch(run, metrics=new[start : start + 1000])
        there |= {(metric.key, metric.step) for metric in new}

    def log_missing_images(self, run: str, key: str, images: dict[int, Path]) -> None:
        """Those of the images (step -> PNG) that the run does not have; MLflow shows a key's images with a step slider.

        What is there is asked for once a command: MLflow's names of images hold a random part, so a second one would lie beside
        the first. Of the two files that make one the preview comes last; a step without it was cut off, and is logged again.
        """
        if images and (run, key) not in self.pictured:
            names = [Path(file.path).name for file in self.client.list_artifacts(run, "images")]
            name = re.compile(rf"{re.escape(key)}\+step\+(\d+)\+.*\+compressed\.webp")
            self.pictured[run, key] = {int(found[1]) for found in map(name.fullmatch, names) if found}
        there = self.pictured.get((run, key), set())
        for step in sorted(images.keys() - there):
            with Image.open(images[step]) as image:
                self.client.log_image(run, image, key=key, step=step, synchronous=True)
            there.add(step)

    def log_data(self, run: str, data: list[tuple[str, dict]]) -> None:
        """Data sets that the run was made from: pairs of what they are to it and logged.dataset."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        known = {(one.dataset.name, one.dataset.digest) for one in self.client.get_run(run).inputs.dataset_inputs}
        new = [
            DatasetInput(Dataset(**one), [InputTag("mlflow.data.context", role)])
            for role, one in data
            if (one["name"], one["digest"]) not in known
        ]
        if new:
            self.client.log_inputs(run, new)


def client_of(uri: str):
    """An MlflowClient of the store, which must be there: a server that does not answer is told at once, not after minutes."""
    _hush()
    from mlflow.tracking import MlflowClient

    if "://" not in uri and not uri.startswith("databricks"):  # a folder, in which MLflow no longer keeps runs
        raise ValueError(
            f"tracking.uri is {uri}; expected a database such as sqlite:////data/mlflow.db, or a server's http://HOST:PORT"
        )
    try:
        client, name = MlflowClient(uri), "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    except ModuleNotFoundError as error:
        raise ValueError(f"tracking.uri is {uri}, whose driver {error.name} is not installed; install it") from error
    if uri.startswith("http"):
        before = os.environ.get(name)
        os.environ[name] = "1"
        try:
            client.search_experiments(max_results=1)
        finally:
            del os.environ[name]
            os.environ |= {} if before is None else {name: before}
    return client


def _hush() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow  # noqa: F401 - which sets its loggers up

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # its errors are raised too
