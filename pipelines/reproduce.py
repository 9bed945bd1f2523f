"""A table of many trainings: rows x directions x seeds through the same stages, with mean, deviation and paired differences.

python pipelines/reproduce.py grid=controls                                        # what a gain must be held against
python pipelines/reproduce.py grid=controls seeds=[1,2,3] vary=[seed,data.seed] rows=[source_only,jitter,hhl]
"""

import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines import command, options


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Plan all cells, make what is missing, and show it."""
    from pipelines import (
        cluster,
        files,
        grid_views,
        grids,
        results,
        stages,
    )  # slow to import (torch): Ctrl-C is heeded before
    from pipelines.progress import Screen

    grids.check(own)
    with cluster.connect(compose(grids.roles(own["directions"][0]))) as launch:
        cells, left_out = grids.cells(own, compose, options.changed, launch.num_workers)
        settings = cells[0].settings
        if settings["force"] and own["max_minutes"]:
            raise ValueError(
                f"force={settings['force']} with max_minutes={own['max_minutes']}: the command that is to go on would begin anew "
                "each time; expected one of the two"
            )
        shown = {line: None for cell in cells for line in results.banner(cell.settings, cell.graph).splitlines()}
        print("\n".join([*shown, grid_views.headline(own, cells)]), flush=True)
        for name in left_out:
            print(f"row {name} is left out: only drawn data tell its truth")
        from pipelines import figures
        from pipelines.tracking import Tracking

        work_dir = Path(settings["work_dir"]).absolute()
        graph = list({stage.hash: stage for cell in cells for stage in cell.graph}.values())
        tags = {"grid": own["grid"]["name"], "recipe": settings["recipe"], "directions": ",".join(own["directions"])}
        about = {"kind": "grid", "name": own["grid"]["name"], "tags": tags, "ranked_lists": False}
        remarks = partial(stages.remarks, settings=settings)
        with Screen(work_dir, remarks) as screen, Tracking(settings, graph, screen, **about) as track:
            left, failed = _make(own, cells, settings, launch, track)
            with track.alone():
                path = work_dir / f"{own['grid']['name']}-{track.key}.csv"
                ids = track.run_ids()
                grid_views.write_csv(path, own, cells, ids)
                measured = grid_views.write_measures(path.with_name(f"{path.stem}-styles.csv"), cells)
                rows = results.write_csv(work_dir, ids)
                text = path.with_suffix(".txt")
                files.write_whole(text, io.BytesIO(f"{grid_views.table(own, cells)}\n".encode()))
                pictures = figures.of_grid(cells, grid_views.bars(own, cells), work_dir, path.stem)
                numbers, tables = grid_views.numbers(own, cells), [path, text, rows, *measured]
                track.finish(numbers, pictures, tables, text.read_text(), whole=not left and not failed)
    print(text.read_text(), end="")
    print(f"{path}; pictures in {work_dir / 'figures'}")
    if left:
        names = "; ".join(f"{title}: {', '.join(cell.row for cell in group)}" for title, group in _groups(left).items())
        print(f"max_minutes={own['max_minutes']} left {len(left)} of {len(cells)}, the same command goes on: {names}")
    print(f"to browse: {track.store.how_to_browse()}")
    if failed:
        named = [f"{title}: {cell.row}: {error}" for cell, error in failed for title in _groups([cell])]
        raise FloatingPointError(
            f"{len(failed)} of {len(cells)} cells have diverged, the others stand above: {'; '.join(named)}"
        )


def _make(own: dict, cells: list, settings: dict, launch, track) -> tuple[list, list]:
    """Make the cells; those that max_minutes leaves, and (cell, error) of those that have diverged.

    Without a limit all rows of a direction and seed go together, which share launches; with one each goes alone, so that it can
    end between any two. What they share is made once either way.
    """
    from pipelines import stages

    began, longest, ended, left, failed = time.monotonic(), 0.0, set(), [], []
    work_dir, limit = Path(settings["work_dir"]).absolute(), own["max_minutes"]
    stages.forget(list({s.hash: s for cell in cells for s in cell.graph}.values()), settings, track.say)
    settings = settings | {"force": []}  # once is enough of what cells share
    groups = _groups(cells)
    if limit:
        groups = {f"{title}: {cell.row}": [cell] for title, group in groups.items() for cell in group}
    for number, (title, group) in enumerate(groups.items(), start=1):
        start = time.monotonic()
        fresh = {stage.hash: stage for cell in group for stage in cell.graph if stage.hash not in ended}
        made = all(stage.finished(work_dir) for stage in fresh.values())
        if limit and not made and longest and start - began + longest > 60 * limit:
            left += group
            continue
        track.say(f"{title} ({number} of {len(groups)})")
        failed += _make_together(group, ended, settings, launch, track)
        longest = longest if made else max(longest, time.monotonic() - start)
    return left, failed


def _make_together(cells: list, ended: set[str], settings: dict, launch, track) -> list:
    """Make them in one go; where a training diverges one by one, so that the others are made. (cell, error) of those that do.

    ended: hashes of the stages that have been made or looked at; these are put to them.
    """
    from pipelines import stages

    work_dir = Path(settings["work_dir"]).absolute()
    fresh = {stage.hash: stage for cell in cells for stage in cell.graph if stage.hash not in ended}
    try:
        stages.make(list(fresh.values()), settings, launch, track)
    except FloatingPointError as error:
        track.leave(list(track.active), "FAILED")
        if len(cells) == 1:
            return [(cells[0], error)]
        return [one for cell in cells for one in _make_together([cell], ended, settings, launch, track)]
    finally:
        ended |= {stage.hash for stage in fresh.values() if stage.finished(work_dir)}
    return []


def _groups(cells: list) -> dict[str, list]:
    """Direction and seed -> their cells."""
    groups: dict[str, list] = {}
    for cell in cells:
        groups.setdefault(f"{cell.direction.replace('-', ' -> ')}, {cell.seed}", []).append(cell)
    return groups


INSTEAD = {
    "source": "directions=[market-duke]",
    "target": "directions=[market-duke]",
    "methods": "rows=[hhl]",
}

if __name__ == "__main__":
    # one process: no start of Ray for each of many short trainings
    command.many_main(story, "reproduce", INSTEAD, cluster="inline")
