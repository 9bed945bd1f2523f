"""The drawn worlds: whom and what their cameras see, and how their files lie on disk, as those of the real sets do.

    market      a summer square under 6 cameras       Market-1501-v15.09.15
    duke        a winter campus under 8               DukeMTMC-reID
    msmt17      a mild winter under 15                MSMT17_V1, with its lists
    cuhk03np    a cool summer under 2                 cuhk03-np/detected, in png
    folder      a winter under cameras 3, 7 and 12    camera_3/, camera_7/, camera_12/: training images, of nobody knows whom

Each is written as the real set's archive unpacks, so that its reader reads it.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from reid_da.datasets import msmt17
from reid_da.datasets.folders import FOLDERS
from reid_da.drawing import scenes, wardrobe
from reid_da.records import JUNK

# What tells a file's picture: the person, as the world numbers them, and the image's number.
PLACE = r"^(?P<person>-1|\d+)_c\d+(?:s\d+)?_f?(?P<number>\d+)"


class Shot(NamedTuple):
    """One image of a world; images are numbered from 1, and persons as the world does, of training and test alike."""

    number: int
    split: str
    person: int
    camera: int


@dataclass(frozen=True)
class World:
    """What sets a world apart."""

    layout: str  # of a file's path, see `paths`
    cameras: tuple[int, ...]
    strength: float  # of the camera styles, see `camera_styles.draw_style`
    cameras_per_person: tuple[int, int]  # fewest and most
    junk: float  # gallery images of person -1, per test person
    distractors: float  # gallery images of people that are never asked for, per test person
    named_distractors: bool  # they have ids of their own, as in DukeMTMC-reID, instead of 0
    season: scenes.Season
    wardrobe: wardrobe.Wardrobe
    place: str | None = PLACE  # of a file's name; None: names do not tell, so that no picture can be drawn again
    splits: tuple[str, ...] = tuple(FOLDERS)
    lists: bool = False  # MSMT17's beside the images


WORLDS = {
    "market": World(
        layout="{folder}/{label}_c{camera}s1_{number:06d}_{box:02d}.jpg",
        cameras=tuple(range(1, 7)),
        strength=0.6,
        cameras_per_person=(3, 6),
        junk=0.4,
        distractors=1.0,
        named_distractors=False,
        season=scenes.SUMMER,
        wardrobe=wardrobe.SUMMER,
    ),
    "duke": World(
        layout="{folder}/{label}_c{camera}_f{number:07d}.jpg",
        cameras=tuple(range(1, 9)),
        strength=0.6,
        cameras_per_person=(2, 6),
        junk=0.0,
        distractors=1.0,
        named_distractors=True,
        season=scenes.WINTER,
        wardrobe=wardrobe.WINTER,
    ),
    "msmt17": World(
        layout="{side}/{pid:04d}/{pid:04d}_000_{camera:02d}_0303morning_{number:04d}_{person}.jpg",
        cameras=tuple(range(1, 16)),
        strength=0.6,
        cameras_per_person=(2, 7),
        junk=0.0,
        distractors=0.0,
        named_distractors=False,
        season=scenes.WINTER,
        wardrobe=wardrobe.SUMMER,
        place=r"^\d+_\d+_\d+_[a-z\d]+_(?P<number>\d+)_(?P<person>\d+)",  # pids of training and test are the same numbers
        lists=True,
    ),
    "cuhk03np": World(
        layout="cuhk03-np/detected/{folder}/{label}_c{camera}_{number}.png",
        cameras=(1, 2),
        strength=0.6,
        cameras_per_person=(2, 2),
        junk=0.0,
        distractors=0.0,
        named_distractors=False,
        season=scenes.SUMMER,
        wardrobe=wardrobe.WINTER,
    ),
    "folder": World(
        layout="camera_{camera}/{number:06d}.jpg",
        cameras=(3, 7, 12),
        strength=0.6,
        cameras_per_person=(2, 3),
        junk=0.0,
        distractors=0.0,
        named_distractors=False,
        season=scenes.WINTER,
        wardrobe=wardrobe.WINTER,
        place=None,
        splits=("train",),
    ),
}


def look_up(world: str) -> World:
    """The world of that name; ValueError naming those there are."""
    if world not in WORLDS:
        raise ValueError(f"synthetic world {world!r}: expected one of {', '.join(WORLDS)}")
    return WORLDS[world]


def paths(world: World, shots: Iterable[Shot]) -> list[str]:
    """Where each image of a whole world lies, below the world's root."""
    pids: dict[str, dict[int, int]] = {"train": {}, "test": {}}
    found = []
    for shot in shots:
        side = "train" if shot.split == "train" else "test"
        fields = {
            "folder": FOLDERS[shot.split],
            "side": side,
            "label": "-1" if shot.person == JUNK else f"{shot.person:04d}",
            "pid": pids[side].setdefault(shot.person, len(pids[side])),  # from 0 on each side, as MSMT17 counts
            "box": 0 if shot.split == "query" else 1,  # of Market-1501, where a query's box is drawn by hand
        }
        found.append(world.layout.format(**fields, **shot._asdict()))
    return found


def parse_name(world: str, name: str) -> tuple[int, int]:
    """Person and number of the picture in the file of that name. ValueError if it does not tell."""
    this = look_up(world)
    if this.place is None:
        raise ValueError(
            f"the names of the synthetic world {world} tell no person: none of its pictures can be drawn again"
        )
    if match := re.match(this.place, name, re.ASCII):
        return int(match["person"]), int(match["number"])
    example = os.path.basename(paths(this, [Shot(451, "train", 2, 1)])[0])
    raise ValueError(f"{name}: expected a name of the synthetic world {world}, such as {example}")


def lists(shots: list[Shot], files: list[str]) -> dict[str, str]:
    """MSMT17's lists: name -> text. The first of every twelve images, if it is for training, is for validation."""
    lines: dict[str, list[str]] = {name: [] for names in msmt17.LISTS.values() for name in names}
    for shot, path in zip(shots, files, strict=True):
        _, pid, name = path.split("/")
        names = msmt17.LISTS[shot.split]
        lines[names[-1] if shot.number % 12 == 1 else names[0]].append(f"{pid}/{name} {int(pid)}\n")
    return {name: "".join(listed) for name, listed in lines.items()}
