"""Ready camera styles (gan=folder): which file is which style, what is missing, and how the files become pixels.

    <stem>_fake_<k>.jpg         as the HHL authors name them; camera k's style of the image <stem>, the image's own camera included
    <stem>_fake_<a>to<b>.jpg    as CamStyle and ECN do; b's style of an image that camera a took; b = a is the image itself

Where two training images share a stem, as camera_3/0001.jpg and camera_7/0001.jpg do, every image's path below the folder that
holds them all stands for it, __ between its parts: camera_3__0001_fake_7.jpg (`names`; what exports are named by, too).
Cameras are the data set's numbers; of several endings the first of .jpg, .jpeg and .png counts.
"""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipelines.data_stage import SPLITS, training_files
from pipelines.files import statuses, write_whole
from reid_da import decoding
from reid_da.datasets.folders import ENDINGS
from reid_da.images import ImageStore

EXPECTED = "expected <stem>_fake_<k>.jpg for every training image and camera k, its own too, or <stem>_fake_<a>to<b>.jpg, b not a"
FAKE = re.compile(r"_fake_(\d+to)?\d+\.(jpg|jpeg|png)$", re.ASCII)
CHUNK = 32  # images whose styles lie in memory together


def chosen(settings: dict) -> bool:
    """Whether the settings ask for ready styles, with gan=folder."""
    return "root" in settings["gan"]


def look(settings: dict) -> tuple[dict, list[str]]:
    """The settings of a styles stage that is made from the folder, and what a user should know of it.

    Looks once until `look_again`, since many plans ask. On disk stays, where files are missing, work_dir/missing_styles.txt.

    Returns:
        {"root", "pairs": whether names tell both cameras, "fingerprint": of the names, sizes and times of all files used}.

    Raises:
        ValueError: no folder, or some of the files are missing: how many, the first of them, and where all are listed.
    """
    if not settings["gan"]["root"]:
        raise ValueError(f"gan=folder needs gan.root=/path of the folder with the styles; {EXPECTED}")
    roles = {key: settings[key] for key in ("gan", "target", "data", "images", "work_dir")}
    return _look(json.dumps(roles, sort_keys=True))


@lru_cache(maxsize=4)
def _look(text: str) -> tuple[dict, list[str]]:
    settings = json.loads(text)
    root, files = os.path.abspath(settings["gan"]["root"]), training_files(settings, "target")
    there = _there(root)
    pairs = _pairs(root, there)
    named = names([path for path, _ in files])
    cameras = sorted({camera for _, camera in files})
    used, missing = [], []
    for name, (path, own) in zip(named, files, strict=True):
        for camera in cameras:
            if wanted := candidates(name, own, camera, pairs):
                found = next((one for one in wanted if one in there), None)
                used.append(found) if found else missing.append((path, camera, wanted[0]))
    if settings["data"]["skip_unreadable"]:
        missing = _of_readable(missing, settings["images"])
    if missing:
        raise _refusal(root, missing, len(used) + len(missing), Path(settings["work_dir"]))
    digest = hashlib.sha256()
    for name, status in zip(used, statuses([os.path.join(root, name) for name in used]), strict=True):
        digest.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
    own = "own cameras' are the images themselves" if pairs else "own cameras' included"
    note = f"styles: {len(used)} files of {root}, for {len(files)} images and {len(cameras)} cameras, {own}"
    return {"root": root, "pairs": pairs, "fingerprint": digest.hexdigest()[:16]}, [note]


look_again = _look.cache_clear


def names(paths: Sequence[str]) -> list[str]:
    """What styles of the training images at `paths`, all of a data set, are named by: the stems, or what tells them apart.

    Raises:
        ValueError: two images that this does not tell apart, as those of one stem and different endings.
    """
    found = [Path(path).stem for path in paths]
    if len(set(found)) < len(found):
        plain = [os.path.normpath(path) for path in paths]
        above = os.path.commonpath([os.path.dirname(path) for path in plain])
        found = [os.path.splitext(path[len(above) :].lstrip(os.sep))[0].replace(os.sep, "__") for path in plain]
        first: dict[str, str] = {}
        for name, path in zip(found, plain, strict=True):
            if first.setdefault(name, path) != path:
                raise ValueError(
                    f"{first[name]} and {path}: styles of both would be named {name}; expected names that differ in more than "
                    "their ending: rename one of them"
                )
    return found


@lru_cache(maxsize=2)  # shards ask for them by turns
def names_of(store: ImageStore) -> list[str]:
    """`names` of the store's images, in its order; what could not be read has its part in them."""
    return names([*store.paths, *store.skipped])[: len(store)]


def candidates(name: str, own: int, camera: int, pairs: bool) -> list[str]:
    """The files that an image's style may be in, by what it is named by; none where the image itself stands for it."""
    if pairs and own == camera:
        return []
    return [f"{name}_fake_{f'{own}to' if pairs else ''}{camera}{ending}" for ending in ENDINGS]


def decoded(job: dict, store: ImageStore) -> Iterator[np.ndarray]:
    """The styles of images rows[0]..rows[1] of the store, (B, K, H, W, 3) uint8, decoded as training images are.

    Raises:
        ValueError: with the paths of those that cannot be read, when all of these images have been tried.
    """
    first, end = job["rows"]
    damaged: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(first, end, CHUNK):
            rows = range(start, min(start + CHUNK, end))
            wanted = [(row, int(camera)) for row in rows for camera in store.camera_names]
            found = list(pool.map(lambda one: _decode(job["settings"], store, *one), wanted))
            damaged += [one for one in found if isinstance(one, str)]
            if not damaged:
                yield np.stack(found).reshape(len(rows), store.num_cameras, *store.images.shape[1:])
    if damaged:
        named = "; ".join(damaged[:3]) + ("; ..." if len(damaged) > 3 else "")
        raise ValueError(f"{len(damaged)} camera styles cannot be read: {named}\nmake them again, or copy them again")


def _decode(settings: dict, store: ImageStore, row: int, camera: int) -> np.ndarray | str:
    """The pixels, or what is wrong with the file."""
    wanted = candidates(names_of(store)[row], int(store.cameras[row]), camera, settings["pairs"])
    if not wanted:
        return store.images[row]
    paths = [os.path.join(settings["root"], name) for name in wanted]
    path = next(filter(os.path.exists, paths), paths[0])
    try:
        return decoding.decode(path, *store.images.shape[1:3], SPLITS["train"])[0]
    except decoding.DAMAGED as error:
        return f"{path} ({error})"


def _there(root: str) -> set[str]:
    try:
        return {name for name in os.listdir(root) if FAKE.search(name)}
    except OSError as error:
        raise ValueError(f"gan.root is {root}: {error.strerror}; {EXPECTED}") from error


def _pairs(root: str, there: set[str]) -> bool:
    """Whether names tell both cameras."""
    kinds = {bool(FAKE.search(name)[1]) for name in there}
    if len(kinds) == 2:
        raise ValueError(
            f"{root} has files named <stem>_fake_<k> and files named <stem>_fake_<a>to<b>; expected one kind"
        )
    return True in kinds


def _of_readable(missing: list[tuple], size: dict) -> list[tuple]:
    """Those of images that can be decoded: the others will be left out of the training images. Looks up to the first of them."""
    for place, (path, _, _) in enumerate(missing):
        try:
            decoding.decode(path, size["height"], size["width"], SPLITS["train"])
        except decoding.DAMAGED:
            continue
        return missing[place:]
    return []


def _refusal(root: str, missing: list[tuple], total: int, work_dir: Path) -> ValueError:
    path = work_dir.absolute() / "missing_styles.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, io.BytesIO("".join(f"{name}\n" for _, _, name in missing).encode()))
    named = ", ".join(name for _, _, name in missing[:3]) + (", ..." if len(missing) > 3 else "")
    counts = sorted(Counter(camera for _, camera, _ in missing).items())
    return ValueError(
        f"{len(missing)} of {total} camera styles are missing in {root}: {named}\n"
        f"by camera: {', '.join(f'{count} of camera {camera}' for camera, count in counts)}; all are listed in {path}\n"
        f"{EXPECTED}"
    )
