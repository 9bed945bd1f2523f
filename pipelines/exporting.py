"""A styles stage as JPEG files, <stem>_fake_<k>.jpg: k is the camera's number in the data set, the image's own included.

Where stems are not unique their images' paths stand for them (pipelines/ready_styles.py).

The folder's styles.json says which stage they come from; files are written whole or not at all, and one that is there is not
written again, nor looked at.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipelines import cache, ready_styles
from pipelines.cache import Stage
from pipelines.data_stage import camera_names
from reid_da.images import ImageStore

CHUNK = 64  # images that threads have before them


def check(own: dict) -> None:
    """Refuse options of conf/export_styles.yaml that are none."""
    if not own["to"] or not isinstance(own["to"], str):
        raise ValueError("where to? give to=/path of a folder for the styles")
    quality = own["quality"]
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected a whole number from 1 to 100")


def refuse_others(to: Path, stage: Stage, quality: int) -> None:
    """ValueError for a folder that holds anything but an export of this stage in this quality, or the beginning of one."""
    if to.exists() and not to.is_dir():
        raise ValueError(f"to={to} is a file; expected a folder, or none yet")
    if not to.is_dir():
        above = next(folder for folder in to.parents if folder.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise ValueError(f"to={to} cannot be made: {above} is not to be written in; expected another folder")
        return
    known = to / "styles.json"
    if known.exists():
        try:
            found = json.loads(known.read_text())
            same = (found["styles"], found["quality"]) == (stage.hash, quality)
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{known} is no record of an export of styles; give another folder") from None
        if not same:
            raise ValueError(
                f"{to} holds the styles {found['styles']} in quality {found['quality']}, and these are {stage.hash} in "
                f"{quality}; give another folder, or remove that one"
            )
    elif other := next((name for name in sorted(os.listdir(to)) if not name.endswith(".tmp")), None):
        raise ValueError(f"{to} holds files that are no export of styles, {other} first; give another folder")


def export(stage: Stage, work_dir: Path, to: Path, quality: int) -> tuple[int, int]:
    """Write the finished styles stage's files into the folder `to`, those that are not there.

    Returns:
        How many were written now, and how many there are.
    """
    folder = stage.folder(work_dir)
    store = ImageStore(stage.inputs["target"].folder(work_dir) / "train")
    styled = np.load(folder / "styled.npy", mmap_mode="r")
    names = ready_styles.names_of(store)
    about = {"styles": stage.hash, "quality": quality, "images": len(store), "cameras": store.camera_names.tolist()}
    about["camera_names"] = camera_names(stage.inputs["target"].folder(work_dir))
    with cache.held(f"{folder}.export.lock"):  # one export of a stage at a time
        to.mkdir(parents=True, exist_ok=True)
        cache.write_json(to / "styles.json", about | {"target": stage.about["target"], "settings": stage.settings})
        written = 0
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, _bar(styled) as bar:
            for start in range(0, len(store), CHUNK):
                rows = range(start, min(start + CHUNK, len(store)))
                paths = [[to / f"{names[row]}_fake_{camera}.jpg" for camera in store.camera_names] for row in rows]
                for count in pool.map(_write, (styled[row] for row in rows), paths, repeat(quality)):
                    written += count
                    bar.update(styled.shape[1])
    return written, styled.shape[0] * styled.shape[1]


def _bar(styled: np.ndarray) -> tqdm:
    total = styled.shape[0] * styled.shape[1]
    return tqdm(total=total, desc="exporting", unit="style", leave=False, dynamic_ncols=True, disable=None)


def _write(styles: np.ndarray, paths: list[Path], quality: int) -> int:
    """One image's styles (K, H, W, 3) to their files; how many were not there. Pillow encodes outside Python's lock."""
    missing = [k for k, path in enumerate(paths) if not path.exists() or not path.stat().st_size]
    for k in missing:
        temporary = paths[k].with_name(paths[k].name + ".tmp")
        Image.fromarray(styles[k]).save(temporary, "JPEG", quality=quality)
        os.replace(temporary, paths[k])
    return len(missing)
