"""Which pictures there are of a stage, a pipeline and a grid, as PNG files under work_dir/figures; tracking uploads them."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from pipelines import charts, feature_maps, interpolation, sheets
from pipelines.cache import Stage
from pipelines.data_stage import origin


def of_stage(stage: Stage, work_dir: Path, again: bool = False, ranked: bool = True) -> list[Path]:
    """The figures of a finished stage, drawn unless they are there, or `again` all the same.

    ranked: ranked lists, and FTL's interpolation, too.
    """
    folder, inputs = stage.folder(work_dir), {role: other.folder(work_dir) for role, other in stage.inputs.items()}
    drawn = []  # (name, function, what it takes after the folder)
    if stage.name == "data":
        drawn = [(f"contact_sheet-{stage.about['dataset']}", sheets.contact_sheet)]
    elif stage.name == "styles":
        name = f"{stage.label.replace(' ', '_')}-{stage.about['target']}"
        drawn = [(name, sheets.style_grid, inputs["target"])]
    elif stage.name == "measures" and json.loads((folder / "result.json").read_text())["images"]:
        drawn = [(f"style_measures-{stage.about['target']}", charts.style_matrices)]
    elif ranked and any((folder / f"{kind}.npy").exists() for kind in ("query_features", "nearest")):
        of = stage.name if stage.name != "scores" else f"{stage.label.replace(' ', '_')}-{stage.about['target']}"
        drawn = [(f"ranked_lists-{of}", sheets.ranked_lists, inputs["target"])]
    # a "trained" one's own picture it would be, with another's statistics
    if ranked and stage.name == "ftl" and "trained" not in inputs:
        drawn.append((f"interpolation-{stage.about['source']}", interpolation.visual_interpolation, inputs["source"]))
    return [_once(work_dir, again, f"{name}-{stage.hash}", draw, folder, *more) for name, draw, *more in drawn]


def of_pipeline(
    results: dict[str, dict], settings: dict, plan: list[Stage], key: str, say: Callable[[str], None]
) -> list[Path]:
    """The figures of the pipeline with that key: the methods' CMC curves and maps of features in one each, and the styles' own.

    say: is told why there is no map.
    """
    work_dir = Path(settings["work_dir"]).absolute()
    pair = f"{settings['source']['name']}-{settings['target']['name']}"
    curves = [work_dir / "figures" / f"cmc-{pair}-{key}.png"] * all(result["target"] for result in results.values())
    for path in curves:  # none where the target is not judged
        save(path, charts.cmc_curves(results, settings))
    maps = work_dir / "figures" / f"tsne-{pair}-{key}.png"
    title = (
        f"{pair.replace('-', ' -> ')}: {origin(settings)} data, recipe {settings['recipe']}, seed {settings['seed']}"
    )
    drawn = _maps(
        maps, {stage.name: stage for stage in plan if stage.name in results}, work_dir, title, settings["seed"]
    )
    if not drawn:
        say(
            f"no map of features: fewer than {feature_maps.LEAST} gallery images of persons, or crops without a gallery"
        )
    styles = [one for stage in plan if stage.name in ("styles", "measures") for one in of_stage(stage, work_dir)]
    return [*curves, *drawn, *styles]


def _maps(path: Path, methods: dict[str, Stage], work_dir: Path, title: str, seed: int) -> list[Path]:
    """The map of the methods' features, drawn unless it is there and none of them is younger: it takes seconds."""
    folders = {name: stage.folder(work_dir) for name, stage in methods.items()}
    youngest = max(feature_maps.features_of(folder).stat().st_mtime for folder in folders.values())
    if not path.exists() or path.stat().st_mtime < youngest:
        data = next(iter(methods.values())).inputs["target"].folder(work_dir)
        figure = feature_maps.tsne_maps(folders, data, title, seed)
        if figure is None:
            return []
        save(path, figure)
    return [path]


def of_grid(cells: list, bars: tuple, work_dir: Path, stem: str) -> list[Path]:
    """The figures of a grid: its table as bars, and the styles beside the truth where both were made.

    Args:
        cells: grids.Cell, finished ones too. bars: what `charts.controls` takes. stem: of the files' names.
    """
    path = work_dir / "figures" / f"{stem}.png"
    save(path, charts.controls(*bars))
    paths, styles = [path], {}
    for cell in cells:
        for stage in cell.graph:
            if stage.name == "styles" and stage.finished(work_dir):
                styles.setdefault(stage.inputs["target"].hash, {})[stage.settings["styles"]] = stage
    for pair in styles.values():
        if {"generator", "redrawn"} <= set(pair):
            folders = [pair[kind].folder(work_dir) for kind in ("generator", "redrawn")]
            name = f"styles_beside_truth-{pair['generator'].about['target']}-{pair['generator'].hash}"
            data = pair["generator"].inputs["target"].folder(work_dir)
            paths.append(_once(work_dir, False, name, sheets.styles_beside_truth, *folders, data))
    return paths


def _once(work_dir: Path, again: bool, name: str, draw, *args) -> Path:
    path = work_dir / "figures" / f"{name}.png"
    if again or not path.exists():
        save(path, draw(*args))
    return path


def save(path: Path, figure: plt.Figure) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    figure.set_dpi(150)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    plt.close(figure)
    # savefig would have written a PNG, to be read and written again without alpha
    Image.fromarray(pixels).convert("RGB").save(temporary, format="png")  # optimize: 1 s for 2% less
    temporary.replace(path)
