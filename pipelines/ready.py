"""Ready camera styles (gan=folder): which file is which style, what is missing, and how the files become pixels.

    <stem>_fake_<k>.jpg         as the HHL authors name them; camera k's style of the image <stem>, the image's own camera included
    <stem>_fake_<a>to<b>.jpg    as CamStyle and ECN do; b's style of an image that camera a took; b = a is the image itself

Cameras are the data set's numbers; of several endings the first of .jpg, .jpeg and .png counts. Knows no ray, no mlflow, no hydra.
"""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipelines.data_stage import SPLITS, training_files
from pipelines.files import write_whole
from reid_da import images
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
    there = _names(root)
    pairs = _pairs(root, there)
    cameras = sorted({camera for _, camera in files})
    used, missing = [], []
    for path, own in files:
        for camera in cameras:
            if names := candidates(path, own, camera, pairs):
                found = next((name for name in names if name in there), None)
                used.append(found) if found else missing.append((path, camera, names[0]))
    if settings["data"]["skip_unreadable"]:
        missing = _of_readable(missing, settings["images"])
    if missing:
        raise _refusal(root, missing, len(used) + len(missing), Path(settings["work_dir"]))
    digest = hashlib.sha256()
    for name in used:
        status = os.stat(os.path.join(root, name))
        digest.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
    own = "own cameras' are the images themselves" if pairs else "own cameras' included"
    note = f"styles: {len(used)} files of {root}, for {len(files)} images and {len(cameras)} cameras, {own}"
    return {"root": root, "pairs": pairs, "fingerprint": digest.hexdigest()[:16]}, [note]


look_again = _look.cache_clear


def candidates(path: str, own: int, camera: int, pairs: bool) -> list[str]:
    """Names that the style file of an image may have; none where the image itself stands for it."""
    if pairs and own == camera:
        return []
    stem = f"{Path(path).stem}_fake_{f'{own}to' if pairs else ''}{camera}"
    return [stem + ending for ending in ENDINGS]


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
    names = candidates(store.paths[row], int(store.cameras[row]), camera, settings["pairs"])
    if not names:
        return store.images[row]
    paths = [os.path.join(settings["root"], name) for name in names]
    path = next(filter(os.path.exists, paths), paths[0])
    try:
        return images.decode(path, *store.images.shape[1:3], SPLITS["train"])[0]
    except images.DAMAGED as error:
        return f"{path} ({error})"


def _names(root: str) -> set[str]:
    try:
        return {name for name in os.listdir(root) if FAKE.search(name)}
    except OSError as error:
        raise ValueError(f"gan.root is {root}: {error.strerror}; {EXPECTED}") from error


def _pairs(root: str, names: set[str]) -> bool:
    """Whether names tell both cameras."""
    kinds = {bool(FAKE.search(name)[1]) for name in names}
    if len(kinds) == 2:
        raise ValueError(
            f"{root} has files named <stem>_fake_<k> and files named <stem>_fake_<a>to<b>; expected one kind"
        )
    return True in kinds


def _of_readable(missing: list[tuple], size: dict) -> list[tuple]:
    """Those of images that can be decoded: the others will be left out of the training images. Looks up to the first of them."""
    for place, (path, _, _) in enumerate(missing):
        try:
            images.decode(path, size["height"], size["width"], SPLITS["train"])
        except images.DAMAGED:
            continue
        return missing[place:]
    return []


def _refusal(root: str, missing: list[tuple], total: int, work_dir: Path) -> ValueError:
    path = work_dir.absolute() / "missing_styles.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, io.BytesIO("".join(f"{name}\n" for _, _, name in missing).encode()))
    names = ", ".join(name for _, _, name in missing[:3]) + (", ..." if len(missing) > 3 else "")
    counts = sorted(Counter(camera for _, camera, _ in missing).items())
    return ValueError(
        f"{len(missing)} of {total} camera styles are missing in {root}: {names}\n"
        f"by camera: {', '.join(f'{count} of camera {camera}' for camera, count in counts)}; all are listed in {path}\n"
        f"{EXPECTED}"
    )
