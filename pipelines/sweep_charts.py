"""Charts of a sweep: a curve over each option, and a heat map of two. matplotlib only."""

import textwrap

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

SHORT = {"hhl.beta": "beta", "hhl.n_t": "n_t"}
LABELS = {"mAP": "mAP", "rank1": "rank-1", "style_retrieval": "style retrieval"}
COLOURS = {"rank1": "#1f6fb4", "mAP": "#d9822b", "style_retrieval": "#5b8c5a"}
# HHL's Figs. 5 and 6, read off to 0.4: (source, target) -> option -> values of the option, rank-1 in percent there.
PUBLISHED = {
    ("duke", "market"): {
        "hhl.beta": ([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 1.8, 2],
                     [44.6, 54.7, 60, 59.7, 63.6, 62.2, 63, 62.6, 60.9, 62.3, 57, 60]),
        "hhl.n_t": ([0, 4, 8, 12, 16, 20, 24, 28, 32], [48.6, 56.4, 61.4, 60.9, 62.2, 61.7, 61.6, 61.7, 62]),
    },
    ("market", "duke"): {
        "hhl.beta": ([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2],
                     [32.9, 40.4, 43, 44.1, 46.1, 46.9, 44.8, 43, 41.4, 39.3, 42.8]),
        "hhl.n_t": ([0, 4, 8, 12, 16, 20, 24, 28, 32], [35.1, 41.5, 45.3, 47.1, 46.9, 46.6, 45.3, 44, 45.6]),
    },
}  # fmt: skip


def curves(option: str, rows: list[dict], title: str, published: tuple | None = None) -> plt.Figure:
    """rank-1 and mAP over one option; where another one varies too, a line for each of its values.

    Args:
        rows: {"point": {option: value}, metric: mean, metric_deviation: its deviation over the seeds} of finished trials.
        published: values of the option and rank-1 in percent of the paper's curve, for real data.
    """
    metrics = [name for name in ("rank1", "mAP") if any(name in row for row in rows)]
    figure, axes = plt.subplots(1, len(metrics), figsize=(5.4 * len(metrics), 4), squeeze=False, layout="constrained")
    groups = _groups(option, rows)
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(groups)))
    for axis, metric in zip(axes[0], metrics, strict=True):
        for (name, group), shade in zip(groups.items(), shades, strict=True):
            there = sorted((row for row in group if metric in row), key=lambda row: _order(row["point"][option]))
            places = [_place(row["point"][option], rows, option) for row in there]
            means = [100 * row[metric] for row in there]
            spread = [100 * row.get(f"{metric}_deviation", 0) for row in there]
            axis.errorbar(places, means, yerr=spread, marker="o", markersize=4, capsize=3, color=shade, label=name)
        if published and metric == "rank1":
            axis.plot(*published, "--", color="grey", label="published (real data)")
        _ticks(axis, option, rows)
        axis.set(xlabel=SHORT.get(option, option), ylabel=f"{LABELS[metric]} on the target (%)")
        axis.grid(alpha=0.3)
        if len(groups) > 1 or (published and metric == "rank1"):
            axis.legend(fontsize=8)
    _entitle(figure, title)
    return figure


def heat_map(pair: tuple[str, str], rows: list[dict], metric: str, title: str) -> plt.Figure:
    """The metric over two options: the first in rows, the second in columns; the best framed, a dash where there is none."""
    values = [sorted({_hashable(row["point"][option]) for row in rows}, key=_order) for option in pair]
    means = np.full([len(v) for v in values], np.nan)
    spread = np.full_like(means, np.nan)
    for row in rows:
        if metric in row:
            i, k = (v.index(_hashable(row["point"][option])) for option, v in zip(pair, values, strict=True))
            means[i, k], spread[i, k] = 100 * row[metric], 100 * row.get(f"{metric}_deviation", np.nan)
    figure, axis = plt.subplots(
        figsize=(2.2 + 0.85 * len(values[1]), 1.6 + 0.55 * len(values[0])), layout="constrained"
    )
    drawn = axis.imshow(means, cmap="viridis", aspect="auto")
    middle = np.nanmean(drawn.get_clim())
    for (i, k), value in np.ndenumerate(means):
        text = "\u2013" if np.isnan(value) else f"{value:.1f}"
        text += "" if np.isnan(spread[i, k]) else f"\n\u00b1 {spread[i, k]:.1f}"
        colour = "white" if value <= middle else "black"
        axis.text(k, i, text, ha="center", va="center", fontsize=8, color=colour)
    if not np.isnan(means).all():
        i, k = np.unravel_index(np.nanargmax(means), means.shape)
        axis.add_patch(plt.Rectangle((k - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="#d1372c", linewidth=2.5))
    axis.set_yticks(range(len(values[0])), [str(v) for v in values[0]])
    axis.set_xticks(range(len(values[1])), [str(v) for v in values[1]])
    axis.set(ylabel=SHORT.get(pair[0], pair[0]), xlabel=SHORT.get(pair[1], pair[1]))
    figure.colorbar(drawn, label=f"{LABELS.get(metric, metric)} (%)")
    _entitle(figure, title)
    return figure


def agreement(rows: list[dict], correlation: float | None, title: str) -> plt.Figure:
    """mAP, which needs labels, against style retrieval, which needs none: a dot per trial."""
    there = [row for row in rows if "mAP" in row and "style_retrieval" in row]
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    axis.plot([row["style_retrieval"] for row in there], [100 * row["mAP"] for row in there], "o", color="#1f6fb4")
    for place, row in enumerate(sorted(there, key=lambda row: row["style_retrieval"])):
        name = ", ".join(f"{SHORT.get(o, o)} {_short(v)}" for o, v in row["point"].items())
        side = (
            {"xytext": (5, -2), "ha": "left"} if place % 2 else {"xytext": (-5, -2), "ha": "right"}
        )  # neighbours apart
        dot = (row["style_retrieval"], 100 * row["mAP"])
        axis.annotate(name, dot, textcoords="offset points", fontsize=6, **side)
    told = "" if correlation is None else f": rank correlation {correlation:.2f}"
    axis.set(xlabel="style retrieval (no labels)", ylabel="mAP on the target (%)")
    axis.margins(x=0.25)
    _entitle(figure, f"{title}{told}")
    axis.grid(alpha=0.3)
    return figure


def _entitle(figure: plt.Figure, title: str) -> None:
    """The title in as many lines as the figure's width asks for."""
    figure.suptitle(textwrap.fill(title, int(figure.get_size_inches()[0] * 13)), fontsize=9)


def _groups(option: str, rows: list[dict]) -> dict[str, list[dict]]:
    """Rows that differ in this option alone, named by the others; all in one where the others never repeat (random draws)."""
    groups: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda row: [_order(v) for o, v in row["point"].items() if o != option]):
        others = [f"{SHORT.get(o, o)} {_short(v)}" for o, v in row["point"].items() if o != option]
        groups.setdefault(", ".join(others), []).append(row)
    if len(groups) > 1 and max(map(len, groups.values())) < 2:
        return {"every trial": rows}
    return groups


def _order(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, value, "") if number else (1, 0, str(value))


def _hashable(value):
    return value if isinstance(value, int | float | str | bool) else str(value)


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _place(value, rows: list[dict], option: str) -> float:
    """On the axis: numbers where they are, other values one after another."""
    kinds = sorted({_hashable(row["point"][option]) for row in rows}, key=_order)
    return value if all(_order(kind)[0] == 0 for kind in kinds) else kinds.index(_hashable(value))


def _ticks(axis, option: str, rows: list[dict]) -> None:
    kinds = sorted({_hashable(row["point"][option]) for row in rows}, key=_order)
    if not all(_order(kind)[0] == 0 for kind in kinds):
        axis.set_xticks(range(len(kinds)), [str(kind) for kind in kinds])
