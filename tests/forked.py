"""Commands as processes of their own, forked from one that has imported what they all import: ten seconds less for each.

What happens before a command's first own line is Python's and its libraries' alone; test_command.py starts some as users do.
"""

import atexit
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What a run imports by and by, and what costs most of a start; pipelines is found as it is installed, or from the project's root.
# Nothing here starts a thread, which a fork would lose.
WARM = [
    *(
        f"pipelines.{name}"
        for name in ("data_limits", "stages", "results", "figures", "logged", "tracking", "progress")
    ),
    "hydra.utils",
    "mlflow.artifacts",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor",
    *("sklearn.manifold", "torch._dynamo", "torchvision.models", "pipelines.cluster"),
]
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(WARM)
for library in ("OMP", "OPENBLAS", "MKL"):  # another of pytest's processes has the other core
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # as pipelines/store.py does before it imports mlflow


def start(
    program: Path, arguments: Sequence[str], out: Path, err: Path, cwd: Path = ROOT, **variables: str
) -> BaseProcess:
    """`python program argument ...` in a session of its own, what it says in these files."""
    everything = dict(os.environ) | variables  # the server has those of its own start
    process = SERVER.Process(target=_begin, args=(program, [*map(str, arguments)], out, err, cwd, everything))
    process.start()
    return process


def end(process: BaseProcess, timeout: float = 600) -> int:
    """Its exit code, -9 for SIGKILL; it has to come in time."""
    process.join(timeout)
    assert process.exitcode is not None, f"{timeout} seconds were not enough"
    return process.exitcode


def stop(process: BaseProcess) -> None:
    """It and whatever it forked are no more; what it started in sessions of their own, as Ray is, stays."""
    if process.is_alive():
        with suppress(ProcessLookupError):  # it has no session of its own yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def run(name: str, *options: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess:
    """`python pipelines/<name>.py option=value ...` to its end, and what it said."""
    program = ROOT / "pipelines" / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = start(program, options, out, err, cwd)
        try:
            code = end(process, timeout)
        finally:
            stop(process)
        return subprocess.CompletedProcess([program, *options], code, out.read_text(), err.read_text())


def _begin(program: Path, arguments: list[str], out: Path, err: Path, cwd: Path, variables: dict[str, str]) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= variables
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.path[0], sys.argv = str(program.parent), [str(program), *arguments]
    try:
        runpy.run_path(str(program), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing's passes over
