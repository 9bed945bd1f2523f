"""The data stage's work: a data set is drawn if it is a synthetic one, read, and decoded in shards, each by threads.

    <part>/train/pictures.npy            (N, H, W, 3) uint8, a row for every record: images.npy in the making
    <part>/train/shards/00001024.json    those from 1024 on are there, and of which size they were (pipelines/shards.py)

What a killed command has left is gone on with.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines import cache, data_report, shards
from pipelines.build import build
from pipelines.data_stage import SPLITS, world_options
from pipelines.files import reporter
from pipelines.shards import Shard
from reid_da import decoding
from reid_da.images import ImageStore
from reid_da.records import Dataset, Record
from reid_da.survey import Survey, twins

SHARD = 1024  # images in a shard: what a killed run may lose
PICTURES = "pictures.npy"


def make_data(job: dict, spread: Callable) -> None:
    """Draw the data set if it is a synthetic one, read it, and decode every split into an ImageStore.

    Args:
        spread: spread(worker, jobs) calls worker(job) for each job, here or elsewhere, several at a time or in turn.
    Raises:
        ValueError: with the path of an unreadable image. OSError: the disk has no room, which is asked for at the start.
    """
    with cache.writing(job):
        dataset = _read(job)
        parts = _shards(job, dataset)
    spread(decode_shard, parts)
    with cache.writing(job):
        _finish(job, dataset)


def decode_shard(job: dict) -> None:
    """Images rows[0]..rows[1] of a split, unless they are there and what they should be."""
    folder, found, digests = Path(job["part"]) / job["split"], [], []
    if not shards.wanted(job) or _sealed(folder):
        return
    shard = Shard(folder / PICTURES, *job["rows"])
    with shard.held():
        if shard.whole():
            return
        shard.write(_pictures(job, found, digests), beside={"sizes": found, "digests": digests})
    with cache.writing(job):
        done = sum(_done(Path(job["part"]) / split, count) for split, count in job["counts"].items())
        reporter(job)(done, sum(job["counts"].values()), phase="decoding")


def _read(job: dict) -> Dataset:
    settings, part = job["settings"], Path(job["part"])
    root, drawn = settings.get("root") or str(part / "drawn"), part / "drawn.tmp"
    if "draw" in settings and not drawn.exists():  # drawn again it would be in the way of a killed command's worker
        draw, progress = settings["draw"], partial(reporter(job), phase="drawing")
        os.makedirs(root, exist_ok=True)
        build(draw["world"], root=root, seed=draw["seed"], progress=progress, **world_options(draw))
        drawn.touch()
    return build(settings["reader"], root)


def _shards(job: dict, dataset: Dataset) -> list[dict]:
    """Deterministic ranges of every split's records; the room for all of them is taken."""
    found, counts = [], {split: len(getattr(dataset, split)) for split in SPLITS}
    for split, count in counts.items():
        folder, paths = Path(job["part"]) / split, [record.path for record in getattr(dataset, split)]
        if _sealed(folder):
            continue
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        size = job["settings"]["images"]
        shards.take_room(folder / PICTURES, (count, size["height"], size["width"], 3))
        ranges = [(first, min(first + SHARD, count)) for first in range(0, count, SHARD)]
        found += [{**job, "split": split, "rows": [a, b], "paths": paths[a:b], "counts": counts} for a, b in ranges]
    return found


def _pictures(job: dict, found: list, digests: list) -> Iterator[np.ndarray]:
    """The shard's pictures in chunks; their original sizes are added to `found`, what tells files apart to `digests`."""
    settings = job["settings"]
    how = {"resample": SPLITS[job["split"]], "skip_unreadable": settings["skip_unreadable"]}
    decoded = decoding.decoded(job["paths"], **settings["images"], **how, threads=job["threads"])
    for pictures, original, which in decoded:
        found += original.tolist()
        digests += which
        yield pictures


def _sealed(folder: Path) -> bool:
    return (folder / "records.json").exists()


def _done(folder: Path, count: int) -> int:
    return count if _sealed(folder) else min(shards.recorded(folder) * SHARD, count)


def _finish(job: dict, dataset: Dataset) -> None:
    part = Path(job["part"])
    if not (part / "result.json").exists():  # the shards' records may be gone
        cache.write_json(part / "result.json", _sealed_all(part, dataset))
    for split in SPLITS:
        shutil.rmtree(part / split / "shards", ignore_errors=True)
    cache.finish(job)


def _sealed_all(part: Path, dataset: Dataset) -> dict:
    """Make stores of all splits; what result.json tells of them."""
    summary = {"junk": dataset.num_junk, "unmatched": list(dataset.unmatched), "splits": {}}
    summary["camera_names"] = dataset.camera_names
    found = Survey()
    for split in SPLITS:
        folder, records = part / split, getattr(dataset, split)
        if not _sealed(folder):
            shards.check_all_there({"label": f"data {dataset.name}"}, folder, -(-len(records) // SHARD))
            original = np.array([size for shard in _of(folder, records) for size in shard.beside()["sizes"]], np.int64)
            decoding.seal(folder, folder / PICTURES, records, original.reshape(-1, 2))
        store = ImageStore(folder)
        found.sizes.update(map(tuple, store.sizes.tolist()))
        summary["splits"][split] = dict(zip(("images", "persons", "cameras"), dataset.counts()[split], strict=True))
        summary["splits"][split]["skipped"] = store.skipped
    left_out = {path for counts in summary["splits"].values() for path in counts["skipped"]}
    if wrong := data_report.emptied(dataset, data_report.without(dataset, left_out)):
        raise ValueError("\n".join(wrong))
    found.twins = twins(_digests(part, dataset))
    return summary | {"files": data_report.of_files(found)}


def _digests(part: Path, dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """(split, path, digest) of every image that could be read."""
    for split in SPLITS:
        records = getattr(dataset, split)
        for shard in _of(part / split, records):
            digests = shard.beside().get("digests", [])  # none where an earlier version began
            for record, which in zip(records[shard.first : shard.end], digests, strict=False):
                if which:
                    yield split, record.path, which


def _of(folder: Path, records: Sequence[Record]) -> list[Shard]:
    """The split's shards whose records are there."""
    shards = [Shard(folder / PICTURES, a, min(a + SHARD, len(records))) for a in range(0, len(records), SHARD)]
    return [shard for shard in shards if shard.record.exists()]
