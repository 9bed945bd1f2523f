"""Images per second and memory of decoding a split, at sizes that tell whether memory grows with it.

    python benchmarks/decoding.py                                    # 20,000 and 200,000 crops to 64x32 (1.2 GB on the disk)
    python benchmarks/decoding.py 20000 --height 256 --width 128     # at the papers' size: 2 GB
    python benchmarks/decoding.py 500000 --folder /scratch

A few dozen JPEG files of 64x128 pixels stand under many records, by links of names of their own: what is measured is decoding,
resizing and writing, not a disk's reading. Each size is a process of its own. `above start` is the peak of its resident memory
less what it had when all was imported and the records were made; then the same for opening the store, which
most processes do, with the seconds of that.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from reid_da import decoding
from reid_da.images import ImageStore
from reid_da.records import Record

FILES = 64  # different ones


def draw(folder: Path) -> list[str]:
    """FILES crops of soft noise, which is as long in JPEG as people are."""
    rng, paths = np.random.default_rng(0), []
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
        path = folder / f"{number:04d}.jpg"
        coarse.resize((64, 128), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(str(path))
    return paths


def link(paths: list[str], folder: Path, count: int) -> list[Record]:
    """Records of `count` names of the files, 10,000 in a folder."""
    records = []
    for i in range(count):
        home = folder / f"camera_{i // 10_000}"
        if i % 10_000 == 0:
            home.mkdir()
        os.link(paths[i % len(paths)], path := f"{home}/{i:07d}.jpg")
        records.append(Record(path, i % 1000, i // 10_000))
    return records


def resident() -> tuple[float, float]:
    """MB of this process that are in memory now, and at most so far."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return now / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def one(step: str, count: int, folder: Path, size: dict) -> None:
    """Decode or open one store, and print what it took."""
    if step == "decode":
        records = link(draw(folder), folder, count)
        before, start = resident()[0], time.perf_counter()
        decoding.create(folder / "store", records, **size, resample="bilinear")
        seconds = time.perf_counter() - start
        print(
            f"{count:9,} crops: {count / seconds:6,.0f} images/s, {resident()[1] - before:6.0f} MB above start", end=""
        )
    else:
        before, start = resident()[0], time.perf_counter()
        store = ImageStore(folder / "store")
        seconds = time.perf_counter() - start
        assert len(store) == count
        print(
            f"; opened in {seconds:.2f} s, {resident()[0] - before:.0f} MB kept, {resident()[1] - before:.0f} MB at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[20_000, 200_000])
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--folder", help="where there is room; the system's temporary one unless told")
    parser.add_argument("--step", choices=["decode", "open"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        size = {"height": options.height, "width": options.width}
        return one(options.step, options.counts[0], Path(options.folder), size)
    size = ["--height", str(options.height), "--width", str(options.width)]
    for count in options.counts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for step in ("decode", "open"):
                line = [sys.executable, __file__, str(count), *size, "--folder", folder, "--step", step]
                subprocess.run(line, check=True)
    return None


if __name__ == "__main__":
    main()
