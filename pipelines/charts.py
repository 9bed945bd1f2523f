"""Charts of numbers: CMC curves, a table as bars, matrices. matplotlib only."""

import json
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

BARS, GREY = {"hhl": "#1f6fb4", "arn": "#d9822b"}, "#b5b9bf"  # the methods; controls are grey
PAPERS = {"linestyle": "", "marker": "D", "markersize": 6, "color": "#b3231b", "markerfacecolor": "white"}


def cmc_curves(results: dict[str, dict], settings: dict) -> plt.Figure:
    """Share of queries with a right match among the first k, one curve per method."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for method, result in results.items():
        cmc = 100 * np.asarray(result["target"]["cmc"])
        axis.plot(np.arange(1, len(cmc) + 1), cmc, label=f"{method} (mAP {100 * result['target']['mAP']:.1f})")
    axis.set(xlabel="rank k", ylabel="queries with a match among the first k (%)", xlim=(1, 50), ylim=(0, 100))
    axis.set_title(f"{settings['source']['name']} -> {settings['target']['name']}, recipe {settings['recipe']}")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure


def controls(
    name: str,
    labels: dict[str, str],
    every: dict[str, dict[str, dict[int, float]]],
    published: dict[str, dict[str, float]] | None = None,
    measured: str = "",
    of: str = "",
) -> plt.Figure:
    """A grid's table as bars: mean mAP of each row, its deviation, and each seed as a dot; a panel per direction.

    Args:
        labels: row -> what it is called, from top to bottom. every: direction -> row -> seed -> mAP in 0..1.
        published: direction -> row -> the paper's mAP in 0..1, a hollow diamond. measured, of: what the bars and the diamonds are
            of.
    """
    shape = (1.6 + 4.2 * len(every), 1.3 + 0.34 * len(labels) + 0.4 * bool(published))
    figure, axes = plt.subplots(
        1, len(every), figsize=shape, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    places = dict(zip(labels, reversed(range(len(labels))), strict=True))
    for axis, (direction, rows) in zip(axes[0], every.items(), strict=True):
        theirs = {row: 100 * value for row, value in (published or {}).get(direction, {}).items()}
        _bars(axis, rows, places, theirs)
        axis.plot(list(theirs.values()), [places[row] for row in theirs], **PAPERS)
        kind = "mAP by trapezoids" if published else "mAP"
        axis.set(yticks=list(places.values()), yticklabels=labels.values(), xlabel=f"{kind} on the target (%)")
        axis.set_title(direction.replace("-", " -> "))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_xlim(0, 1.15 * axes[0][0].get_xlim()[1])  # of all panels: bars are compared across them
    if published:
        marks = [plt.Rectangle((0, 0), 1, 1, color=GREY), plt.Line2D([], [], **PAPERS)]
        told = [f"measured: {measured}", f"published: {of}"]
        figure.legend(marks, told, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    lines = [textwrap.fill(line, int(15 * shape[0])) for line in name.splitlines()]  # some 15 letters an inch
    figure.suptitle("\n".join(lines), fontsize=9)
    return figure


def _bars(axis, rows: dict[str, dict[int, float]], places: dict[str, int], theirs: dict[str, float]) -> None:
    """Each with its mean beside it, behind the paper's mark where that is near."""
    for row, place in places.items():
        values = 100 * np.array(list(rows.get(row, {}).values()))
        if not len(values):
            continue
        deviation = values.std(ddof=1) if len(values) > 1 else 0
        axis.barh(place, values.mean(), color=BARS.get(row, GREY), height=0.66)
        axis.errorbar(values.mean(), place, xerr=deviation, color="black", capsize=2.5, linewidth=1)
        axis.plot(values, np.full(len(values), place), "o", color="black", markersize=2.5, alpha=0.6)
        end = max(values.mean() + deviation, values.max())
        if row in theirs and -1 < theirs[row] - end < 8:  # where the figure would lie
            end = theirs[row] + 1
        axis.text(end + 1, place, f"{values.mean():.1f}", va="center", size=8)


MATRICES = {  # of a measures stage's result.json -> title above the ratio
    "camera": "Classified as wanted camera,\nagainst real images of it",
    "original": "Original retrieved: the nearest\nof 20 of its own camera",
    "colour": "Colour gap closed",
    "kid": "KID gap closed,\nof clouds of features",
    "cosine": "Features: cosine to the original;\nbeyond that of other images",
    "identity": "Query's mAP kept",
    "rank1": "Query's rank-1 kept",
    "truth": "Gap to true image closed,\nin features",
}


def style_matrices(measures: Path) -> plt.Figure:
    """The style measures: own camera in rows, wanted camera in columns, percent in every cell; below, real images' answers.

    What the target cannot tell (persons, the truth) is left out.
    """
    result = json.loads((measures / "result.json").read_text())
    told = {name for name in MATRICES if result.get(name)} - ({"kid"} if result.get("kid_least") is None else set())
    names, shown = result["cameras"], [name for name in MATRICES if name in told]
    side = max(2.4, 0.4 * len(names))  # of a matrix, in inches: room for its title, and for three digits in a cell
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * (side + 0.3) + 1, rows * (side + 0.9)), squeeze=False, layout="compressed"
    )
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, shown, strict=False):
        values = np.array(result[name], dtype=float)
        if name == "kid":
            way = np.array(result["kid_real"], dtype=float) - result["kid_least"]
            values = np.where(way > 0, 1 - (values - result["kid_least"]) / np.where(way > 0, way, 1), np.nan)
        drawn = _cells(axis, values, names, names)
        axis.set_title(f"{MATRICES[name]}: {_percent(result['ratios'][name])}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("wanted camera")
    for axis in axes[:, 0]:
        axis.set_ylabel("own camera")
    real = ", ".join(f"{name}: {_percent(share)}" for name, share in zip(names, result["camera_real"], strict=True))
    figure.suptitle(f"{result['images']} images. Real ones classified as their own camera: {real}", fontsize=9)
    figure.colorbar(drawn, ax=list(axes.flat), extend="both", format="%d %%", shrink=0.8, aspect=25, pad=0.01)
    return figure


def _cells(axis, shares: np.ndarray, rows: list, columns: list):
    """A matrix with its values written on it; a dash where there is none."""
    percent = 100 * shares
    drawn = axis.imshow(percent, vmin=0, vmax=100, cmap="viridis")
    for (row, column), value in np.ndenumerate(percent):
        text = "\u2013" if np.isnan(value) else f"{value:.0f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if value < 60 else "black")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    return drawn


def _percent(share: float | None) -> str:
    return "\u2013" if share is None else f"{100 * share:.0f} %"
