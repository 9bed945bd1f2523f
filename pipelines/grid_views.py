"""What is told of a grid's cells: the table, the CSV files, MLflow's numbers."""

from pathlib import Path

from pipelines import results, stages
from pipelines.data_stage import origin
from pipelines.grids import Cell, differences, labels, published, scores, shares, statistics_of, twins
from pipelines.measuring import RATIOS

PUBLISHED_METRICS = ("mAP", "rank1")


def numbers(own: dict, cells: list[Cell]) -> dict[str, float]:
    """Metrics: means and deviations over the seeds, "market-duke/hhl/mAP" and the like, and ".../published_mAP"."""
    beside, found = published(own), {}
    for metric in (*_metrics(own), *(["mAP_trapezoid"] if beside else [])):
        for direction, rows in scores(cells, metric).items():
            for row, values in rows.items():
                name = f"{direction}/{row}/{metric}"
                found[name], found[f"{name}_deviation"] = statistics_of(list(values.values()))
    for direction, rows in beside.items():
        for row, values in rows.items():
            found |= {f"{direction}/{row}/published_{metric}": value for metric, value in values.items()}
    return found


def bars(own: dict, cells: list[Cell]) -> tuple:
    """What charts.controls takes: where papers' figures stand beside, the measured mAP is by trapezoids as theirs."""
    beside = published(own)
    every = scores(cells, "mAP_trapezoid" if beside else "mAP")
    theirs = {d: {row: values["mAP"] for row, values in rows.items() if "mAP" in values} for d, rows in beside.items()}
    of = [_measured(cells), _of(own)[0]]
    return headline(own, cells), labels(own), every, theirs, *of


def _of(own: dict) -> list[str]:
    """What the grid's published figures are of, and a remark."""
    return own["grid"].get("published_of", ["the papers' data and networks"])


def table(own: dict, cells: list[Cell]) -> str:
    """Mean and deviation of mAP and rank-1 in percent, the published figures, and the differences that the grid asks for."""
    pairwise, beside = scores(cells, "mAP", repeated=True), published(own)
    directions = [direction for direction in own["directions"] if direction in pairwise]
    differing = _differences(own, {d: pairwise[d] for d in directions})
    width = max(map(len, [*labels(own).values(), *(label for label, _ in differing)])) + 2
    wide = 16 * len(_metrics(own))
    head = " " * width + "".join(f"{_arrow(d):^{wide}}" for d in directions)
    lines = [headline(own, cells)]
    for direction in directions if beside else ():
        lines += _beside(own, cells, direction, beside.get(direction, {}), width)
    lines += [head] if beside else [head, *_plain(own, cells, directions, width)]
    names = labels(own)
    lines += [f"{names[row]}: the same trainings as {names[other]}" for row, other in twins(cells).items()]
    lines += ["mAP, differences paired by seed:"] if differing else []
    lines += [f"{label:<{width}}" + "".join(f"{text:^{wide}}" for text in texts) for label, texts in differing]
    for line, *texts in [*_shares(own, pairwise, directions), *_styles(cells, directions)]:
        lines.append(f"{line:<{width}}" + "".join(f"{text:^{wide}}" for text in texts) if texts else line)
    return "\n".join(lines)


def _metrics(own: dict) -> list[str]:
    return own["grid"].get("metrics", list(PUBLISHED_METRICS))


def _plain(own: dict, cells: list[Cell], directions: list[str], width: int) -> list[str]:
    """All directions side by side."""
    every, whole = {metric: scores(cells, metric) for metric in _metrics(own)}, len(own["seeds"])
    lines = [
        " " * width
        + "".join(f"{metric.replace('/', ' ').replace('rank1', 'rank-1'):^16}" for metric in every) * len(directions)
    ]
    for name, label in labels(own).items():
        values = [list(every[metric][d].get(name, {}).values()) for d in directions for metric in every]
        lines.append(f"{label:<{width}}" + "".join(f"{_percent(v, whole):^16}" for v in values))
    return lines


def _beside(own: dict, cells: list[Cell], direction: str, papers: dict, width: int) -> list[str]:
    """One direction: the papers' figures, a bar, and those of these cells, each under its own name."""
    every = {metric: scores(cells, metric) for metric in ("mAP", "mAP_trapezoid", "rank1")}
    lines = [
        f"{_arrow(direction):<{width}}{'PUBLISHED, real sets':^24}|  MEASURED, {_measured(cells)}",
        " " * width + f"{'mAP':^12}{'rank-1':^12}|{'mAP':^16}{'mAP trap.':^16}{'rank-1':^16}",
    ]
    for name, label in labels(own).items():
        known = [papers.get(name, {}).get(metric) for metric in PUBLISHED_METRICS]
        told = "".join(f"{'-' if value is None else f'{100 * value:.1f}':^12}" for value in known)
        values = [list(rows[direction].get(name, {}).values()) for rows in every.values()]
        lines.append(f"{label:<{width}}{told}|" + "".join(f"{_percent(v, len(own['seeds'])):^16}" for v in values))
    return lines


def _differences(own: dict, by_direction: dict) -> list[tuple[str, list[str]]]:
    """Label and a text per direction of each difference."""
    names, whole = labels(own), len(own["seeds"])
    found = [differences(own, by_row) for by_row in by_direction.values()]
    pairs = found[0] if found else ()
    return [(f"{names[a]} - {names[b]}", [_percent(one[a, b], whole, "+") for one in found]) for a, b in pairs]


def _shares(own: dict, pairwise: dict, directions: list[str]) -> list[tuple]:
    """For each share that the grid asks for, a line, and label and a text per direction."""
    names, whole, lines = labels(own), len(own["seeds"]), []
    for row, (low, high) in own["grid"].get("share", {}).items():
        if {row, low, high} <= set(names):
            values = [list(shares(pairwise[d], row, low, high).values()) for d in directions]
            lines.append((f"share of the gain from {names[low]} to {names[high]} that is reached (mAP, percent):",))
            lines.append((names[row], *(_text(v, whole, 100, 0) for v in values)))
    return lines


def _styles(cells: list[Cell], directions: list[str]) -> list[tuple]:
    """Lines of the styles' measures and of the camera gap, a label and a text per direction each; none without styles."""
    found = {d: _measures([c for c in cells if c.direction == d]) for d in directions}
    if not any(found.values()):
        return []

    def line(label: str, block: str, name: str, digits: int) -> tuple:
        return (label, *(told([one.get(block, {}).get(name) for one in found[d]], digits) for d in directions))

    def told(measured: list[float | None], digits: int) -> str:
        values = [value for value in measured if value is not None]
        once = values[:1] if len(set(values)) == 1 else values  # of one generator, judged again and again: no deviation
        return _text(once, 0, 1, digits) + f" ({len(values)})" * (0 < len(values) < len(measured))

    lines: list[tuple] = [("style quality (1: as good as real images):",)]
    lines += [line(label, "ratios", measure, 2) for measure, label in RATIOS.items()]
    lines.append((f"{results.GAP}:",))
    gaps = [line(f"to its {label} copy", "gap", name, 3) for name, label in results.COPIES.items()]
    return lines + [one for one in gaps if set(one[1:]) != {"-"}]


def _measures(cells: list[Cell]) -> list[dict]:
    """What was measured of the cells' styles, once each."""
    return list({key: found for cell in cells for key, found in cell.measures().items()}.values())


def headline(own: dict, cells: list[Cell]) -> str:
    """Which grid, data and recipe, what varied and what did not; a second line on published figures where there are any."""
    one, beside = cells[0].settings, published(own)
    fixed = {"seed": one["seed"], "data.seed": one["data"]["seed"]}
    fixed |= {"gan.seed": one["gan"]["seed"]} if "seed" in one["gan"] else {}
    kept = ", ".join(f"{name} {value}" for name, value in fixed.items() if name not in own["vary"])
    varied = " = ".join(own["vary"]) + " in " + ", ".join(map(str, own["seeds"]))
    text = f"{own['grid']['name']}: {'measured on ' if beside else ''}{_measured(cells)}; {varied}"
    text += f"; {kept}" if kept else ""
    if one["recipe"] != "quick":
        text += "; rows trained as published, not for equally many steps"
    text = "; ".join([text, *(one for one in own.get("given", ()) if one.partition("=")[0] not in fixed)])
    return f"{text} (percent, mean +- deviation)" + (f"\npublished: {'; '.join(_of(own))}" if beside else "")


def _measured(cells: list[Cell]) -> str:
    return f"{origin(cells[0].settings)} data, recipe {cells[0].settings['recipe']}"


def _arrow(direction: str) -> str:
    return direction.replace("-", " -> ")


def _percent(values: list[float], whole: int, sign: str = "") -> str:
    return _text(values, whole, 100, 1, sign)


def _text(values: list[float], whole: int, factor: float, digits: int, sign: str = "") -> str:
    """Mean and deviation; where not the whole number of values is there, how many."""
    if not values:
        return "-"
    mean, deviation = (factor * value for value in statistics_of(values))
    text = f"{mean:{sign}.{digits}f}" + (f" +- {deviation:.{digits}f}" if len(values) > 1 else "")
    return text + (f" ({len(values)})" if len(values) < whole else "")


def write_csv(path: Path, own: dict, cells: list[Cell], run_ids: dict[str, str]) -> None:
    """One line per finished cell: its row's name, the columns of results.csv and, if the grid has any, published figures."""
    lines, beside = [], published(own)
    columns = [f"published_{metric}" for metric in PUBLISHED_METRICS] if beside else []
    for cell in cells:
        if cell.stage.finished(Path(cell.settings["work_dir"]).absolute()):
            about, found = cell.stage.about, stages.result(cell.stage, cell.settings)
            line = {"row": cell.row, **results.row(about, found, cell.stage.hash, run_ids)}
            known = beside.get(cell.direction, {}).get(cell.row, {})
            lines.append(line | {f"published_{metric}": f"{value:.4f}" for metric, value in known.items()})
    results.write(path, ("row", *results.COLUMNS, *columns), lines)


def write_measures(path: Path, cells: list[Cell]) -> list[Path]:
    """One line per measured generator: its data sets, variant and seeds, and the ratios. No file where there is none."""
    lines, columns = [], ("source", "target", "data", "recipe", "variant", "seed", "data_seed", "gan_seed")
    for found in _measures(cells):
        ratios = {name: "" if (r := found["ratios"][name]) is None else f"{r:.6f}" for name in RATIOS}
        lines.append({key: found["about"][key] for key in columns} | ratios)
    if not lines:
        return []
    results.write(path, tuple(lines[0]), lines)
    return [path]
