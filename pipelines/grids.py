"""Grids: rows (a method with options) x directions x seeds, as cells of one stage graph each, and their scores.

What is told of them stands in pipelines/grid_views.py.

A row may carry published figures, in percent: `published: {duke-market: {rank1: 44.6, mAP: 20.6}}`. They are the papers', of the
real sets, and stand beside what was measured, never among it. Options of data.* among a row's own give it data of its own.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import data_limits, graph, results, stages
from pipelines.cache import Stage

SEEDS = ("seed", "data.seed", "gan.seed")


@dataclass(frozen=True)
class Cell:
    """One figure of the table: a row, in a direction ("market-duke"), with a seed; its stage is the last of its graph."""

    row: str
    direction: str
    seed: int
    settings: dict
    graph: list[Stage]

    @property
    def stage(self) -> Stage:
        return self.graph[-1]

    def measures(self) -> dict[str, dict]:
        """Hash -> result.json of what is measured of its styles, as far as it is finished."""
        work_dir = Path(self.settings["work_dir"]).absolute()
        found = [stage for stage in self.graph if stage.name == "measures" and stage.finished(work_dir)]
        return {stage.hash: stages.result(stage, self.settings) | {"about": stage.about} for stage in found}


def cells(own: dict, compose: Callable, changed: Callable, num_workers: int) -> tuple[list[Cell], list[str]]:
    """All cells, by seed, direction and row, and the names of the rows that are left out on data from disk.

    Args:
        own: conf/reproduce.yaml as plain values. compose: compose([overrides]) -> settings. changed: changed(settings, {option:
            value}) -> settings.
    Raises:
        ValueError: a row, direction or seed that is none, or what graph.plan says of a cell.
    """
    rows = rows_of(own)
    check(own)
    found, left_out = [], set()
    bases = {direction: compose(roles(direction)) for direction in own["directions"]}
    for seed in own["seeds"]:
        seeds = {option: seed for option in own["vary"]}
        for direction, base in bases.items():
            known: dict[str, dict[str, Stage]] = {}
            for name, row in rows.items():
                options = row.get("options", {}) | seeds
                its = {option: value for option, value in options.items() if option.startswith("data.")}
                data = known.get(str(its)) or graph.data_stages(changed(base, its))
                known[str(its)] = data
                _check_judged(direction, data["target"])
                if (row.get("drawn_only") or its.keys() - seeds) and "draw" not in data["target"].settings:
                    left_out.add(name)
                    continue
                settings = changed(base, {"methods": [row["method"]], **options})
                found.append(Cell(name, direction, seed, settings, graph.plan(settings, num_workers, data)))
    if not found:
        raise ValueError(f"no row is left: {', '.join(left_out)} need drawn data; choose others with rows=[...]")
    if len(own["seeds"]) > 1 and not any(_varies(found, one) for one in found):
        raise ValueError(
            f"vary={own['vary']} changes nothing here: every row would be the same training {len(own['seeds'])} times"
        )
    return found, [name for name in rows if name in left_out]


def _check_judged(direction: str, target: Stage) -> None:
    if why := data_limits.not_judged(target):
        raise ValueError(
            f"{direction}: {why['not_judged']}, and the grid is of scores on them; expected a target that has them"
        )


def _varies(cells: list[Cell], one: Cell) -> bool:
    """Whether the row's training is another one with another seed."""
    same = [cell for cell in cells if (cell.row, cell.direction) == (one.row, one.direction)]
    return len({cell.stage.hash for cell in same}) == len(same)


def check(own: dict) -> None:
    """Refuse seeds, directions and limits that are none."""
    for key, example in (("seeds", 0), ("vary", "seed"), ("directions", "market-duke"), ("rows", "hhl")):
        if not isinstance(own[key], list):
            found = "null" if own[key] is None else own[key]
            raise ValueError(
                f"{key} is {found}; expected a list such as {key}=[{example if own[key] is None else found}]"
            )
    if not own["seeds"] or not all(type(seed) is int and seed >= 0 for seed in own["seeds"]):
        raise ValueError(f"seeds is {own['seeds']}; expected whole numbers such as seeds=[0,1,2]")
    if repeated := [seed for seed in own["seeds"] if own["seeds"].count(seed) > 1]:
        raise ValueError(f"seeds is {own['seeds']}; expected every seed once, found {repeated[0]} more often")
    if not own["vary"] or not all(name in SEEDS for name in own["vary"]):
        raise ValueError(f"vary is {own['vary']}; expected some of {', '.join(SEEDS)}")
    if not own["directions"] or not all(str(one).count("-") == 1 for one in own["directions"]):
        raise ValueError(f"directions is {own['directions']}; expected such as directions=[market-duke,duke-market]")
    for argument in own.get("given", ()):
        if argument.partition("=")[0] in own["vary"]:
            raise ValueError(f"{argument}: seeds={own['seeds']} sets it, since vary={own['vary']}; give one of them")
    limit = own["max_minutes"]
    if limit is not None and not (type(limit) in (int, float) and limit > 0):
        raise ValueError(f"max_minutes is {own['max_minutes']}; expected a positive number, or null for no limit")


def rows_of(own: dict) -> dict[str, dict]:
    """The grid's rows that are chosen, in its order."""
    rows = own["grid"]["rows"]
    if unknown := [name for name in own["rows"] if name not in rows]:
        raise ValueError(f"rows: unknown '{unknown[0]}'; grid={own['grid']['name']} has {', '.join(rows)}")
    return {name: row for name, row in rows.items() if name in (own["rows"] or rows)}


def roles(direction: str) -> list[str]:
    source, target = direction.split("-")
    return [f"source={source}", f"target={target}"]


def labels(own: dict) -> dict[str, str]:
    """Row -> what the table calls it, in the table's order."""
    return {name: row["label"] for name, row in rows_of(own).items()}


def published(own: dict) -> dict[str, dict[str, dict[str, float]]]:
    """direction -> row -> "mAP" (by trapezoids), "rank1" -> the published figure as a fraction, of what is chosen; none: empty."""
    found = {}
    for direction in own["directions"]:
        for name, row in rows_of(own).items():
            if values := row.get("published", {}).get(direction):
                found.setdefault(direction, {})[name] = {metric: value / 100 for metric, value in values.items()}
    return found


def statistics_of(values: list[float]) -> tuple[float, float]:
    """Mean and sample deviation (n - 1; 0 for one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def scores(cells: list[Cell], metric: str, repeated: bool = False) -> dict[str, dict[str, dict[int, float]]]:
    """direction -> row -> seed -> the metric on the target, of finished cells; source/mAP is on the source.

    repeated: a row that another seed leaves the same training (gan.seed where no generator is used) stands there for every
    seed, as pairs need it; else once, since one training has no deviation.
    """
    found, seen = {}, set()
    role, _, metric = metric.rpartition("/")
    for cell in cells:
        work_dir, key = Path(cell.settings["work_dir"]).absolute(), (cell.row, cell.direction, cell.stage.hash)
        if cell.stage.finished(work_dir) and (repeated or key not in seen):
            seen.add(key)
            judged = stages.result(cell.stage, cell.settings)[role or "target"]
            if judged:  # a source may have no query and gallery
                found.setdefault(cell.direction, {}).setdefault(cell.row, {})[cell.seed] = judged[metric]
    return found


def twins(cells: list[Cell]) -> dict[str, str]:
    """Row -> an earlier row of the same trainings, all over: the recipe has of itself what the row changes."""
    trained, first, found = {}, {}, {}
    for cell in cells:
        trained.setdefault(cell.row, []).append(cell.stage.hash)
    for row, hashes in trained.items():
        if (other := first.setdefault(tuple(hashes), row)) != row:
            found[row] = other
    return found


def differences(own: dict, by_row: dict[str, dict[int, float]]) -> dict[tuple[str, str], list[float]]:
    """(row, other row) -> row - other for each seed that both have, for the rows chosen, as the grid's `compare` says."""
    found, rows = {}, rows_of(own)
    for row, others in own["grid"].get("compare", {}).items():
        for other in others:
            if row in rows and other in rows:
                mine, its = by_row.get(row, {}), by_row.get(other, {})
                found[row, other] = [mine[seed] - its[seed] for seed in mine if seed in its]
    return found


def shares(by_row: dict[str, dict[int, float]], row: str, low: str, high: str) -> dict[int, float]:
    """seed -> results.share_of of low, row and high, for the seeds that have all three and a gain to share."""
    mine, least, most = (by_row.get(name, {}) for name in (row, low, high))
    seeds = [seed for seed in mine if seed in least and seed in most]
    found = {seed: results.share_of(least[seed], mine[seed], most[seed]) for seed in seeds}
    return {seed: share for seed, share in found.items() if share is not None}
