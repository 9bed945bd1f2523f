"""From files to image stores: decoding by threads, in bounded memory, into arrays whose room on the disk is taken first."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from reid_da.images import ImageStore
from reid_da.records import Record

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for one file or another
Progress = Callable[[int, int], None]
CHUNK = 256  # decoded pictures that are in memory together
NAMED = 3  # files that an error names, of many


def decode(path: str | BinaryIO, height: int, width: int, resample: str) -> tuple[np.ndarray, tuple[int, int]]:
    """One image file, or its contents, as (height, width, 3) uint8 RGB, and its original (width, height). Raises one of DAMAGED."""
    with Image.open(path) as image:
        picture = as_rgb(image)
        return np.asarray(picture.resize((width, height), FILTERS[resample])), picture.size


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB, 8 bits each: the upper 8 of 16 bits; turned as its EXIF orientation says.

    Raises ValueError for 32 bits a channel, of which nothing tells what is white, and whatever of DAMAGED Pillow raises.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow's own conversion makes all above 255 white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits a channel (mode {image.mode}), expected 8 or 16")
    return image.convert("RGB")


def allocate(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file of uint8, mapped for writing, its room on the disk taken.

    Raises:
        OSError: there is no room, with how much is wanted; nothing is left of the file. Without this, writing to the map would
            end the process with a bus error.
    """
    size = int(np.prod(shape, dtype=np.int64))
    try:
        if size > (free := shutil.disk_usage(path.parent).free):  # rather than fill it first
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {free / 2**30:.1f} GB are free")
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        about = f"{size / 2**30:.1f} GB for {'x'.join(map(str, shape))} values"
        raise OSError(error.errno, f"{error.strerror} ({about})", str(path)) from error
    return array


def create(
    folder: str | Path,
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    resample: str,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> ImageStore:
    """Decode `records` into a new store at `folder`, in parallel and in bounded memory, however many there are.

    Args:
        resample: "bilinear" (training) or "bicubic" (testing), as HHL's code does.
        skip_unreadable: leave out and count what cannot be decoded, instead of stopping.
        progress: progress(images done, images in all).
    Raises:
        ValueError: with the paths of unreadable images. OSError: the disk has no room.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "images.npy.tmp"
    place = allocate(target, (len(records), height, width, 3)).offset
    sizes, done = np.zeros((len(records), 2), np.int64), 0
    size = {"height": height, "width": width, "resample": resample, "skip_unreadable": skip_unreadable}
    with open(target, "r+b") as file:  # not through the map, whose pages would stay in memory
        file.seek(place)
        for pictures, found, _ in decoded([record.path for record in records], **size):
            file.write(pictures)
            sizes[done : done + len(found)] = found
            done += len(found)
            if progress:
                progress(done, len(records))
        os.fdatasync(file.fileno())
    seal(folder, target, records, sizes)
    return ImageStore(folder)


def decoded(
    paths: Sequence[str], *, height: int, width: int, resample: str, skip_unreadable: bool, threads: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """The files' pictures in chunks, in order, decoded by threads: Pillow works outside Python's lock.

    Args:
        threads: as many as there are cores unless told, and never more than 8.
    Yields:
        Pictures (B, height, width, 3) uint8, original sizes (B, 2), width and height, and hexadecimal digests of the files' bytes;
        what cannot be decoded is black, of size 0 and has the digest "".
    Raises:
        ValueError: with the paths of unreadable images, unless such are skipped, when all have been tried.
    """
    damaged: list[str] = []
    with ThreadPoolExecutor(min(8, threads or os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            pictures, sizes = np.zeros((len(chunk), height, width, 3), np.uint8), np.zeros((len(chunk), 2), np.int64)
            found = pool.map(partial(_try, height=height, width=width, resample=resample), chunk)
            digests = [""] * len(chunk)
            for row, (path, result) in enumerate(zip(chunk, found, strict=True)):
                if not isinstance(result, Exception):
                    pictures[row], sizes[row], digests[row] = result
                elif not skip_unreadable:
                    damaged.append(f"{path} cannot be read ({reason(result)})")
            if not damaged:
                yield pictures, sizes, digests
    if damaged:
        named = ", ".join(damaged[:NAMED])
        if len(damaged) > NAMED:
            named += f", ... ({len(damaged)} of the {len(paths)} images looked at)"
        raise ValueError(f"{named}; mend or remove them, or leave such files out with data.skip_unreadable=true")


def seal(folder: Path, pictures: Path, records: Sequence[Record], sizes: np.ndarray) -> None:
    """Make a store of an array of pictures that has been written and what it shows.

    Args:
        pictures: the array's file in `folder`, a row for each record. sizes: (N, 2) int64 original width and height; rows of
            size 0 are of what could not be decoded, and are left out.
    """
    readable = sizes.any(axis=1)
    os.replace(pictures, folder / "images.npy")  # first: nobody who still writes must find rows that have moved
    if not readable.all():
        _close_gaps(folder / "images.npy", readable)
    kept = [record for record, whole in zip(records, readable, strict=True) if whole]
    skipped = [record.path for record, whole in zip(records, readable, strict=True) if not whole]
    sizes, beside = sizes[readable], _Beside(folder)
    columns = {
        "paths": lambda rows: [beside.path(record.path) for record in kept[rows]],
        "persons": lambda rows: [record.person for record in kept[rows]],
        "cameras": lambda rows: [record.camera for record in kept[rows]],
        "sizes": lambda rows: sizes[rows].tolist(),
    }
    with open(folder / "records.json.tmp", "w") as file:  # in pieces: as one text it is as large as all that it tells
        for name, column in columns.items():
            file.write(f'{"{" if name == "paths" else ", "}"{name}": [')
            for start in range(0, len(kept), CHUNK):
                file.write((", " if start else "") + json.dumps(column(slice(start, start + CHUNK)))[1:-1])
            file.write("]")
        file.write(f', "skipped": {json.dumps(skipped)}}}')
    os.replace(folder / "records.json.tmp", folder / "records.json")


def _close_gaps(path: Path, readable: np.ndarray) -> None:
    """Leave only some rows of a .npy file of uint8, in place and in order: numpy leaves room for their number in the header."""
    array = np.load(path, mmap_mode="r")
    shape, place, row = array.shape, array.offset, int(np.prod(array.shape[1:], dtype=np.int64))
    kept = 0
    with open(path, "r+b") as file:
        for start in range(0, len(readable), CHUNK):
            whole = readable[start : start + CHUNK]
            if kept < start or not whole.all():
                file.seek(place + start * row)
                rows = np.frombuffer(file.read(len(whole) * row), np.uint8).reshape(len(whole), row)
                file.seek(place + kept * row)
                file.write(rows[whole])
            kept += int(whole.sum())
        file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (kept, *shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == place, f"{path}: another header"
        file.truncate(place + kept * row)
        os.fdatasync(file.fileno())


class _Beside:
    """Paths as a store keeps them: relative where the image lies in its surroundings, since a drawn set moves with its store."""

    def __init__(self, folder: Path):
        self.folder, self.home, self.inside = folder, folder.resolve().parent, {}

    def path(self, path: str) -> str:
        above = os.path.dirname(path)
        if above not in self.inside:  # a disk is asked once for a folder, not for each image
            self.inside[above] = Path(above).resolve().is_relative_to(self.home)
        return os.path.relpath(path, self.folder) if self.inside[above] else os.path.abspath(path)


def _try(path: str, height: int, width: int, resample: str):
    try:
        content = Path(path).read_bytes()
        return *decode(BytesIO(content), height, width, resample), digest(content)
    except DAMAGED as error:
        return error


def reason(error: Exception) -> str:
    """What Pillow says of a file's contents, without their address in memory."""
    return re.sub(r"<_io.BytesIO[^>]*>", "it", str(error)) or type(error).__name__


def digest(content: bytes) -> str:
    """What tells a file's bytes from another's: 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
