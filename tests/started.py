"""Commands that tests start, watch and kill: processes of their own, and what they leave."""

import csv
import os
import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import forked
from forked import ROOT

BATCHES = [
    *("gan.batch=8", "hhl.persons=4", "arn.persons=4", "arn.target_batch=8"),
    *(f"{name}.batch=16" for name in ("pretrain", "baseline", "hhl", "measures.method")),
]
SMALL = ["images.height=32", "images.width=16", "backbone.width=8"]
# The whole job, made small, in steps that cost little; and jobs that come to checkpoints.
TINY = [
    "source=market",
    "target=duke",
    "cluster.cpus_per_worker=1",
    "data.world.train_persons=30",
    "data.world.test_persons=6",
    "gan.steps=4",
    "upper_bound=false",
    "register=false",
    "measures.images=100",
    "measures.method.steps=10",
    *(f"{name}.steps=4" for name in ("pretrain", "baseline", "hhl", "arn")),
    *SMALL,
    *BATCHES,
]
# What trains a baseline of a few persons in a few seconds.
FEW_PERSONS = ["data.world.train_persons=12", "data.world.test_persons=6"]
TWO_STEPS = ["methods=[baseline]", "pretrain.steps=2", "baseline.steps=2", "images.height=32", "images.width=16"]
OPTIONS = [*TINY, "methods=[hhl,arn]", "hhl.n_t=2"]
# seconds each, in which a test can look and kill
OPTIONS += [f"{name}.steps={steps}" for name, steps in (("gan", 80), ("pretrain", 80), ("hhl", 40), ("arn", 40))]
FOUR = ["hhl.steps=16", "sweep.space.beta=[0.1,0.5]", "sweep.space.n_t=[0,2]"]
SWEEP = [*TINY, *FOUR]
COMMANDS = {"run": OPTIONS, "sweep": SWEEP}


class Started:
    """A command in a session of its own, its output in a file; ended with everything that it started.

    Args:
        at: a signal that run.py sends itself, and when (tests/kill_at.py); None: the command as it is. name: of the command.
        log: folder of the output; where work_dir lies, unless told.
    """

    def __init__(
        self,
        work_dir: Path,
        *more: str,
        at: tuple[str, str] | None = ("SIGKILL", "never"),
        log: Path | None = None,
        name: str = "run",
    ):
        self.log = (log or work_dir.parent) / f"{time.monotonic_ns()}.log"
        self.mark = f"STARTED_BY_TEST={self.log}"
        program = ROOT / "tests" / "kill_at.py" if at else ROOT / "pipelines" / f"{name}.py"
        line = [*(at or ()), *COMMANDS[name], "cluster=inline", *more, f"work_dir={work_dir}"]
        self.process = forked.start(program, line, self.log, self.log, **dict([self.mark.split("=", 1)]))

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *error) -> None:
        forked.stop(self.process)
        while family := self.family():
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end(self, timeout: float = 600) -> int:
        """Its exit code; -9 for SIGKILL."""
        return forked.end(self.process, timeout)

    def said(self) -> str:
        """What stands on the screen in the end, progress bars aside."""
        lines = re.split(r"[\r\n]+", self.log.read_text())
        return "\n".join(line.strip() for line in lines if line.strip() and "it/s]" not in line)

    def family(self, named: str = "") -> list[int]:
        """Ids of the living processes that came from it, Ray's included: they inherit its environment."""
        found = [self.process.pid] if self.process.is_alive() and not named else []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found += [int(folder.name)] if named in (folder / "cmdline").read_text() else []
            except OSError:  # it ended meanwhile, or is another user's
                pass
        return found


def until(happened, timeout: float = 600):
    """Wait until happened() is true, and give it back."""
    last = time.monotonic() + timeout
    while not (value := happened()):
        assert time.monotonic() < last, "it never came"
        time.sleep(0.02)
    return value


def reports(work_dir: Path, stage: str) -> int:
    """Lines of progress of the stage in the making."""
    return sum(len(path.read_text().splitlines()) for path in (work_dir / "cache" / stage).glob("*.part/metrics.jsonl"))


def rows(work_dir: Path) -> list[dict]:
    """results.csv without what differs from run to run."""
    with open(work_dir / "results.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in ("seconds", "mlflow_run_id")}
            for row in csv.DictReader(file)
        ]


def statuses(work_dir: Path) -> set[str]:
    """Of MLflow's runs; and no metric is there twice, no run either."""
    with closing(sqlite3.connect(work_dir / "mlflow.db")) as store:
        doubled = "SELECT run_uuid, key, step FROM metrics GROUP BY run_uuid, key, step HAVING COUNT(*) > 1"
        assert store.execute(doubled).fetchall() == []
        doubled = "SELECT value FROM tags WHERE key = 'hash' GROUP BY value HAVING COUNT(*) > 1"
        assert store.execute(doubled).fetchall() == []
        return {status for (status,) in store.execute("SELECT status FROM runs")}


def with_cached(work_dir: Path, other: Path, *stages: str) -> Path:
    """work_dir, with copies of these stages of another; by default of those that the trials of a sweep share."""
    for stage in stages or ("data", "generator", "pretrain", "styles", "measures"):
        shutil.copytree(other / "cache" / stage, work_dir / "cache" / stage)
    return work_dir


def left_over(work_dir: Path) -> list[Path]:
    """What a whole run leaves none of in its cache."""
    return [path for path in (work_dir / "cache").rglob("*") if path.suffix in (".part", ".old", ".tmp")]
