"""The styles stage's work: every target training image in every target camera's style, in shards that actors make."""

import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from gan.translate import translated
from pipelines import cache, ready_styles, shards
from pipelines.build import build
from pipelines.data_stage import SPLITS
from pipelines.device import stage_work
from pipelines.files import load_weights, reporter
from pipelines.shards import Shard
from reid_da import decoding, distributed
from reid_da.augment import colour_jitter
from reid_da.datasets.synthetic import redraw
from reid_da.images import ImageStore

SHARD = 512  # images in a shard of styles: what a killed run may lose
CHUNK = 32  # images whose styles lie in memory together, where no generator makes them


def style(job: dict) -> None:
    """The whole stage in one process; a finished one is passed over.

    styled.npy: (N, K, H, W, 3) uint8. result.json: images N, cameras K, shards, and made_again, how many of them a restarted
    run found to be other than they had been written.

    Raises:
        OSError: the disk has no room for them. ValueError: ready styles that cannot be read.
    """
    with cache.writing(job):
        if not Path(job["folder"]).is_dir():
            for shard in style_shards(job):
                if _fill(shard):
                    _report(shard)
            _finish(job)


def style_shards(job: dict) -> list[dict]:
    """The job's shards, deterministic ranges of the target's training images; the room for all of them is taken.

    Raises:
        OSError: the disk has no room for them.
    """
    store = ImageStore(Path(job["inputs"]["target"]) / "train")
    count, *size = store.images.shape
    shards.take_room(Path(job["part"]) / "styled.npy", (count, store.num_cameras, *size))
    (Path(job["part"]) / "shards").mkdir(exist_ok=True)
    return [{**job, "rows": [a, min(a + SHARD, count)], "count": count} for a in range(0, count, SHARD)]


def style_shard(job: dict) -> None:
    """One shard of many actors': images rows[0]..rows[1] in every camera's style, unless it is there and what it should be."""
    if shards.wanted(job) and _fill(job):
        with cache.writing(job):
            _report(job)


def finish_styles(job: dict) -> None:
    """Call the stage whole, when all of its shards are."""
    with cache.writing(job):
        _finish(job)


def remarks(folder: Path) -> list[str]:
    """What is to be told of a stage that has just been made."""
    result = json.loads((folder / "result.json").read_text())
    return [
        f"{result['made_again']} of {result['shards']} shards of styles that a stopped run had left were not what it "
        "had written (digest); they were made again"
    ] * bool(result["made_again"])


@stage_work
def _fill(job: dict) -> bool:
    """Make the shard unless it is whole; whether there was anything to do."""
    shard = Shard(Path(job["part"]) / "styled.npy", *job["rows"])
    with shard.held():
        if shard.whole():
            return False
        store = _store(str(Path(job["inputs"]["target"]) / "train"))
        kinds = {"generator": _translated, "jitter": _jittered, "redrawn": _redrawn, "folder": ready_styles.decoded}
        shard.write(kinds[job["settings"]["styles"]](job, store))
    return True


def _report(job: dict) -> None:
    reporter(job)(min(shards.recorded(Path(job["part"])) * SHARD, job["count"]), job["count"])


def _finish(job: dict) -> None:
    part = Path(job["part"])
    count, cameras = np.load(part / "styled.npy", mmap_mode="r").shape[:2]
    shards.check_all_there(job, part, -(-count // SHARD))
    numbers = {"images": count, "cameras": cameras, "shards": shards.recorded(part)}
    cache.write_json(part / "result.json", numbers | {"made_again": shards.made_again(part)})
    shutil.rmtree(part / "shards")
    cache.finish(job)


def _translated(job: dict, store: ImageStore) -> Iterator[np.ndarray]:
    generator = trained_generator(job["inputs"]["generator"], store.num_cameras, distributed.device())
    for batch in translated(generator, store.images[slice(*job["rows"])], store.num_cameras):
        yield batch.numpy()


def _jittered(job: dict, store: ImageStore) -> Iterator[np.ndarray]:
    for rows in _chunks(job):
        yield colour_jitter(store.images[rows], store.num_cameras, rows, job["settings"]["jitter"])


def _redrawn(job: dict, store: ImageStore) -> Iterator[np.ndarray]:
    for rows in _chunks(job):
        yield np.stack([redrawn(job["settings"]["draw"], store, row) for row in rows])


def redrawn(draw: dict, store: ImageStore, row: int) -> np.ndarray:
    """What every camera would really have shown of an image, (K, H, W, 3) uint8: only a drawn world can tell."""
    height, width = store.images.shape[1:3]
    shown = [redraw(draw["world"], draw["seed"], store.paths[row], int(camera)) for camera in store.camera_names]
    return np.stack([Image.fromarray(one).resize((width, height), decoding.FILTERS[SPLITS["train"]]) for one in shown])


def _chunks(job: dict) -> Iterator[np.ndarray]:
    first, end = job["rows"]
    for start in range(first, end, CHUNK):
        yield np.arange(start, min(start + CHUNK, end))


_store = lru_cache(maxsize=2)(ImageStore)  # an actor does many shards


@lru_cache(maxsize=1)
def trained_generator(folder: str, num_cameras: int, device: str):
    """The generator of a finished generator stage's folder (stage.json, generator.pt) on the device, to be used."""
    block = json.loads((Path(folder) / "stage.json").read_text())["settings"]["generator"]
    generator = build(block, num_cameras)
    generator.load_state_dict(load_weights(Path(folder) / "generator.pt"))
    return generator.to(device).eval()
