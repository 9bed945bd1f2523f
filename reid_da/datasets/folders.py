"""The layout that Market-1501 brought in: three folders of images whose names say person and camera.

    bounding_box_train/  query/  bounding_box_test/        0002_c1s1_000451_03.jpg = person 2 seen by camera 1

A reader of another set with these folders is one call of `read`.
"""

import os
import re
from collections.abc import Iterable

from reid_da.records import DISTRACTOR, JUNK, Dataset, Record

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
ENDINGS = (".jpg", ".jpeg", ".png")
CROPS = (*ENDINGS, ".bmp", ".tif", ".tiff", ".webp")  # what people's own crops come as
# Cameras may have several digits: sets with 15 cameras are repacked into this layout too.
NAME = re.compile(r"^(-1|\d+)_c(\d+)", re.ASCII)


def read(name: str, root: str, *, official: str, example: str, inside: str = "") -> Dataset:
    """The data set `name` in the three folders under `root`, or under its sub-folder `official`.

    Args:
        root: the folder that holds the three, or the one that holds `official`.
        official: name of the folder in the published archive, such as "Market-1501-v15.09.15".
        example: a well-formed file name, quoted in errors.
        inside: a folder within that one, if the three lie there.

    Returns:
        Records sorted by path; JUNK is dropped and counted; what is no image of that name pattern is in `unmatched`.

    Raises:
        ValueError: a folder is missing, a split has no image, or training or query images carry person 0.
    """
    places = {split: os.path.join(inside, folder) for split, folder in FOLDERS.items()}
    home = find(root, official, places.values())
    splits, num_junk, unmatched = {}, 0, []
    for split, folder in places.items():
        found, strange = _records(os.path.join(home, folder))
        splits[split] = tuple(record for record in found if record.person != JUNK)
        num_junk += len(found) - len(splits[split])
        unmatched += strange
        if not splits[split]:
            raise _empty(os.path.join(home, folder), len(found), strange, example)
        if split != "gallery":
            _refuse_distractors(splits[split], folder)
    return Dataset(name, **splits, num_junk=num_junk, unmatched=tuple(sorted(unmatched)))


def find(root: str, official: str, folders: Iterable[str]) -> str:
    """The folder that holds `folders`: `root` itself or its sub-folder `official`. ValueError naming what is missing."""
    root, folders = os.fspath(root), tuple(folders)

    def missing(home: str) -> list[str]:
        return [folder for folder in folders if not os.path.isdir(os.path.join(home, folder))]

    home = min((root, os.path.join(root, official)), key=lambda home: len(missing(home)))
    if missing(home):
        raise ValueError(
            f"{home}: no folder {', '.join(missing(home))}{'' if os.path.isdir(root) else ': it does not exist'}\n"
            f"expected {', '.join(folders)}, there or in a sub-folder {official}\n"
            "set the data set's root to the folder into which its archive was unpacked"
        )
    return home


def _records(folder: str) -> tuple[list[Record], list[str]]:
    """The images of a folder sorted by path, and the paths of whatever else lies in it."""
    records, strange = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        stem, ending = os.path.splitext(entry.name)
        match = NAME.match(stem)
        if match and ending.lower() in ENDINGS and entry.is_file():
            records.append(Record(entry.path, int(match[1]), int(match[2])))
        else:
            strange.append(entry.path)
    return records, strange


def _empty(folder: str, num_junk: int, strange: list[str], example: str) -> ValueError:
    """Says why a split has no image; of files with other names an image is quoted before a Thumbs.db."""
    found = "nothing in it"
    if num_junk:
        found = f"{num_junk} images, all of them junk (person -1)"
    elif strange:
        first = min(strange, key=lambda path: (not path.lower().endswith(ENDINGS), path))
        found = f"{len(strange)} files, none named like {example} (person_cCAMERA...), first: {os.path.basename(first)}"
    return ValueError(
        f"{folder}: {found}\n"
        f"expected images ({', '.join(ENDINGS)}) named like {example}\n"
        "unpack the archive again, or rename the files: person, _c, camera, then whatever you like"
    )


def _refuse_distractors(records: tuple[Record, ...], folder: str) -> None:
    found = [record.path for record in records if record.person == DISTRACTOR]
    if found:
        raise ValueError(
            f"{folder}: {len(found)} images of person 0, first: {os.path.basename(found[0])}\n"
            "expected persons from 1 on: 0 stands for distractors, which only the gallery holds\n"
            "number the persons from 1, or take these images out"
        )
