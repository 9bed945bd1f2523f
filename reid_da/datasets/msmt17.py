"""MSMT17 (Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018).

    MSMT17_V1/  train/  test/        0000/0000_000_01_0303morning_0015_0.jpg = camera 1, the third field of its name
                list_train.txt  list_val.txt  list_query.txt  list_gallery.txt        lines of path below train/ or test/, pid

MSMT17_V2, the same pictures with faces made unreadable, has mask_train_v2/ and mask_test_v2/.
"""

import os
import re
from itertools import chain

from reid_da.datasets import folders
from reid_da.datasets.listed import files_below, name_once, refuse_missing
from reid_da.records import SPLITS, Dataset, Record

# split -> (images, persons). The published training images are those of list_train and list_val together.
PUBLISHED = {"train": (32621, 1041), "query": (11659, 3060), "gallery": (82161, 3060)}
LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",), "gallery": ("list_gallery.txt",)}
VERSIONS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
LINE = re.compile(r"^(.+?)\s+(\d+)$", re.ASCII)
CAMERA = re.compile(r"^[^_]*_[^_]*_(\d+)", re.ASCII)
EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"


def msmt17(root: str) -> Dataset:
    """MSMT17 as its archive unpacks: 15 cameras, persons told by lists, no junk and no distractors.

    Differs from the lists: they count persons from 0, and those of test from 0 again. Here the training persons are
    pid + 1, since 0 stands for distractors, and the test persons count on from there (1042 to 4101 in the whole set), so
    that equal numbers are equal people.

    Args:
        root: MSMT17_V1 (or MSMT17_V2) itself, or the folder that holds it.

    Returns:
        Records sorted by path; files below the two folders that stand in no list are in `unmatched`.

    Raises:
        ValueError: a folder or a list is missing, a list is empty, a line of it cannot be read, names an image twice or
            one that is not there. Sizes other than PUBLISHED are no error: ask `records.differences`.
    """
    home, images = _home(os.fspath(root))
    places: dict[str, str] = {}
    splits: dict[str, tuple[Record, ...]] = {}
    for split in SPLITS:
        folder = os.path.join(home, images[split != "train"])
        before = max(record.person for record in splits["train"]) if splits else 0
        records = chain.from_iterable(
            _records(os.path.join(home, name), folder, before, places) for name in LISTS[split]
        )
        splits[split] = tuple(sorted(records, key=lambda record: record.path))
    found, strange = set(), []
    for folder in images:
        files, others = files_below(os.path.join(home, folder))
        found, strange = found.union(files), strange + others
    refuse_missing(places, found.__contains__)
    unmatched = tuple(sorted([*(found - places.keys()), *strange]))
    lists = tuple(os.path.join(home, name) for name in chain.from_iterable(LISTS.values()))
    return Dataset("msmt17", **splits, unmatched=unmatched, lists=lists)


def _home(root: str) -> tuple[str, tuple[str, str]]:
    """The folder that holds the lists, and the names of those of training and test images in it."""
    for version, images in VERSIONS.items():
        if any(os.path.isdir(os.path.join(home, images[0])) for home in (root, os.path.join(root, version))):
            break
    else:
        version, images = "MSMT17_V1", VERSIONS["MSMT17_V1"]
    return folders.find(root, version, images), images


def _records(path: str, folder: str, before: int, places: dict[str, str]) -> list[Record]:
    """The images that the list at `path` names in `folder`; person 0 of it is person `before` + 1."""
    records = []
    try:
        lines = open(path, encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such list\nexpected {', '.join(chain.from_iterable(LISTS.values()))} beside the folders\n"
            "set the data set's root to the folder into which its archive was unpacked"
        ) from None
    with lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"{path}, line {number}"
                name, person, camera = _parsed(line.strip(), place)
                image = os.path.join(folder, os.path.normpath(name))
                name_once(places, image, place)
                records.append(Record(image, before + person + 1, camera))
    if not records:
        raise ValueError(f"{path}: names no image\nexpected lines such as {EXAMPLE}\nunpack the archive again")
    return records


def _parsed(line: str, place: str) -> tuple[str, int, int]:
    """Path, pid and camera."""
    match = LINE.match(line)
    if not match:
        raise ValueError(f"{place}: {line!r}\nexpected path and pid, such as {EXAMPLE}\nunpack the archive again")
    camera = CAMERA.match(os.path.basename(match[1]))
    if not camera:
        raise ValueError(
            f"{place}: no camera in {match[1]}\nexpected it between the second and the third _ of the file's name, as in "
            f"{EXAMPLE}\nunpack the archive again, or rename the file and mend the list"
        )
    return match[1], int(match[2]), int(camera[1])
