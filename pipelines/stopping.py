"""Early stopping by the training itself: at a third and at two thirds it looks whether the others were better there.

Trials share a folder of small files, one per training, so no process has to be told to end, and none is killed: what a
killed trial would leave behind in Ray (a placement group that nobody frees) is never there.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from pipelines import cache, evaluating, retrieving
from reid_da import distributed

RUNGS = (1 / 3, 2 / 3)  # of a training's steps
LEAST = 3  # others that must have been at a rung before anybody is stopped there


def watch(job: dict, method) -> Callable:
    """report(done, total, floats) for loop.fit: True ends the training.

    The median rule (Golovin et al., KDD 2017), with the score at the rung: stop if it is below the median of the others' with
    the same seed. Scores stand in the training's record, so that a killed and restarted one looks once at every rung.

    Args:
        job: of the method's stage, with "early": {"folder", "trial", "seed", "metric", "generator"}.
    """
    own, passed = _record(job["early"]), set()

    def report(done: int, total: int, floats: dict) -> bool:
        due = [f"{rung:.2f}" for rung in RUNGS if rung * total <= done < total]
        if not due or due[-1] in passed:
            return False
        passed.add(due[-1])
        return _stops(job, method, own, due[-1], done)

    return report


def _stops(job: dict, method, own: Path, rung: str, done: int) -> bool:
    known = distributed.broadcast(read(own))
    if rung not in known["scores"]:
        known["scores"][rung] = SCORES[job["early"]["metric"]](job, method)
        if distributed.rank() == 0:
            others = [read(path)["scores"] for path in own.parent.glob(f"*-{job['early']['seed']}.json") if path != own]
            there = [scores[rung] for scores in others if rung in scores]
            if len(there) >= LEAST and known["scores"][rung] < statistics.median(there):
                known["stopped"] = done
            own.parent.mkdir(parents=True, exist_ok=True)
            cache.write_json(own, known)
    return distributed.broadcast("stopped" in known)


def ended(early: dict) -> bool:
    """Whether a training of the trial, with whatever seed, has stopped itself."""
    return distributed.broadcast(any("stopped" in one for one in records(early["folder"], early["trial"])))


def records(folder: str | Path, trial: str) -> list[dict]:
    """What stands in the records of a trial's trainings, by seed."""
    return [read(path) for path in sorted(Path(folder).glob(f"{trial}-*.json"))]


def _record(early: dict) -> Path:
    return Path(early["folder"]) / f"{early['trial']}-{early['seed']}.json"


def read(record: Path) -> dict:
    """{"scores": {rung: score}, "stopped": step, if it was}."""
    return json.loads(record.read_text()) if record.exists() else {"scores": {}}


def _mAP(job: dict, method) -> float:
    same_camera = job["settings"].get("same_camera", False)
    metrics, _ = evaluating.evaluate_on(method, Path(job["inputs"]["target"]), same_camera=same_camera)
    return metrics.mAP


def _style_retrieval(job: dict, method) -> float:
    found = 0.0
    if distributed.rank() == 0:
        found = retrieving.style_retrieval(method, Path(job["inputs"]["target"]), job["early"]["generator"])
        found = found["style_retrieval"] or 0.0
    return distributed.broadcast(found)


SCORES = {"mAP": _mAP, "style_retrieval": _style_retrieval}
