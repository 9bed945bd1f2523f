"""Stages and their folders: what a stage is, where it lies, and how a folder comes to be whole.

A stage is inputs + settings -> folder. Its folder is work_dir/cache/<name>/<hash>; it is written as <hash>.part and renamed
when whole, so that a folder without the ending is finished, whoever was killed when. Two locks, which the system frees when their
holder dies: <hash>.lock is the command's that makes the stage, <hash>.part.lock the process's that writes.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    Args:
        name: kind of stage, its folder's name and MLflow's tag. label: what people read, "data market".
        settings: plain values, all that changes the result. inputs: role -> stage. version: of the stage's code.
        about: plain values for the views (data sets' names, seeds, variant); not hashed.
    """

    name: str
    label: str
    settings: dict
    inputs: dict[str, "Stage"] = field(default_factory=dict)
    version: int = 1
    about: dict = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """16 hex digits of name, version, settings and the inputs' hashes."""
        inputs = {role: stage.hash for role, stage in self.inputs.items()}
        text = json.dumps([self.name, self.version, self.settings, inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def folder(self, work_dir: Path) -> Path:
        return work_dir / "cache" / self.name / self.hash

    def part(self, work_dir: Path) -> Path:
        return work_dir / "cache" / self.name / f"{self.hash}.part"

    def finished(self, work_dir: Path) -> bool:
        return self.folder(work_dir).is_dir()


@dataclass(frozen=True)
class Given(Stage):
    """A finished stage's folder that lies anywhere, or what is left of one: known by the hash that it was made under.

    Args:
        known: that hash. place: the folder.
    """

    known: str = ""
    place: str = ""

    @property
    def hash(self) -> str:
        return self.known

    def folder(self, work_dir: Path) -> Path:
        return Path(self.place)


def job(stage: Stage, work_dir: Path) -> dict:
    """The stage as a plain dict that travels to a worker: name, settings, and folders as strings."""
    return {
        "name": stage.name,
        "label": stage.label,
        "settings": stage.settings,
        "inputs": {role: str(other.folder(work_dir)) for role, other in stage.inputs.items()},
        "part": str(stage.part(work_dir)),
        "folder": str(stage.folder(work_dir)),
    }


def start(stage: Stage, work_dir: Path) -> None:
    """Make the .part folder, or go on with the one that is there, and say in it what the stage is."""
    part = stage.part(work_dir)
    part.mkdir(parents=True, exist_ok=True)
    meta = {
        "name": stage.name,
        "label": stage.label,
        "version": stage.version,
        "settings": stage.settings,
        "inputs": {role: {"name": other.name, "hash": other.hash} for role, other in stage.inputs.items()},
        "about": stage.about,
        "hash": stage.hash,
    }
    write_json(part / "stage.json", meta)


def finish(job: dict) -> None:
    """Rename a whole .part into place, without what a killed process had not written whole."""
    for half in Path(job["part"]).rglob("*.tmp"):
        half.unlink()
    os.replace(job["part"], job["folder"])


def forget(stage: Stage, work_dir: Path) -> None:
    """Remove a stage's folder and part, to make it again."""
    folder = stage.folder(work_dir)
    doomed = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)  # a killed command's
    if folder.exists():
        os.replace(folder, doomed)  # a half-removed folder must not look finished
        shutil.rmtree(doomed)
    forget_part(stage, work_dir)


def forget_part(stage: Stage, work_dir: Path) -> None:
    """Remove what an unfinished stage has made so far."""
    with held(f"{stage.part(work_dir)}.lock"):
        shutil.rmtree(stage.part(work_dir), ignore_errors=True)


@contextmanager
def locked(stages: list[Stage], work_dir: Path, say) -> Iterator[None]:
    """Hold the stages' locks, waiting for another command that works on one of them, and for the workers of a killed one."""
    with ExitStack() as stack:
        for stage in sorted(stages, key=lambda s: (s.name, s.hash)):
            tell = partial(say, f"{stage.label}: another command is making it; waiting for it")
            stack.enter_context(held(f"{stage.folder(work_dir)}.lock", tell))
            tell = partial(say, f"{stage.label}: a killed command's worker is still writing; waiting for its end")
            with held(f"{stage.part(work_dir)}.lock", tell):
                pass
        yield


def writing(job: dict):
    """Hold the right to write into the job's .part. Who has it may find the stage finished.

    A worker outlives its killed command by a moment (or longer, on another machine), when the stage's own lock is free already.
    """
    return held(f"{job['part']}.lock")


@contextmanager
def held(path: str | Path, tell: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file, once it is free; tell() if that is not at once."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)  # a soft one's file, left by a killed process, would block for good
    try:
        lock.acquire(timeout=0.5 if tell else -1)
    except Timeout:
        tell()
        lock.acquire()
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise ValueError(
            f"{path}: no file can be locked there; expected work_dir on storage with locks (NFS 4, Lustre with flock)"
        ) from error
    try:
        yield
    finally:
        lock.release()


def free(path: Path) -> bool:
    """Whether nobody holds the lock file."""
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def write_json(path: Path, value) -> None:
    """Write through a temporary name: a reader sees the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)


def disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
