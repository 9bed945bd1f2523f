"""A picture before any camera has touched it: place, person, passers-by, light."""

from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid_da.drawing.pedestrians import draw_pedestrian, draw_pose
from reid_da.drawing.scenes import Season, cloth, shade
from reid_da.drawing.wardrobe import Person, Wardrobe, draw_person

SIZE = (64, 128)  # width, height of a picture
CANVAS = (128, 256)  # drawn at twice the size and averaged down, for smooth edges
PASSER_BY, OCCLUDER = 0.12, 0.08  # share of the pictures that show one


def picture(
    rng: Random, person: Person, scene: np.ndarray, wardrobe: Wardrobe, season: Season, *, sloppy: bool = False
) -> np.ndarray:
    """`person` somewhere in `scene`, seen as the generator has it: view, pose, box, light +-10 %, what stands around.

    Args:
        scene: (3, scenes.HEIGHT, scenes.WIDTH) uint8.
        wardrobe, season: of the world, for passers-by and for what hides a part of the person.
        sloppy: the box is badly off, as those of junk and distractors are.

    Returns:
        (128, 64, 3) uint8 RGB.
    """
    canvas = Image.new("CMYK", CANVAS)  # four plain channels: PIL averages RGBA's after a slow detour
    draw = ImageDraw.Draw(canvas)
    if rng.random() < PASSER_BY:
        _passer_by(draw, rng, wardrobe, rng.choice((-60, 60)), rng.uniform(0.6, 0.95))
    draw_pedestrian(draw, person, draw_pose(rng, person, sloppy=sloppy))
    if rng.random() < OCCLUDER:
        _occluder(draw, rng, wardrobe, season)
    layer = canvas.reduce(2)
    # Channels first: numpy is slow where the innermost axis is short.
    drawn = np.asarray(layer).transpose(2, 0, 1).astype(np.float32, order="C")
    colours, cover = drawn[:3], drawn[3] / 255
    lit = rng.uniform(0.9, 1.1) * (colours * _relief(layer, rng) + (1 - cover) * _window(scene, rng))
    return np.stack(np.clip(lit + 0.5, 0, 255).astype(np.uint8), axis=-1)


def _window(scene: np.ndarray, rng: Random) -> np.ndarray:
    """(3, 128, 64) uint8, a part of the scene, mirrored half of the time."""
    width, height = SIZE
    top, left = rng.randint(0, scene.shape[1] - height), rng.randint(0, scene.shape[2] - width)
    return scene[:, top : top + height, left : left + width][..., :: rng.choice((-1, 1))]


def _relief(layer: Image.Image, rng: Random) -> np.ndarray:
    """(128, 64) factors that make flat shapes look round: darker at the rim, lit from one side, with folds."""
    near = np.asarray(layer.getchannel(3).filter(ImageFilter.BoxBlur(3)), dtype=np.float32) / 255
    slope = np.roll(near, 3, axis=1) - np.roll(near, -3, axis=1)
    row, column = rng.randrange(128), rng.randrange(192)
    folds = cloth(0)[row : row + 128, column : column + 64]
    return 0.74 + 0.3 * near + rng.uniform(-0.28, 0.28) * slope + 0.06 * folds


def _passer_by(draw: ImageDraw.ImageDraw, rng: Random, wardrobe: Wardrobe, aside: float, scale: float) -> None:
    person = draw_person(rng, wardrobe)
    pose = draw_pose(rng, person)
    draw_pedestrian(draw, person, replace(pose, x=64 + aside, height=pose.height * scale, foot=250 - 110 * (1 - scale)))


def _occluder(draw: ImageDraw.ImageDraw, rng: Random, wardrobe: Wardrobe, season: Season) -> None:
    """A passer-by in front, a pole, a hedge or a wall: hides a part of the person."""
    colour = rng.choice(season.things)
    kind = rng.choice(("passer-by", "pole", "hedge", "wall"))
    if kind == "passer-by":
        _passer_by(draw, rng, wardrobe, rng.choice((-62, 62)), 1.15)
    elif kind == "pole":
        x, wide = rng.uniform(30, 98), rng.uniform(6, 12)
        draw.rectangle([x, 0, x + wide, 256], fill=(*shade(colour, 0.9), 255))
    elif kind == "wall":
        draw.rectangle([0, rng.uniform(170, 215), 128, 256], fill=(*shade(colour, 0.7), 255))
    else:
        leaf = rng.choice(season.leaves)
        edge, top = rng.choice((0, 128)), rng.uniform(120, 190)
        for _ in range(14):
            x, y, r = rng.gauss(edge, 22), rng.uniform(top, 256), rng.uniform(10, 20)
            draw.ellipse([x - r, y - r, x + r, y + r], fill=(*shade(leaf, rng.uniform(0.8, 1.15)), 255))
