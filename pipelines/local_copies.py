"""Data on the node's own disk (data.stage_dir): arrays that a training opens, copied from a slow shared disk once per node.

    <stage_dir>/<the stage's own folder>/train/images.npy     the copy; beside it links to whatever else lies in the folder

So a mirrored folder reads as the original does, and a training need not know. A copy is whole once it has its name; one of the
original's size and time is used again, by any process, run or sweep. What is there is never removed.
"""

import errno
import os
import shutil
from pathlib import Path

from pipelines import cache
from pipelines.data_stage import SPLITS

ROLES = ("source", "target", "styles")  # inputs of a training that hold pictures
OF_TRAINING = (
    "generator",
    "pretrain",
)  # stages that are not evaluated: of their data the training images alone are copied


def nearby(job: dict) -> dict:
    """The job with its pictures' folders mirrored below job["how"]["stage_dir"]; the same job where there is none.

    Several processes of a node may ask at once: one copies, the others wait for it.

    Raises:
        OSError: the disk there has no room, with how much is wanted, or cannot be written; nothing half-written is left.
    """
    root = job.get("how", {}).get("stage_dir")
    if not root:
        return job
    splits = {"train"} if job["name"] in OF_TRAINING else set(SPLITS)
    folders = {role: Path(folder) for role, folder in job["inputs"].items() if role in ROLES}
    return job | {"inputs": job["inputs"] | {role: str(_mirrored(one, root, splits)) for role, one in folders.items()}}


def _mirrored(folder: Path, root: str, splits: set[str]) -> Path:
    near = Path(root) / folder.relative_to(folder.anchor)
    with cache.held(f"{near}.lock"):
        _mirror(folder, near, splits)
    return near


def _mirror(folder: Path, near: Path, splits: set[str]) -> None:
    if near.is_symlink():  # a split that nobody has asked for before
        near.unlink()
    near.mkdir(exist_ok=True)
    for one in sorted(folder.iterdir()):
        if one.name in splits and one.is_dir():
            _mirror(one, near / one.name, splits)
        elif one.suffix == ".npy":
            _copy(one, near / one.name)
        elif not os.path.lexists(near / one.name):
            (near / one.name).symlink_to(one)


def _copy(original: Path, copy: Path) -> None:
    status, temporary = original.stat(), copy.with_name(copy.name + ".tmp")
    if copy.exists() and _same(copy.stat(), status):
        return
    try:
        if status.st_size > (free := shutil.disk_usage(copy.parent).free):  # rather than fill it first
            about = f"{status.st_size / 2**30:.1f} GB are wanted and {free / 2**30:.1f} GB free in data.stage_dir"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {about}", str(copy))
        shutil.copyfile(original, temporary)
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, copy)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
