"""pipelines/run.py, sent a signal by itself at a moment: python tests/kill_at.py SIGKILL MOMENT option=value ...

A moment is the n-th time that Python is about to do something to a file, as its own audit events tell, or that SQLAlchemy has
run a statement of a transaction: so the product needs no hooks, and the signal comes at the same place every time. "each" takes
the moments in turn, a process each.
"""

import importlib
import os
import re
import runpy
import signal
import sys
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.event import listen

ROOT = Path(__file__).resolve().parents[1]
# Name -> event, pattern of its arguments, how often until then. In the order in which a run comes to them.
MOMENTS = {
    "MLflow's tables in the making": ("sqlite", "CREATE TABLE datasets", 1),
    "drawing": ("open", r"data/\w+\.part/drawn/.*\.jpg", 100),
    "decoding": ("os.rename", r"data/\w+\.part/query/images\.npy'", 1),
    "a checkpoint": ("os.rename", r"generator/\w+\.part/checkpoint\.pt\.tmp", 1),
    "generator training": ("open", r"generator/\w+\.part/metrics\.jsonl', 'a'", 13),
    "an MLflow write": ("sqlite", "INSERT INTO metrics", 1),
    "half the shards": ("os.rename", r"styles/\w+\.part/shards/\w+\.json'", 2),
    "method training": ("open", r"hhl/\w+\.part/metrics\.jsonl', 'a'", 13),
    "before results.csv": ("open", r"results\.csv\.tmp", 1),
    "never": ("", "", 1),
}


def main() -> None:
    sys.path[0] = str(ROOT / "pipelines")  # as for run.py; tests/ has folders reid_da and gan
    number, moment = signal.Signals[sys.argv[1]], sys.argv[2]
    if moment == "each":
        in_turn(number)
        moment = list(MOMENTS)[-1]
    run(number, moment)


def in_turn(number: signal.Signals) -> None:
    """A process for every moment but the last, one after another: forked from this one, which has done nothing."""
    for moment in list(MOMENTS)[:-1]:
        threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        # pyarrow's allocator takes its own through a fork itself
        others = [name for name in threads if name != "jemalloc_bg_thd"]
        assert len(others) == 1, f"threads {threads}: a fork would lose all but one"
        if (child := os.fork()) == 0:
            run(number, moment)
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -number:
            sys.exit(f"{moment}: ended with {code}, expected {-number}")
        print(f"{moment}: killed", flush=True)


def run(number: signal.Signals, moment: str) -> None:
    event, pattern, left = MOMENTS[moment]

    def look(happening: str, what: str) -> None:
        nonlocal left
        if happening == event and re.search(pattern, what):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    def hear(happening: str, arguments: tuple) -> None:
        if happening in ("open", "os.rename"):
            look(happening, repr(arguments))

    sys.addaudithook(hear)
    listen(Engine, "after_cursor_execute", lambda _, __, statement, *rest: look("sqlite", statement))
    importlib.import_module("pipelines.styling").SHARD = 64  # so that a tiny data set has several
    sys.argv = [str(ROOT / "pipelines" / "run.py"), *sys.argv[3:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
