"""Kill the whole job at random moments, start it again, and count how often it ends with the row of an undisturbed run.

    python benchmarks/chaos.py                            # 20 kills, one process each, about 30 s a kill
    python benchmarks/chaos.py --kills 5 --cluster local  # Ray's processes are killed too

Each trial begins with an empty work_dir. Everything that the command has started is sent SIGKILL at a moment drawn uniformly
over the time of the undisturbed run, importing included. Whole is what has the same results.csv (seconds and run id aside),
every MLflow run FINISHED, no metric in the store twice and nothing half-made in the cache. A small job: OPTIONS in
tests/started.py.
"""

import argparse
import collections
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from started import OPTIONS, Started, left_over, rows, statuses  # noqa: E402


def undisturbed(work_dir: Path, cluster: str) -> float:
    """Seconds of a whole run into work_dir."""
    began = time.perf_counter()
    with Started(work_dir, f"cluster={cluster}", at=None) as command:
        if command.end() != 0:
            sys.exit(command.said())
    return time.perf_counter() - began


def killed(work_dir: Path, cluster: str, after: float) -> str:
    """Start, kill everything `after` so many seconds; what it was at, "" if it had ended by then."""
    with Started(work_dir, f"cluster={cluster}", at=None) as command:
        time.sleep(after)
        if command.process.poll() is not None:
            return ""
    cache = [path for path in work_dir.glob("cache/*/*") if path.is_dir()]
    parts = sorted(path.parent.name for path in cache if path.suffix == ".part")
    return ", ".join(parts) or f"no stage, {len(cache)} made"


def whole(work_dir: Path, reference: Path) -> bool:
    """Whether the started-again run has ended like the undisturbed one."""
    same = rows(work_dir) == rows(reference)
    return same and statuses(work_dir) == {"FINISHED"} and not left_over(work_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cluster", choices=("inline", "local"), default="inline")
    arguments = parser.parse_args()
    draw, folder, good = random.Random(arguments.seed), Path(tempfile.mkdtemp(prefix="chaos-")), 0
    reference = folder / "undisturbed" / "work"
    reference.parent.mkdir()
    print(*OPTIONS)
    seconds, places = undisturbed(reference, arguments.cluster), collections.Counter()
    print(f"undisturbed: {seconds:.1f} s, cluster={arguments.cluster}, moments of seed {arguments.seed}", flush=True)
    for trial in range(1, arguments.kills + 1):
        work_dir, at = folder / str(trial) / "work", ""
        while not at:  # one that had ended does not count: a run's time is never quite the same
            shutil.rmtree(work_dir.parent, ignore_errors=True)
            work_dir.parent.mkdir()
            after = draw.uniform(0, seconds)
            at = killed(work_dir, arguments.cluster, after)
        again = undisturbed(work_dir, arguments.cluster)
        fine = whole(work_dir, reference)
        good += fine
        places[at.partition(",")[0]] += 1
        verdict = "same row, nothing twice" if fine else f"NOT WHOLE: see {work_dir}"
        print(f"{trial:3}: killed after {after:5.1f} s at {at}; again {again:5.1f} s: {verdict}", flush=True)
        if fine:
            shutil.rmtree(work_dir.parent)
    print(
        f"{good} of {arguments.kills}: " + ", ".join(f"{number} in {place}" for place, number in places.most_common())
    )
    if good == arguments.kills:
        shutil.rmtree(folder)
    sys.exit(good != arguments.kills)


if __name__ == "__main__":
    main()
