"""What a sweep says in words and columns: a line per trial while it runs, and in the end trials.csv and a report."""

import json
from pathlib import Path

from pipelines import results, sweep_charts, sweeps

NUMBERS = (*results.METRICS, "style_retrieval", "seconds", "stopped")


def header(first: str, metric: str) -> str:
    """The names of the columns that `line` fills."""
    return _row(first, "", _columns(metric))


def line(first: str, point: dict, numbers: dict, metric: str, note: str = "") -> str:
    """A trial: its options, and of its numbers the metric and what stands beside it, in percent, with deviations over seeds."""
    texts = []
    for name in _columns(metric):
        deviation = numbers.get(f"{name}_deviation")
        text = f"{100 * numbers[name]:.1f}" if numbers.get(name) is not None else "-"
        texts.append(text + (f" +- {100 * deviation:.1f}" if deviation is not None else ""))
    return _row(first, _point(point), texts, note)


def text(own: dict, base: dict, rows: list[dict], best: dict, errors: list[tuple], spent: dict, at_once: int) -> str:
    """The answer first, since MLflow's page folds what comes after a few lines; then the table, what failed, and the time.

    Args:
        own: conf/sweep.yaml's block. base: settings of the command line. rows: of finished trials, best first; best: the best
            that was not stopped. errors: (point, error) of the others. spent: seconds, by what they went into.
    """
    many, metric = len(own["seeds"]), own["metric"]
    sure = " with one seed: sweep.seeds=[0,1,2] tells how sure"
    if many > 1:
        sure = f" +- {100 * best[f'{metric}_deviation']:.1f} over {many} seeds"
    oracle = (
        "chosen on the target's labels, as in the papers: an oracle" if metric == "mAP" else "chosen without labels"
    )
    agreement, count = sweeps.correlation(rows), len(sweeps.both(rows))
    told = (
        "not computed: it takes three trials with different scores, and two cameras"
        if agreement is None
        else f"{agreement:+.2f}"
    )
    lines = [
        sweeps.headline(own, base),
        f"best: {_point(best['point'])}, {metric} {100 * best[metric]:.1f}{sure} ({oracle})",
        f"rank correlation of mAP and style retrieval over {count} trials: {told}",
        header("", metric),
    ]
    for row in rows:
        note = f"stopped at step {row['stopped']:.0f}" if "stopped" in row else ""
        lines.append(line("", row["point"], row, metric, note))
    lines += [f"failed: {_point(point)}: {error}" for point, error in errors]
    if own["search"] == "tpe" and (again := own["num_trials"] - len(rows) - len(errors)):
        lines.append(f"{again} of the {own['num_trials']} trials were of points tried before, as tpe may propose them")
    lines.append(
        f"time: shared stages {spent['shared']:.0f} s; trials {spent['trials']:.0f} s, {at_once} at a time, "
        f"of which training and evaluation {spent['training']:.0f} s: {spent['beyond']:.0f} s a trial beyond it; "
        f"views {spent['views']:.0f} s"
    )
    return "\n".join(lines)


def write_rows(path: Path, rows: list[dict]) -> None:
    """One line per finished trial, best first: the options, means, deviations, and the hash of its first training."""
    options = list(rows[0]["point"])
    numbers = [name for name in NUMBERS if any(name in row for row in rows)]
    numbers += [f"{name}_deviation" for name in numbers if any(f"{name}_deviation" in row for row in rows)]
    lines = [
        {option: json.dumps(row["point"][option]) for option in options}
        | {name: "" if row.get(name) is None else f"{row[name]:.6f}" for name in numbers}
        | {"settings": row["settings"]}
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write(path, (*options, *numbers, "settings"), lines)


def _columns(metric: str) -> list[str]:
    return list(dict.fromkeys((metric, "mAP", "rank1", "style_retrieval")))


def _row(first: str, point: str, values: list[str], note: str = "") -> str:
    labels = [sweep_charts.LABELS.get(value, value) for value in values]
    return f"{first:<7}{point:<28}{''.join(f'{text:>16}' for text in labels)}  {note}".rstrip()


def _point(point: dict) -> str:
    parts = []
    for option, value in point.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        parts.append(f"{sweep_charts.SHORT.get(option, option)} {shown}")
    return " ".join(parts)
