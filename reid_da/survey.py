"""Every image file of a data set read and decoded once: sizes, files that cannot be decoded, the same file in two splits.

Runs, which decode for themselves, tell the same of what they decoded (`twins`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from reid_da.decoding import DAMAGED, as_rgb, digest, reason
from reid_da.records import SPLITS, Dataset

CHUNK = 256  # files that are in memory together


@dataclass
class Survey:
    """What the files themselves tell.

    sizes: (width, height) -> how many. unreadable: (path, why). twins: (path, path) of equal bytes in different splits, each
    later file with the first of its kind.
    """

    sizes: Counter = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)

    def size_range(self) -> str:
        """Such as "64x128", or "23x51 to 128x256, half of them up to 60x150": widths x heights in pixels."""
        if len(self.sizes) < 2:
            return ", ".join(f"{w}x{h}" for w, h in self.sizes) or "none"
        by_area = sorted(self.sizes, key=lambda size: size[0] * size[1])
        half, seen = sum(self.sizes.values()) / 2, 0
        for median in by_area:
            seen += self.sizes[median]
            if seen >= half:
                break
        (a, b), (c, d), (e, f) = by_area[0], by_area[-1], median
        return f"{a}x{b} to {c}x{d}, half of them up to {e}x{f}"


def survey(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Read all files of the data set, in parallel and in bounded memory (a digest and a path stay of each).

    Args:
        progress: progress(files done, files in all).
    """
    files = [(split, record.path) for split in SPLITS for record in getattr(dataset, split)]
    found, whole = Survey(), []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            seen = pool.map(_look, (path for _, path in chunk))
            for (split, path), (size, which, wrong) in zip(chunk, seen, strict=True):
                if wrong:
                    found.unreadable.append((path, wrong))
                else:
                    found.sizes[size] += 1
                    whole.append((split, path, which))
            if progress:
                progress(start + len(chunk), len(files))
    found.twins = twins(whole)
    return found


def twins(files: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """(path, path) of equal bytes in different splits, each later file with the first of its kind.

    files: (split, path, digest of the bytes).
    """
    found, first = [], {}
    for split, path, which in files:
        other, before = first.setdefault(which, (split, path))
        if other != split:
            found.append((before, path))
    return found


def _look(path: str) -> tuple[tuple[int, int], str, str]:
    """Size, digest of the bytes, and what is wrong with them, if anything."""
    try:
        content = Path(path).read_bytes()
        with Image.open(BytesIO(content)) as image:
            return as_rgb(image).size, digest(content), ""
    except DAMAGED as error:
        return (0, 0), "", reason(error)
