"""What it costs to start: a command's imports, and a job that does nothing, in one process and by workers of Ray.

    python benchmarks/start.py                 # a minute and a half on two idle cores

Seconds by the clock, and CPU seconds of the whole machine, all of Ray's processes among them: let nothing else run. The job
imports what a training does. A second one in the same command asks no more of Ray than a new group of workers.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = """
from start import nothing
from pipelines import cluster
block = {{"kind": "{kind}", "num_workers": {workers}, "cpus_per_worker": 1}}
with cluster.connect({{"cluster": block, "work_dir": "."}}) as launch:
    for _ in range({times}):
        launch(nothing, [{{}}] * {workers}, on={on!r})
"""
WORKS = {
    "imports of what plans a run": "import pipelines.stages",
    "imports of what trains": "import pipelines.training, torchvision.models",
    "an empty job in one process": LAUNCH.format(kind="inline", workers=1, times=1, on="group"),
    "by a group of one worker of Ray": LAUNCH.format(kind="local", workers=1, times=1, on="group"),
    "by two groups, one after the other": LAUNCH.format(kind="local", workers=1, times=2, on="group"),
    "by a group of two workers": LAUNCH.format(kind="local", workers=2, times=1, on="group"),
    "by a pool of two actors": LAUNCH.format(kind="local", workers=2, times=1, on="pool"),
}


def nothing(job: dict) -> None:
    from pipelines import training

    assert training and not job.keys() - {"threads"}


def busy() -> float:
    """CPU seconds of the machine since it was started."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system  # Ray's workers are nice


def main() -> None:
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    print(f"{os.cpu_count()} cores\n{'':<38}{'seconds':>9}{'CPU s':>9}")
    for name, code in WORKS.items():
        began, before = time.perf_counter(), busy()
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": paths})
        print(f"{name:<38}{time.perf_counter() - began:9.1f}{busy() - before:9.1f}", flush=True)


if __name__ == "__main__":
    main()
