"""Image stores: a split's pictures, decoded once into a memory-mapped uint8 array at the recipe's size, and its records.

Made by `decoding`, for the data stage; opened by everything that looks at pixels. Several processes may hold one open.
"""

import copy
import json
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from reid_da.records import is_person

ROWS = 1024  # moved at once


class ImageStore:
    """A split's pictures and records, read from a folder that `decoding.create` made.

    images: (N, H, W, 3) uint8, memory-mapped read-only. persons, cameras: (N,) int64 as in the file names.
    sizes: (N, 2) int64 original width and height. paths: N strings. skipped: unreadable files that were left out.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.images = np.load(self.folder / "images.npy", mmap_mode="r")
        meta = self._meta()
        self.persons, self.cameras = (np.asarray(meta[key], dtype=np.int64) for key in ("persons", "cameras"))
        self.sizes = np.asarray(meta["sizes"], dtype=np.int64).reshape(-1, 2)
        self.skipped: list[str] = meta["skipped"]

    def __len__(self) -> int:
        return len(self.images)

    def _meta(self) -> dict:
        return json.loads((self.folder / "records.json").read_text())

    @cached_property
    def paths(self) -> list[str]:
        """Read when they are asked for: no training does, and of many images they are most of a store's memory."""
        return [os.path.normpath(os.path.join(self.folder, path)) for path in self._meta()["paths"]]

    def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Rows as tensors: images (B, H, W, 3) uint8, sizes (B, 2), labels (B,) 0-based identities or -1, cameras (B,) 0-based."""
        return {
            "images": _rows(self.images, rows),
            "sizes": torch.from_numpy(self.sizes[rows]),
            "labels": torch.from_numpy(self.labels[rows]),
            "cameras": torch.from_numpy(self.camera_labels[rows]),
        }

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) int64: persons renumbered 0..num_persons-1 in ascending order; -1 where the number is nobody's (reid_da.records)."""
        known = np.unique(self.persons[is_person(self.persons)])
        return np.where(is_person(self.persons), np.searchsorted(known, self.persons), -1)

    @cached_property
    def camera_names(self) -> np.ndarray:
        """The distinct camera numbers, ascending; camera label k is camera_names[k]."""
        return np.unique(self.cameras)

    @cached_property
    def camera_labels(self) -> np.ndarray:
        """(N,) int64: cameras renumbered 0..num_cameras-1 in ascending order."""
        return np.unique(self.cameras, return_inverse=True)[1]

    @cached_property
    def num_persons(self) -> int:
        """How many persons are named: none in a store of images of which nobody has told whom they show."""
        return len(np.unique(self.persons[is_person(self.persons)]))

    @cached_property
    def num_cameras(self) -> int:
        return len(self.camera_names)


class StyledStore:
    """Target images with their camera-styled copies: row i expands to 1 + K variants that share one identity.

    The order is item-major, [real_i, styled_i1 .. styled_iK, real_j, ...], so that equal slices of the rows are equal slices of
    the batch. Pseudo identities are first_label + i: stable, unique and apart from the source's (the
    authors' code draws a random number in 1000..10999, which can collide).

    Args:
        store: the real images. styles: (N, K, H, W, 3) uint8, styled[i, k] = image i as camera k would see it.
        first_label: number of source identities. size: width and height of the copies in pixels, by which they are cropped
            (augment.random_area_crop); None: those of the image that they are of.
    """

    def __init__(self, store: ImageStore, styles: np.ndarray, first_label: int, size: tuple[int, int] | None = None):
        if styles.shape[0] != len(store) or styles.shape[2:] != store.images.shape[1:]:
            raise ValueError(
                f"styles {styles.shape} do not belong to images {store.images.shape}; expected (N, K, H, W, 3) for (N, H, W, 3): "
                "make the styles again from these images"
            )
        self.store, self.images, self.styles, self.first_label = store, store.images, styles, first_label
        self.size = size

    def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """As ImageStore.take, for len(rows) * (1 + K) variants; a copy's camera is its style's."""
        count, variants = len(rows), 1 + self.styles.shape[1]
        images = torch.cat([_rows(self.images, rows)[:, None], _rows(self.styles, rows)], dim=1)
        styles = np.broadcast_to(np.arange(variants - 1), (count, variants - 1))
        cameras = np.concatenate([self.store.camera_labels[rows][:, None], styles], axis=1)
        sizes = np.repeat(self.store.sizes[rows], variants, axis=0)
        if self.size:
            sizes.reshape(count, variants, 2)[:, 1:] = self.size
        return {
            "images": images.flatten(0, 1),
            "sizes": torch.from_numpy(sizes),
            "labels": torch.from_numpy(np.repeat(self.first_label + rows, variants)),
            "cameras": torch.from_numpy(cameras.reshape(-1)),
        }


def on_device(store, device: str):
    """The same store with its pictures, and their styles, in the device's memory: `take` gives them from there."""
    resident = copy.copy(store)
    for name in ("images", "styles"):
        if hasattr(store, name):
            setattr(resident, name, _moved(getattr(store, name), device))
    return resident


def _moved(pictures: np.ndarray, device: str) -> torch.Tensor:
    """On the device; what one picture stands for many times in is moved once."""
    repeated = pictures.ndim == 5 and pictures.strides[1] == 0
    once = pictures[:, :1] if repeated else pictures
    if device != "cpu" and once.nbytes > (free := torch.cuda.mem_get_info(device)[0]):
        raise ValueError(
            f"data.cache=device: {once.nbytes / 2**30:.1f} GB of pictures, and the device has {free / 2**30:.1f} GB free; "
            "expected room for them: give data.cache=mapped"
        )
    moved = torch.empty(once.shape, dtype=torch.uint8, device=device)
    for part in range(0, len(once), ROWS):  # a memory map: all of it at once would want as much of the CPU's memory
        moved[part : part + ROWS] = torch.from_numpy(np.array(once[part : part + ROWS]))
    return moved.expand(pictures.shape)


def _rows(pictures: np.ndarray | torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    if isinstance(pictures, torch.Tensor):
        return pictures[torch.from_numpy(rows).to(pictures.device)]
    return torch.from_numpy(pictures[rows])
