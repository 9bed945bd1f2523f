"""One large array that several processes fill: rows are written where they belong, and a record says which are whole.

    <part>/styled.npy              (N, ...) uint8; its room on the disk is taken at the start
    <part>/shards/00000512.json    rows from 512 on are on the disk: how many, of what shape, with which digest, what else to know
    <part>/shards/00000512.again   that they were there before, and not what their record said

So no byte is written twice, and memory holds a few batches whatever the array's size.
"""

import hashlib
import json
import os
import socket
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import cache
from reid_da.decoding import allocate

NOT_SHARED = "expected work_dir on storage that all nodes share"
AHEAD = 2  # batches that wait for the disk at most
SYNC = 32 * 2**20  # bytes after which the disk is made to follow, so that a shard's end waits for little
READ = 16 * 2**20  # bytes read at a time when a shard is looked over


def take_room(path: Path, shape: tuple[int, ...]) -> None:
    """The array's file, whole in size, unless it is there already.

    Raises:
        OSError: the disk has no room for it; nothing is left of it.
    """
    if path.exists() and np.load(path, mmap_mode="r").shape == shape:
        return
    temporary = path.with_name(path.name + ".tmp")
    allocate(temporary, shape)
    os.replace(temporary, path)


@dataclass(frozen=True)
class Shard:
    """Rows first..end of the array at `path`.

    Whoever works on it holds `held()`: a worker that outlives its killed command and the next command's take turns.
    """

    path: Path
    first: int
    end: int

    @property
    def record(self) -> Path:
        return self.path.parent / "shards" / f"{self.first:08d}.json"

    def held(self):
        return cache.held(self.record.with_suffix(".lock"))

    def whole(self) -> bool:
        """Whether the rows are on the disk as their record says; if there is one that they do not fit, it is taken away."""
        if not self.record.exists():
            return False
        if self._fits():
            return True
        self.record.with_suffix(".again").touch()  # first, so that nobody's kill hides it
        self.record.unlink()
        return False

    def write(self, batches: Iterable[np.ndarray], beside: dict | None = None) -> None:
        """Write the rows, which come as C-ordered batches that follow each other, then the record.

        Args:
            beside: plain values that the record is to keep with the rows, looked at when all have come.
        A thread digests and writes one batch while the caller makes the next.
        """
        shape, place, size = self._place()
        digest, state = hashlib.blake2b(digest_size=16), {"place": place, "synced": place}
        with open(self.path, "r+b") as file, ThreadPoolExecutor(1) as writer:

            def put(batch: np.ndarray) -> None:
                content = memoryview(np.ascontiguousarray(batch).reshape(-1))
                digest.update(content)
                while content:
                    written = os.pwrite(file.fileno(), content, state["place"])
                    content, state["place"] = content[written:], state["place"] + written
                if state["place"] - state["synced"] >= SYNC:
                    os.fdatasync(file.fileno())
                    state["synced"] = state["place"]

            waiting: deque = deque()
            for batch in batches:
                waiting.append(writer.submit(put, batch))
                if len(waiting) > AHEAD:
                    waiting.popleft().result()
            for one in waiting:
                one.result()
            os.fdatasync(file.fileno())
        assert state["place"] == place + size, f"{self.path}: rows {self.first} to {self.end} were not all written"
        about = {"rows": [self.first, self.end], "shape": shape, "digest": digest.hexdigest()}
        cache.write_json(self.record, about | {"beside": beside or {}})

    def beside(self) -> dict:
        """What the record keeps with the rows."""
        return json.loads(self.record.read_text())["beside"]

    def _fits(self) -> bool:
        try:
            record = json.loads(self.record.read_text())
        except ValueError:
            return False
        shape, place, size = self._place()
        about = {"rows": [self.first, self.end], "shape": shape}
        if not isinstance(record, dict) or any(record.get(name) != value for name, value in about.items()):
            return False
        return record.get("digest") == self._digest(place, size)

    def _place(self) -> tuple[list[int], int, int]:
        """The rows' shape, where in the file they begin, and how many bytes they are."""
        array = np.load(self.path, mmap_mode="r")
        shape = [self.end - self.first, *array.shape[1:]]
        row = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
        return shape, array.offset + self.first * row, shape[0] * row

    def _digest(self, place: int, size: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        with open(self.path, "rb") as file:
            file.seek(place)
            while size and (content := file.read(min(READ, size))):
                digest.update(content)
                size -= len(content)
        return digest.hexdigest()


def wanted(job: dict) -> bool:
    """Whether a stage's shards are still being made; a killed command's worker may come when all is done.

    Raises:
        ValueError: neither the stage's part nor its finished folder is there, as on a node without the storage.
    """
    if Path(job["part"]).is_dir():
        return True
    if not Path(job["folder"]).is_dir():
        raise ValueError(f"{job['label']}: {job['part']} is not there on {socket.gethostname()}; {NOT_SHARED}")
    return False


def check_all_there(job: dict, folder: Path, expected: int) -> None:
    """Raise ValueError unless all shards of the array in `folder` are recorded."""
    if (found := recorded(folder)) != expected:
        raise ValueError(f"{job['label']}: {found} of {expected} shards are in {folder}; {NOT_SHARED}")


def made_again(folder: Path) -> int:
    """How many shards of the array in `folder` were there and did not fit their records."""
    return sum(1 for _ in (folder / "shards").glob("*.again"))


def recorded(folder: Path) -> int:
    """How many shards of the array in `folder` are on the disk."""
    return sum(1 for _ in (folder / "shards").glob("*.json"))
