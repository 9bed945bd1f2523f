"""Grids: rows (a method with options) x directions x seeds, and what is told of them. Knows no ray, no mlflow, no hydra."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import graph, results, stages
from pipelines.cache import Stage
from pipelines.data_stage import origin
from pipelines.measuring import RATIOS

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
    rows = _rows(own)
    check(own)
    found, left_out = [], set()
    bases = {direction: compose(roles(direction)) for direction in own["directions"]}
    for seed in own["seeds"]:
        seeds = {option: seed for option in own["vary"]}
        for direction, base in bases.items():
            data = graph.data_stages(changed(base, seeds))
            for name, row in rows.items():
                if row.get("drawn_only") and "draw" not in data["target"].settings:
                    left_out.add(name)
                    continue
                settings = changed(base, {"methods": [row["method"]], **row.get("options", {}), **seeds})
                found.append(Cell(name, direction, seed, settings, graph.plan(settings, num_workers, data)))
    if not found:
        raise ValueError(f"no row is left: {', '.join(left_out)} need drawn data; choose others with rows=[...]")
    if len(own["seeds"]) > 1 and not any(_varies(found, one) for one in found):
        raise ValueError(
            f"vary={own['vary']} changes nothing here: every row would be the same training {len(own['seeds'])} times"
        )
    return found, [name for name in rows if name in left_out]


def _varies(cells: list[Cell], one: Cell) -> bool:
    """Whether the row's training is another one with another seed."""
    same = [cell for cell in cells if (cell.row, cell.direction) == (one.row, one.direction)]
    return len({cell.stage.hash for cell in same}) == len(same)


def check(own: dict) -> None:
    """Refuse seeds, directions and limits that are none."""
    for key in ("seeds", "vary", "directions", "rows"):
        if not isinstance(own[key], list):
            raise ValueError(f"{key} is {own[key]}; expected a list such as {key}=[{own[key]}]")
    if not own["seeds"] or not all(isinstance(seed, int) and seed >= 0 for seed in own["seeds"]):
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
    if limit is not None and not (isinstance(limit, int | float) and limit > 0):
        raise ValueError(f"max_minutes is {own['max_minutes']}; expected a positive number, or null for no limit")


def _rows(own: dict) -> dict[str, dict]:
    rows = own["grid"]["rows"]
    if unknown := [name for name in own["rows"] if name not in rows]:
        raise ValueError(f"rows: unknown '{unknown[0]}'; grid={own['grid']['name']} has {', '.join(rows)}")
    return {name: row for name, row in rows.items() if name in (own["rows"] or rows)}


def roles(direction: str) -> list[str]:
    source, target = direction.split("-")
    return [f"source={source}", f"target={target}"]


def statistics_of(values: list[float]) -> tuple[float, float]:
    """Mean and sample deviation (n - 1; 0 for one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def scores(cells: list[Cell], metric: str, repeated: bool = False) -> dict[str, dict[str, dict[int, float]]]:
    """direction -> row -> seed -> the metric on the target, of finished cells.

    repeated: a row that another seed leaves the same training (gan.seed where no generator is used) stands there for every
    seed, as pairs need it; else once, since one training has no deviation.
    """
    found, seen = {}, set()
    for cell in cells:
        work_dir, key = Path(cell.settings["work_dir"]).absolute(), (cell.row, cell.direction, cell.stage.hash)
        if cell.stage.finished(work_dir) and (repeated or key not in seen):
            seen.add(key)
            value = stages.result(cell.stage, cell.settings)["target"][metric]
            found.setdefault(cell.direction, {}).setdefault(cell.row, {})[cell.seed] = value
    return found


def labels(own: dict) -> dict[str, str]:
    """Row -> what the table calls it, in the table's order."""
    return {name: row["label"] for name, row in _rows(own).items()}


def numbers(cells: list[Cell]) -> dict[str, float]:
    """Means and deviations over the seeds as metrics: "market-duke/hhl/mAP" and the like."""
    found = {}
    for metric in ("mAP", "rank1"):
        for direction, rows in scores(cells, metric).items():
            for row, values in rows.items():
                name = f"{direction}/{row}/{metric}"
                found[name], found[f"{name}_deviation"] = statistics_of(list(values.values()))
    return found


def differences(own: dict, by_row: dict[str, dict[int, float]]) -> dict[tuple[str, str], list[float]]:
    """(row, other row) -> row - other for each seed that both have, for the rows chosen, as the grid's `compare` says."""
    found, rows = {}, _rows(own)
    for row, others in own["grid"].get("compare", {}).items():
        for other in others:
            if row in rows and other in rows:
                mine, its = by_row.get(row, {}), by_row.get(other, {})
                found[row, other] = [mine[seed] - its[seed] for seed in mine if seed in its]
    return found


def table(own: dict, cells: list[Cell]) -> str:
    """Mean and deviation of mAP and rank-1 in percent, and the differences that the grid asks for."""
    every = {metric: scores(cells, metric) for metric in ("mAP", "rank1")}
    whole = len(own["seeds"])
    rows, directions = _rows(own), [d for d in own["directions"] if d in every["mAP"]]
    pairwise = scores(cells, "mAP", repeated=True)
    found = {d: differences(own, pairwise[d]) for d in directions}
    pairs = {pair: f"{rows[pair[0]]['label']} - {rows[pair[1]]['label']}" for d in directions[:1] for pair in found[d]}
    width = max(map(len, [row["label"] for row in rows.values()] + list(pairs.values()))) + 2
    lines = [headline(own, cells), " " * width + "".join(f"{d.replace('-', ' -> '):^32}" for d in directions)]
    lines.append(" " * width + f"{'mAP':^16}{'rank-1':^16}" * len(directions))
    for name, row in rows.items():
        values = [list(every[metric][d].get(name, {}).values()) for d in directions for metric in ("mAP", "rank1")]
        lines.append(f"{row['label']:<{width}}" + "".join(f"{_percent(v, whole):^16}" for v in values))
    lines += ["mAP, differences paired by seed:"] if pairs else []
    for pair, label in pairs.items():
        lines.append(f"{label:<{width}}" + "".join(f"{_percent(found[d][pair], whole, '+'):^32}" for d in directions))
    for row, (low, high) in own["grid"].get("share", {}).items():
        if {row, low, high} <= set(rows):
            lines.append(
                f"share of the gain from {rows[low]['label']} to {rows[high]['label']} that is reached (mAP, percent):"
            )
            values = [list(shares(pairwise[d], row, low, high).values()) for d in directions]
            lines.append(f"{rows[row]['label']:<{width}}" + "".join(f"{_text(v, whole, 100, 0):^32}" for v in values))
    ratios = {d: [one["ratios"] for one in _measures([c for c in cells if c.direction == d])] for d in directions}
    if any(ratios.values()):
        lines.append("styles (1: as real images, all of the way, or all kept):")
    for measure, label in RATIOS.items() if any(ratios.values()) else ():
        values = [[r[measure] for r in ratios[d] if r[measure] is not None] for d in directions]
        lines.append(f"{label:<{width}}" + "".join(f"{_text(v, len(v), 1, 2):^32}" for v in values))
    return "\n".join(lines)


def shares(by_row: dict[str, dict[int, float]], row: str, low: str, high: str) -> dict[int, float]:
    """seed -> results.share_of of low, row and high, for the seeds that have all three and a gain to share."""
    mine, least, most = (by_row.get(name, {}) for name in (row, low, high))
    seeds = [seed for seed in mine if seed in least and seed in most]
    found = {seed: results.share_of(least[seed], mine[seed], most[seed]) for seed in seeds}
    return {seed: share for seed, share in found.items() if share is not None}


def _measures(cells: list[Cell]) -> list[dict]:
    """What was measured of the cells' styles, once each."""
    return list({key: found for cell in cells for key, found in cell.measures().items()}.values())


def headline(own: dict, cells: list[Cell]) -> str:
    """Which grid, data and recipe, what varied and what did not."""
    one = cells[0].settings
    fixed = {"seed": one["seed"], "data.seed": one["data"]["seed"]}
    fixed |= {"gan.seed": one["gan"]["seed"]} if "seed" in one["gan"] else {}
    kept = ", ".join(f"{name} {value}" for name, value in fixed.items() if name not in own["vary"])
    varied = " = ".join(own["vary"]) + " in " + ", ".join(map(str, own["seeds"]))
    text = f"{own['grid']['name']}: {origin(one)} data, recipe {one['recipe']}; {varied}" + (
        f"; {kept}" if kept else ""
    )
    if one["recipe"] != "quick":
        text += "; rows trained as published, not for equally many steps"
    text = "; ".join([text, *(one for one in own.get("given", ()) if one.partition("=")[0] not in fixed)])
    return f"{text} (percent, mean +- deviation)"


def _percent(values: list[float], whole: int, sign: str = "") -> str:
    return _text(values, whole, 100, 1, sign)


def _text(values: list[float], whole: int, factor: float, digits: int, sign: str = "") -> str:
    """Mean and deviation; where not the whole number of values is there, how many."""
    if not values:
        return "-"
    mean, deviation = (factor * value for value in statistics_of(values))
    text = f"{mean:{sign}.{digits}f}" + (f" +- {deviation:.{digits}f}" if len(values) > 1 else "")
    return text + (f" ({len(values)})" if len(values) < whole else "")


def write_csv(path: Path, cells: list[Cell], run_ids: dict[str, str]) -> None:
    """One line per finished cell: its row's name and the columns of results.csv."""
    lines = []
    for cell in cells:
        if cell.stage.finished(Path(cell.settings["work_dir"]).absolute()):
            about, found = cell.stage.about, stages.result(cell.stage, cell.settings)
            lines.append({"row": cell.row, **results.row(about, found, cell.stage.hash, run_ids)})
    results.write(path, ("row", *results.COLUMNS), lines)


def write_measures(path: Path, cells: list[Cell]) -> list[Path]:
    """One line per measured generator: its target and seeds, and the ratios. No file where there is none."""
    lines = []
    for found in _measures(cells):
        ratios = {name: "" if (r := found["ratios"][name]) is None else f"{r:.6f}" for name in RATIOS}
        lines.append(
            {key: found["about"][key] for key in ("target", "data", "recipe", "seed", "data_seed", "gan_seed")} | ratios
        )
    if not lines:
        return []
    results.write(path, tuple(lines[0]), lines)
    return [path]
