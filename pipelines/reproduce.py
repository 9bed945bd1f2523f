"""A table of many trainings: rows x directions x seeds through the same stages, with mean, deviation and paired differences.

python pipelines/reproduce.py grid=controls                                        # what a gain must be held against
python pipelines/reproduce.py grid=controls seeds=[1,2,3] vary=[seed,data.seed] rows=[source_only,jitter,hhl]
"""

import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipelines import command, options


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Plan all cells, make what is missing, and show it."""
    from pipelines import cluster, files, grids, results, stages  # slow to import (torch): Ctrl-C is heeded before
    from pipelines.progress import Screen

    grids.check(own)
    with cluster.connect(compose(grids.roles(own["directions"][0]))) as launch:
        cells, left_out = grids.cells(own, compose, options.changed, launch.num_workers)
        settings = cells[0].settings
        shown = {line: None for cell in cells for line in results.banner(cell.settings, cell.graph).splitlines()}
        print("\n".join([*shown, grids.headline(own, cells)]), flush=True)
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
            left = _make(own, cells, settings, launch, track)
            with track.alone():
                path = work_dir / f"{own['grid']['name']}-{track.key}.csv"
                ids = track.run_ids()
                grids.write_csv(path, cells, ids)
                measured = grids.write_measures(path.with_name(f"{path.stem}-styles.csv"), cells)
                rows = results.write_csv(work_dir, ids)
                text = path.with_suffix(".txt")
                files.write_whole(text, io.BytesIO(f"{grids.table(own, cells)}\n".encode()))
                bars = (grids.headline(own, cells), grids.labels(own), grids.scores(cells, "mAP"))
                pictures = figures.of_grid(cells, bars, work_dir, path.stem)
                track.finish(
                    grids.numbers(cells), pictures, [path, text, rows, *measured], text.read_text(), whole=not left
                )
    print(text.read_text(), end="")
    print(f"{path}; pictures in {work_dir / 'figures'}")
    if left:
        print(f"max_minutes={own['max_minutes']} left {len(left)} of them, the same command goes on: {'; '.join(left)}")
    print(f"to browse: {track.store.how_to_browse()}")


def _make(own: dict, cells: list, settings: dict, launch, track) -> list[str]:
    """Make the cells, all rows of a direction and seed together, and name those that max_minutes leaves."""
    from pipelines import stages

    began, longest, ended, left = time.monotonic(), 0.0, set(), []
    work_dir, groups = Path(settings["work_dir"]).absolute(), list(_groups(cells))
    for number, (title, group) in enumerate(groups, start=1):
        start = time.monotonic()
        wanted = [stage for cell in group for stage in cell.graph]
        fresh = {stage.hash: stage for stage in wanted if stage.hash not in ended}
        made = all(stage.finished(work_dir) for stage in fresh.values())
        if own["max_minutes"] and not made and longest and start - began + longest > 60 * own["max_minutes"]:
            left.append(title)
            continue
        track.say(f"{title} ({number} of {len(groups)})")
        stages.make(list(fresh.values()), settings, launch, track)
        ended |= set(fresh)
        longest = longest if made else max(longest, time.monotonic() - start)
    return left


def _groups(cells: list) -> Iterator[tuple[str, list]]:
    groups: dict = {}
    for cell in cells:
        groups.setdefault(f"{cell.direction.replace('-', ' -> ')}, {cell.seed}", []).append(cell)
    yield from groups.items()


INSTEAD = {
    "source": "directions=[market-duke]",
    "target": "directions=[market-duke]",
    "methods": "rows=[hhl]",
}

if __name__ == "__main__":
    # one process: no start of Ray for each of many short trainings
    command.many_main(story, "reproduce", INSTEAD, cluster="inline")
