"""Drawn worlds with camera networks of their own, written to disk in real layouts, for use where no data set is.

    image(person, number, camera) = camera_style(camera)  of  drawing(person, number)

The drawing depends on the world, the seed, the person and the image's number (the frame in its name) and not on the
camera; the style depends on the world, the seed and the camera alone. `redraw` uses that to show a picture as another
camera would have, which no real data set can tell. Which worlds there are says `worlds`.
"""

import os
from collections.abc import Callable
from functools import cache, lru_cache
from random import Random

import numpy as np
from PIL import Image

from reid_da.datasets.worlds import WORLDS, Shot, World, lists, look_up, parse_name, paths
from reid_da.drawing import scenes, wardrobe
from reid_da.drawing.camera_styles import CameraStyle, apply_style, draw_style
from reid_da.drawing.pictures import picture
from reid_da.records import DISTRACTOR, JUNK

QUALITY = 95  # of the JPEG files
NUM_SCENES = 24


def draw(
    world: str,
    root: str,
    *,
    seed: int,
    train_persons: int = 300,
    test_persons: int = 100,
    long_tail: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a world under `root` as images of 64 x 128 (width x height), for its reader to read.

    Every person is seen by several cameras, one to three times by each; persons' numbers have gaps, as the real sets'
    have. Of a test person's images, the first by each camera is a query and the others are gallery.

    Args:
        world: one of `worlds.WORLDS`, such as "market" or "duke"; by default about 2,700 and 2,400 training images.
        root: a folder of the caller's, empty or left by a drawing cut short; it is whole when this returns.
        long_tail: share of the training persons, [0, 1), of whom two or three images are left, by two cameras at least where
            as many see them; all other images are those of the whole world, byte by byte.
        seed: equal seeds write equal bytes.
        progress: called with (images written, images in all) after each.

    Raises:
        ValueError: no such world, fewer than one person for training or test, or a share out of its range.
    """
    look_up(world)
    if min(train_persons, test_persons) < 1:
        raise ValueError(f"train_persons={train_persons}, test_persons={test_persons}; expected at least 1 of each")
    this, plan = WORLDS[world], _plan(world, seed, train_persons, test_persons, long_tail)
    files = paths(this, plan)
    for folder in sorted({os.path.dirname(path) for path in files}):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for done, (shot, path) in enumerate(zip(plan, files, strict=True), start=1):
        image = Image.fromarray(_image(world, seed, shot.person, shot.number, shot.camera))
        image.save(os.path.join(root, path), **({"quality": QUALITY} if path.endswith(".jpg") else {}))
        if progress:
            progress(done, len(plan))
    for name, text in (lists(plan, files) if this.lists else {}).items():
        with open(os.path.join(root, name), "w") as file:
            file.write(text)


def training_files(
    world: str, *, seed: int, train_persons: int = 300, test_persons: int = 100, long_tail: float = 0.0
) -> list[tuple[str, int]]:
    """Path below the root and camera of every training image that `draw` would write, sorted. Draws nothing.

    Raises:
        ValueError: no such world, or a long_tail out of its range.
    """
    this = look_up(world)
    plan = _plan(world, seed, train_persons, test_persons, long_tail)
    files = zip(plan, paths(this, plan), strict=True)
    return sorted((path, shot.camera) for shot, path in files if shot.split == "train")


def redraw(world: str, seed: int, path: str, camera: int) -> np.ndarray:
    """The picture of the file at `path` as `camera` of the same world would have shown it.

    Only the file's name is read: it says which person and which number. With the file's own camera the result is the
    file up to JPEG.

    Returns:
        (128, 64, 3) uint8 RGB.

    Raises:
        ValueError: no such world or camera, a name that the world does not write, or a world whose names tell no person.
    """
    person, number = parse_name(world, os.path.basename(os.fspath(path)))
    cameras = WORLDS[world].cameras
    if camera not in cameras:
        raise ValueError(
            f"camera {camera}: expected {cameras[0]} to {cameras[-1]}, the cameras of the synthetic world {world}"
        )
    return _image(world, seed, person, number, camera)


def can_redraw(world: str) -> bool:
    """Whether names of that world's files tell the person, which `redraw` needs."""
    return look_up(world).place is not None


def _rng(world: str, seed: int, purpose: str, *numbers: int) -> Random:
    """A generator for one purpose: what is drawn for one never moves what is drawn for another."""
    return Random("/".join(map(str, (world, seed, purpose, *numbers))))


def _plan(world: str, seed: int, train_persons: int, test_persons: int, long_tail: float) -> list[Shot]:
    """Every image, in the order of their numbers."""
    if not 0 <= long_tail < 1:
        raise ValueError(f"data.world.long_tail is {long_tail}; expected 0 (no tail) to below 1, such as 0.5")
    this, rng = WORLDS[world], _rng(world, seed, "plan")
    num_known = train_persons + test_persons
    num_distractors = round(this.distractors * test_persons)
    persons = list(range(1, num_known + 1 + (num_distractors if this.named_distractors else 0)))
    rng.shuffle(persons)
    found: list[tuple[str, int, int]] = []
    for index, person in enumerate(persons[:num_known]):
        test = index >= train_persons
        for camera in _cameras(rng, this, index):
            if test:
                found.append(("query", person, camera))
            found += [("gallery" if test else "train", person, camera)] * rng.randint(1, 3)
    nobodies = persons[num_known:] or [DISTRACTOR] * num_distractors
    for person in nobodies + [JUNK] * round(this.junk * test_persons):
        found.append(("gallery", person, rng.choice(this.cameras)))
    shots = [Shot(number, *one) for number, one in enumerate((one for one in found if one[0] in this.splits), start=1)]
    return _thinned(shots, persons[:train_persons], long_tail, _rng(world, seed, "long tail"))


def _thinned(shots: list[Shot], persons: list[int], long_tail: float, rng: Random) -> list[Shot]:
    """Without most training images of that share of the persons; who is left keeps the number, by which it is drawn."""
    lost: set[int] = set()
    for person in rng.sample(persons, round(long_tail * len(persons))):
        own = [shot for shot in shots if (shot.split, shot.person) == ("train", person)]
        first, *others = rng.sample(own, len(own))
        others.sort(key=lambda shot: shot.camera == first.camera)  # those of other cameras before
        lost |= {shot.number for shot in others[rng.choice((1, 2)) :]}
    return [shot for shot in shots if shot.number not in lost]


def _cameras(rng: Random, world: World, index: int) -> list[int]:
    """Cameras that see a person: the first goes round with `index`, so that small worlds lack none either."""
    first = world.cameras[index % len(world.cameras)]
    others = [camera for camera in world.cameras if camera != first]
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
