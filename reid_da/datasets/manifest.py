"""A manifest: a CSV file that tells which crops there are, their cameras and, if known, whom they show.

    path,camera,person,split            UTF-8, the columns in any order; person and split may be left out
    entrance/0001.jpg,entrance,12,query
    /nvr/7/a.jpg,car park,,train        a path is absolute or below the manifest's folder; of this one no one knows whom

A camera is a number from 0 on (03 and 3.0 are 3) or any text; where one camera is a text, all but 0 are, and are numbered 1, 2, ...
in the order of their sorted texts (`Dataset.camera_names` keeps them). So are persons, of whom -1 is junk and 0 a distractor, as
in Market-1501, beside texts too. A crop without a split is for training. Further columns are left alone, and told in
`Dataset.remarks`.
"""

import csv
import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reid_da.datasets.folders import CROPS
from reid_da.datasets.listed import name_once, refuse_missing
from reid_da.records import DISTRACTOR, JUNK, SPLITS, UNLABELLED, Dataset, Record

NEEDED, KNOWN = ("path", "camera"), ("path", "camera", "person", "split")
INTEGER = re.compile(r"(-?\d{1,18})(?:\.0)?", re.ASCII)  # what an int64 holds, longer ones are texts; pandas writes 3.0


class Row(NamedTuple):
    """A line of a manifest, as text; `place` says which."""

    place: str
    path: str
    camera: str
    person: str
    split: str


def read(name: str, path: str) -> Dataset:
    """The data set `name` that the manifest at `path` tells; junk is dropped and counted.

    Crops that no line names are counted in `remarks` where they lie in the folders of those that some line names.

    Raises:
        ValueError: no such file, no UTF-8 or CSV, a column missing or nearly so, a line that cannot be read, that names a
            crop twice or one that is not there, a camera below 0, a query or gallery crop without a person, distractors
            elsewhere than in the gallery, no crop at all, or a query without gallery.
    """
    remarks: list[str] = []
    rows, places = list(_rows(path, remarks)), {}
    for row in rows:
        name_once(places, row.path, row.place)
    refuse_missing(places, os.path.isfile)
    if others := _beside(places):
        remarks.append(f"{len(others)} crops stand in no line of {path} and are left out, {others[0]} first")
    cameras = _numbers(row.camera for row in rows)
    persons = _numbers(row.person for row in rows if row.person) | {"": UNLABELLED}
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    num_junk = 0
    for row in rows:
        record = Record(row.path, persons[row.person], cameras[row.camera])
        if record.person == JUNK:
            num_junk += 1
        else:
            _check(record, row)
            splits[row.split].append(record)
    _check_splits(path, {split: len(records) for split, records in splits.items()})
    found = {split: tuple(sorted(records, key=lambda record: record.path)) for split, records in splits.items()}
    camera_names = {} if _all_integers(cameras) else {number: text for text, number in cameras.items()}
    told = {"num_junk": num_junk, "lists": (path,), "remarks": tuple(remarks)}
    return Dataset(name, **found, **told, camera_names=camera_names)


def _rows(path: str, remarks: list[str]) -> Iterator[Row]:
    """The lines below the header; blank ones are none. What the header gives reason to say is added to `remarks`."""
    if not os.path.isfile(path):
        raise ValueError(f"{path}: no such file\nexpected a manifest there\ngive its path, or name it manifest.csv")
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True, skipinitialspace=True)
        try:
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            if others := [name for name in header if name not in KNOWN]:
                remarks.append(f"columns {', '.join(others)} of {path} are not used; {', '.join(KNOWN)} are")
            for fields in lines:
                if fields:
                    yield _row(path, f"{path}, line {lines.line_num}", header, fields)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 ({error.reason})\nexpected UTF-8\nsave it as such") from error
        except csv.Error as error:
            raise ValueError(
                f'{path}, line {lines.line_num}: {error}\nexpected fields between commas, in "" if they hold a comma\n'
                "mend the line"
            ) from error


def _check_header(path: str, header: list[str]) -> None:
    absent = [name for name in KNOWN if name not in header]
    others = {name: difflib.get_close_matches(name.lower(), absent, 1, 0.8) for name in header if name not in KNOWN}
    near = next((f" ({name}: did you mean {known[0]}?)" for name, known in others.items() if known), "")
    if near or set(NEEDED) & set(absent) or len(set(header)) < len(header):
        raise ValueError(
            f"{path}: columns {', '.join(header) or '(none)'}{near}\n"
            f"expected {' and '.join(NEEDED)}, and person and split if they are known, in a first line and between commas\n"
            "rename the columns, each once; where one camera took all, or nobody knows which, give every line the same"
        )


def _row(path: str, place: str, header: list[str], fields: list[str]) -> Row:
    if len(fields) != len(header):
        raise ValueError(
            f"{place}: {len(fields)} fields\nexpected {len(header)}: {', '.join(header)}\n"
            'mend the line; a path with a comma stands in ""'
        )
    given = {name: field.strip() for name, field in zip(header, fields, strict=True)}
    values = {name: given.get(name, "") for name in KNOWN}
    for column in NEEDED:
        if not values[column]:
            raise ValueError(f"{place}: no {column}\nexpected one in every line\nmend the line, or take it out")
    values["path"] = os.path.join(os.path.dirname(path), os.path.normpath(values["path"]))
    values["split"] = values["split"] or "train"
    if values["split"] not in SPLITS:
        raise ValueError(f"{place}: split {values['split']}\nexpected {', '.join(SPLITS)}, or nothing\nmend the line")
    return Row(place, **values)


def _beside(places: dict[str, str]) -> list[str]:
    """Crops in the same folders as the listed ones, sorted; folders below may be somebody else's, and as large as they like."""
    folders = sorted({os.path.dirname(path) for path in places})
    crops = (entry.path for folder in folders for entry in os.scandir(folder) if entry.name.lower().endswith(CROPS))
    return sorted(path for path in crops if path not in places)


def _numbers(texts: Iterable[str]) -> dict[str, int]:
    """The numbers that texts stand for: themselves where all are integers, else 1, 2, ... in sorted order, but for 0 and below."""
    values = {text: int(found[1]) if (found := INTEGER.fullmatch(text)) else text for text in dict.fromkeys(texts)}
    if _all_integers(values):
        return values
    names = sorted({str(value) for value in values.values() if isinstance(value, str) or value > 0})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return {text: numbers.get(str(value), value) for text, value in values.items()}


def _all_integers(texts: Iterable[str]) -> bool:
    return all(INTEGER.fullmatch(text) for text in texts)


def _check(record: Record, row: Row) -> None:
    """Refuses numbers that no camera or person has, and persons where they may not be."""
    if record.camera < 0:
        raise ValueError(f"{row.place}: camera {row.camera}\nexpected a number from 0 on, or a name\nmend the line")
    if row.person and record.person < JUNK:
        raise ValueError(
            f"{row.place}: person {row.person}\nexpected a number from 1 on, 0 (distractor), -1 (junk) or a name\n"
            "mend the line; leave person empty where nobody knows"
        )
    if record.person == UNLABELLED and row.split != "train":
        raise ValueError(
            f"{row.place}: no person in {row.split}\nexpected one in every query and gallery line, by which ranking is judged\n"
            "tell the person, or put the crop into train"
        )
    if record.person == DISTRACTOR and row.split != "gallery":
        raise ValueError(
            f"{row.place}: person 0 in {row.split}\nexpected persons from 1 on: 0 stands for distractors, which only the "
            "gallery holds\nnumber the persons from 1, or leave person empty where nobody knows"
        )


def _check_splits(path: str, sizes: dict[str, int]) -> None:
    if not any(sizes.values()) or bool(sizes["query"]) != bool(sizes["gallery"]):
        found = ", ".join(f"{size} {split}" for split, size in sizes.items())
        raise ValueError(
            f"{path}: {found} crops\nexpected train crops, or query and gallery, or all three\n"
            "put some crops into the split that has none, or take the other one out"
        )
