"""What a command says of its data and recipe, results.csv, and the table on the screen: views of the methods' folders."""

import csv
import json
import os
from pathlib import Path

from pipelines import ready_styles
from pipelines.data_report import NOT_JUDGED
from pipelines.data_stage import origin
from pipelines.measuring import RATIOS

COLUMNS = (
    "source target data recipe method variant seed data_seed gan_seed rank1 rank5 rank10 rank20 mAP mAP_trapezoid seconds "
    "settings mlflow_run_id"
).split()
LEAST_GAIN = 0.02  # of mAP or rank-1: a share of less is noise
METRICS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid")
WIDTHS = (8, 8, 8, 8, 8, 11)  # of their columns on the screen
NEITHER = "  not judged: the source has none either"
# Published, (source, target) -> method -> rank-1, 5, 10, 20, mAP (trapezoid) in percent; the papers' tables.
PUBLISHED = {
    ("duke", "market"): {
        "baseline": (44.6, 62.5, 69.6, 76.5, 20.6),
        "hhl": (62.2, 78.8, 84.0, 88.3, 31.4),
        "arn": (70.3, 80.4, 86.3, None, 39.4),
    },
    ("market", "duke"): {
        "baseline": (32.9, 49.5, 54.8, 61.7, 16.9),
        "hhl": (46.9, 61.0, 66.7, 71.9, 27.2),
        "arn": (60.2, 73.9, 79.5, None, 33.4),
    },
}
GAP = "camera gap (squared feature distance of a target image to its copy, source-only model)"
# (source, target) -> mean distance of target images to their copies (HHL's table of the premise), from notes on the paper.
GAPS = {
    ("duke", "market"): {"crop": 0.049, "flip": 0.034, "style": 0.485},
    ("market", "duke"): {"crop": 0.059, "flip": 0.044, "style": 0.614},
}
COPIES = {"crop": "cropped", "flip": "flipped", "style": "camera-styled", "truth": "true camera"}


def banner(settings: dict, plan: list) -> str:
    """Which data and recipe, never in doubt, and what is unusual about the data."""
    data, recipe = origin(settings), settings["recipe"]
    lines = [f"{settings['source']['name']} -> {settings['target']['name']}: {data} data, recipe {recipe}"]
    size = "{height}x{width}".format(**settings["images"])
    gan, backbone = settings["gan"], settings["backbone"]["_target_"].rpartition(".")[2]
    given = ready_styles.chosen(settings)
    generator = "Generator" if given else gan["generator"]["_target_"].rpartition(".")[2]
    styles = f"ready styles of {gan['root']}" if given else f"generator {generator}"
    lines.append(f"{size} pixels, backbone {backbone}, {styles}")
    if generator != "Generator" or backbone != "resnet50":
        lines.append("not the papers' networks (resnet50, Generator): recipe=paper has them")
    if recipe == "quick" and data != "synthetic":
        lines.append("on real images its figures are no measure of the methods: recipe=paper is the published setting")
    return "\n".join(lines + [note for stage in plan for note in stage.about.get("notes", [])])


def rows(work_dir: Path, run_ids: dict[str, str]) -> list[dict]:
    """One row per finished method stage in the cache, ordered by names and seeds."""
    found = []
    for path in (work_dir / "cache").glob("*/*/result.json"):
        if path.parent.suffix:  # .part, .old: another command may rename it
            continue
        stage, result = (json.loads((path.parent / name).read_text()) for name in ("stage.json", "result.json"))
        if "target" in result:  # a method's
            found.append(row(stage["about"], result, stage["hash"], run_ids))
    return sorted(found, key=lambda row: tuple(str(row[c]) for c in COLUMNS[:9]))


def row(about: dict, result: dict, settings: str, run_ids: dict[str, str]) -> dict:
    """A method stage's line of results.csv: column -> value. settings: its hash."""
    scores = result["target"]  # None: not judged, and the columns stay empty
    figures = {metric: f"{scores[metric]:.6f}" if scores else "" for metric in METRICS}
    values = {**about, **figures, "seconds": f"{result['seconds']:.3f}", "settings": settings}
    values["mlflow_run_id"] = run_ids.get(settings, "")
    return {column: values[column] for column in COLUMNS}


def write_csv(work_dir: Path, run_ids: dict[str, str]) -> Path:
    """Rewrite work_dir/results.csv, whole or not at all."""
    path = work_dir / "results.csv"
    write(path, COLUMNS, rows(work_dir, run_ids))
    return path


def write(path: Path, columns: tuple, lines: list[dict]) -> None:
    """Write a CSV file through a temporary name."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)
    os.replace(temporary, path)


def share_of(least: float, reached: float, most: float) -> float | None:
    """(reached - least) / (most - least), what share of a possible gain is reached; None where it is below LEAST_GAIN."""
    return (reached - least) / (most - least) if most - least >= LEAST_GAIN else None


def share_of_gain(found: dict[str, dict], bound: dict) -> dict[str, float]:
    """What HHL with the generator's styles gains on the target over the baseline, as a share of what it gains with the true ones.

    Args:
        found: method -> result.json; the source-only baseline's, or none. bound: HHL's result.json with true styles.
    Returns:
        "true_styles/mAP" and "true_styles/rank1", fractions, and, where there is a gain to share, "share_of_gain/..." of both.
    """
    shares = {}
    for metric in ("mAP", "rank1"):
        shares[f"true_styles/{metric}"] = most = bound["target"][metric]
        if {"baseline", "hhl"} <= set(found):
            least, reached = (found[method]["target"][metric] for method in ("baseline", "hhl"))
            if (share := share_of(least, reached, most)) is not None:
                shares[f"share_of_gain/{metric}"] = share
    return shares


def of_styles(measures: list[dict], reached: dict[str, float], settings: dict, whole: bool = False) -> str:
    """Lines below the table: the styles' measures, the camera gap, what share of the possible gain they give. "" without styles."""
    lines = []
    for one in measures:
        told = [f"{text} {one['ratios'][name]:.2f}" for name, text in RATIOS.items() if one["ratios"][name] is not None]
        lines.append("style quality on the target (1: as good as real images):")
        lines += ["  " + ", ".join(told[start : start + 3]) for start in range(0, len(told), 3)]
        lines += _camera_gap(one["gap"], settings, whole) if "gap" in one else []
    if reached:
        share = reached.get("share_of_gain/mAP")
        text = f"HHL with true styles: mAP {100 * reached['true_styles/mAP']:.1f}, rank-1 {100 * reached['true_styles/rank1']:.1f}"
        lines.append(
            text + (f"; the generator's reach {100 * share:.0f} % of that gain in mAP" if share is not None else "")
        )
    return "".join(f"\n{line}" for line in lines)


def _camera_gap(gap: dict[str, float | None], settings: dict, whole: bool) -> list[str]:
    """The measured gaps, and the published ones under them when both sets are the real ones."""
    pair, data = (settings["source"]["name"], settings["target"]["name"]), origin(settings)
    theirs = GAPS.get(pair, {}) if data == "disk" and whole else {}
    rows = {f"measured: {data} data, recipe {settings['recipe']}": gap}
    rows |= {"published: real sets, second hand, distance not said": theirs} if theirs else {}
    width = max(map(len, rows))
    lines = [
        f"{GAP}:",
        " " * (width + 2) + "".join(f"{COPIES[name]:>14}" for name in gap),
    ]
    for label, values in rows.items():
        told = ["-" if values.get(name) is None else f"{values[name]:.3f}" for name in gap]
        lines.append(f"  {label:<{width}}" + "".join(f"{text:>14}" for text in told))
    return lines


def table(results: dict[str, dict], settings: dict, data: str, whole: bool = False) -> str:
    """Methods x rank-1/5/10/20, mAP in percent; the published figures beside them when both sets are the real ones.

    Where the target is not judged, the table says so, and is of the source.
    """
    pair = (settings["source"]["name"], settings["target"]["name"])
    published = PUBLISHED.get(pair, {}) if data == "disk" and whole else {}
    head = f"{pair[0]} -> {pair[1]}: {data} data, recipe {settings['recipe']}, seed {settings['seed']} (percent)"
    role = "target" if all(result["target"] for result in results.values()) else "source"
    on = "" if role == "target" else f"on {pair[0]}"
    width = max(10, *(len(label) + 1 for label in (on, *results)))
    lines = [head] + [
        f"{pair[1]} is not judged: it has {NOT_JUDGED}. These are scores on {pair[0]}, the source:"
    ] * bool(on)
    lines.append(f"{on:<{width}}{'rank-1':>8}{'rank-5':>8}{'rank-10':>8}{'rank-20':>8}{'mAP':>8}{'mAP trap.':>11}")
    for method, result in results.items():
        scores = result[role]
        told = [f"{100 * scores[m]:{w}.1f}" for m, w in zip(METRICS, WIDTHS, strict=True)] if scores else NEITHER
        lines.append(f"{method:<{width}}" + "".join(told))
        if method in published and role == "target":
            *ranks, trapezoid = published[method]
            cells = "".join(f"{'-' if value is None else value:>8}" for value in ranks)
            lines.append(f"{'published':<{width}}{cells}{'':>8}{trapezoid:>11}")
    return "\n".join(lines)
