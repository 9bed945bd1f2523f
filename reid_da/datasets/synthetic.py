"""Two drawn worlds with camera networks of their own, written to disk in real layouts, for use where no data set is.

    image(person, number, camera) = camera_style(camera)  of  drawing(person, number)

`market` is a summer square under 6 cameras in Market-1501's layout, `duke` a winter campus under 8 in DukeMTMC-reID's.
The drawing depends on the world, the seed, the person and the image's number (the frame in its name) and not on the
camera; the style depends on the world, the seed and the camera alone. `redraw` uses that to show a picture as another
camera would have, which no real data set can tell.

Called by the data stage (`draw`), and by the stage that makes the true styles (`redraw`).
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random

import numpy as np
from PIL import Image

from reid_da.datasets.folders import FOLDERS
from reid_da.drawing import scenes, wardrobe
from reid_da.drawing.camera_styles import CameraStyle, apply_style, draw_style
from reid_da.drawing.pictures import picture
from reid_da.records import DISTRACTOR, JUNK

QUALITY = 95  # of the JPEG files
NUM_SCENES = 24
PLACE = re.compile(r"^(-1|\d+)_c(\d+)(?:s\d+)?_f?(\d+)", re.ASCII)


@dataclass(frozen=True)
class World:
    """What sets a world apart."""

    layout: str  # of a file name
    num_cameras: int
    strength: float  # of the camera styles, see `camera_styles.draw_style`
    cameras_per_person: tuple[int, int]  # fewest and most
    junk: float  # gallery images of person -1, per test person
    distractors: float  # gallery images of people that are never asked for, per test person
    named_distractors: bool  # they have ids of their own, as in DukeMTMC-reID, instead of 0
    season: scenes.Season
    wardrobe: wardrobe.Wardrobe


WORLDS = {
    "market": World(
        layout="{person}_c{camera}s1_{number:06d}_{box:02d}.jpg",
        num_cameras=6,
        strength=0.6,
        cameras_per_person=(3, 6),
        junk=0.4,
        distractors=1.0,
        named_distractors=False,
        season=scenes.SUMMER,
        wardrobe=wardrobe.SUMMER,
    ),
    "duke": World(
        layout="{person}_c{camera}_f{number:07d}.jpg",
        num_cameras=8,
        strength=0.6,
        cameras_per_person=(2, 6),
        junk=0.0,
        distractors=1.0,
        named_distractors=True,
        season=scenes.WINTER,
        wardrobe=wardrobe.WINTER,
    ),
}


def draw(
    world: str,
    root: str,
    *,
    seed: int,
    train_persons: int = 300,
    test_persons: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a world under `root` as JPEG files of 64 x 128 (width x height), for its reader to read.

    Every person is seen by several cameras, one to three times by each; persons' numbers have gaps, as the real sets'
    have. Of a test person's images, the first by each camera is a query and the others are gallery.

    Args:
        world: "market" or "duke"; by default about 2,700 and 2,400 training images.
        root: a folder of the caller's, empty or left by a drawing cut short; it is whole when this returns.
        seed: equal seeds write equal bytes.
        progress: called with (images written, images in all) after each.

    Raises:
        ValueError: no such world, or fewer than one person for training or test.
    """
    look_up(world)
    if min(train_persons, test_persons) < 1:
        raise ValueError(f"train_persons={train_persons}, test_persons={test_persons}; expected at least 1 of each")
    plan = list(_plan(world, seed, train_persons, test_persons))
    for folder in FOLDERS.values():
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for number, (folder, person, camera) in enumerate(plan, start=1):
        name = _name(world, person, camera, number, box=0 if folder == FOLDERS["query"] else 1)
        image = Image.fromarray(_image(world, seed, person, number, camera))
        image.save(os.path.join(root, folder, name), "JPEG", quality=QUALITY)
        if progress:
            progress(number, len(plan))


def training_files(
    world: str, *, seed: int, train_persons: int = 300, test_persons: int = 100
) -> list[tuple[str, int]]:
    """Name and camera of every training image that `draw` would write, in the order of their names. Draws nothing.

    Raises:
        ValueError: no such world.
    """
    look_up(world)
    plan = enumerate(_plan(world, seed, train_persons, test_persons), start=1)
    train = [(person, camera, number) for number, (folder, person, camera) in plan if folder == FOLDERS["train"]]
    return sorted((_name(world, person, camera, number, box=1), camera) for person, camera, number in train)


def redraw(world: str, seed: int, path: str, camera: int) -> np.ndarray:
    """The picture of the file at `path` as `camera` (from 1) of the same world would have shown it.

    Only the file's name is read: it says which person and which number. With the file's own camera the result is the
    file up to JPEG.

    Returns:
        (128, 64, 3) uint8 RGB.

    Raises:
        ValueError: no such world or camera, or a name that the world does not write.
    """
    cameras = look_up(world).num_cameras
    name = os.path.basename(os.fspath(path))
    match = PLACE.match(name)
    if not match:
        raise ValueError(
            f"{name}: expected a name of the synthetic world {world}, such as {_name(world, 2, 1, 451, 1)}"
        )
    if not 1 <= camera <= cameras:
        raise ValueError(f"camera {camera}: expected 1 to {cameras}, the cameras of the synthetic world {world}")
    return _image(world, seed, int(match[1]), int(match[3]), camera)


def look_up(world: str) -> World:
    """The world of that name; ValueError naming those there are."""
    if world not in WORLDS:
        raise ValueError(f"synthetic world {world!r}: expected one of {', '.join(WORLDS)}")
    return WORLDS[world]


def _name(world: str, person: int, camera: int, number: int, box: int) -> str:
    """A file's name. `box` is Market-1501's last field, 0 for a query, whose boxes are drawn by hand there."""
    label = "-1" if person == JUNK else f"{person:04d}"
    return WORLDS[world].layout.format(person=label, camera=camera, number=number, box=box)


def _rng(world: str, seed: int, purpose: str, *numbers: int) -> Random:
    """A generator for one purpose: what is drawn for one never moves what is drawn for another."""
    return Random("/".join(map(str, (world, seed, purpose, *numbers))))


def _plan(world: str, seed: int, train_persons: int, test_persons: int) -> Iterator[tuple[str, int, int]]:
    """(folder, person, camera) of every image, in the order of their numbers."""
    this, rng = WORLDS[world], _rng(world, seed, "plan")
    num_known = train_persons + test_persons
    num_distractors = round(this.distractors * test_persons)
    persons = list(range(1, num_known + 1 + (num_distractors if this.named_distractors else 0)))
    rng.shuffle(persons)
    for index, person in enumerate(persons[:num_known]):
        test = index >= train_persons
        for camera in _cameras(rng, this, index):
            if test:
                yield FOLDERS["query"], person, camera
            for _ in range(rng.randint(1, 3)):
                yield FOLDERS["gallery" if test else "train"], person, camera
    nobodies = persons[num_known:] or [DISTRACTOR] * num_distractors
    for person in nobodies + [JUNK] * round(this.junk * test_persons):
        yield FOLDERS["gallery"], person, rng.randint(1, this.num_cameras)


def _cameras(rng: Random, world: World, index: int) -> list[int]:
    """Cameras that see a person: the first goes round with `index`, so that small worlds lack none either."""
    first = index % world.num_cameras + 1
    others = [camera for camera in range(1, world.num_cameras + 1) if camera != first]
    return sorted([first, *rng.sample(others, rng.randint(*world.cameras_per_person) - 1)])


def _image(world: str, seed: int, person: int, number: int, camera: int) -> np.ndarray:
    """The picture (person, number) in the style of `camera`, (128, 64, 3) uint8."""
    shot = _rng(world, seed, "shot", number)
    return apply_style(_drawing(world, seed, person, number), _style(world, seed, camera), shot)


@lru_cache(maxsize=1)  # one picture is asked for under every camera in turn
def _drawing(world: str, seed: int, person: int, number: int) -> np.ndarray:
    """The picture before any camera. Who is nobody (junk, distractor) looks different in every picture."""
    this, rng = WORLDS[world], _rng(world, seed, "picture", person, number)
    nobody = person in (JUNK, DISTRACTOR)
    body = _person(world, seed, person, number if nobody else 0)
    scene = _scene(world, seed, rng.randrange(NUM_SCENES))
    sloppy = person == JUNK or (person == DISTRACTOR and rng.random() < 0.5)
    return picture(rng, body, scene, this.wardrobe, this.season, sloppy=sloppy)


@cache
def _person(world: str, seed: int, *who: int) -> wardrobe.Person:
    return wardrobe.draw_person(_rng(world, seed, "person", *who), WORLDS[world].wardrobe)


@cache
def _scene(world: str, seed: int, index: int) -> np.ndarray:
    return scenes.scene(_rng(world, seed, "scene", index), WORLDS[world].season)


@cache
def _style(world: str, seed: int, camera: int) -> CameraStyle:
    return draw_style(_rng(world, seed, "camera", camera), WORLDS[world].strength)
