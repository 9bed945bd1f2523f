"""Sweeps as plain values, for tests that train nothing."""

from pathlib import Path

from pipelines import cache, options, space, sweeps

BASE = ["source=market", "target=duke"]
RANGE = {"from": 0.1, "to": 2.0}


def block(**changed) -> dict:
    """conf/sweep.yaml's block as sweep.py hands it on, with some values changed."""
    own = options.composed("sweep", [])["sweep"]
    own["space"] = options.space(own["space"], [])
    return own | {"known_methods": options.method_names()} | changed


def trial(own: dict, point: dict, base: dict, num_workers: int = 1) -> sweeps.Trial:
    return sweeps.trial(own, point, base, options.changed, num_workers)


def trials(own: dict, base: dict) -> list[sweeps.Trial]:
    return [trial(own, point, base) for point in space.points(own)]


def finish(stage: cache.Stage, work_dir: Path, result: dict) -> None:
    stage.folder(work_dir).mkdir(parents=True)
    cache.write_json(stage.folder(work_dir) / "result.json", result)
