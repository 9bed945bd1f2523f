"""Places for drawn pedestrians to stand in.

A scene is a wide picture, drawn once; an image shows a window of it. What a scene is made of comes from its world's
`Season`, so that two worlds have different places, while all cameras of a world see the same ones.
"""

from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
WIDTH, HEIGHT = 256, 192  # of a scene, in pixels
WIDE, HIGH = 2 * WIDTH, 2 * HEIGHT  # of the canvas that it is drawn on


@dataclass(frozen=True)
class Season:
    """The colours of a world's places."""

    ground: tuple[Colour, ...]
    verge: tuple[Colour, ...]
    walls: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    things: tuple[Colour, ...]
    shadow: float  # how much light a cast shadow takes, 0..1


SUMMER = Season(
    ground=((196, 190, 176), (176, 172, 164), (206, 188, 160), (186, 178, 170)),
    verge=((104, 148, 66), (128, 160, 78), (150, 158, 92)),
    walls=((222, 208, 178), (204, 156, 122), (232, 226, 212), (168, 186, 196)),
    leaves=((58, 112, 50), (84, 136, 58), (44, 92, 56)),
    things=((196, 62, 52), (58, 104, 168), (232, 190, 70), (92, 92, 98)),
    shadow=0.22,
)
WINTER = Season(
    ground=((126, 128, 134), (108, 110, 114), (150, 150, 154), (136, 128, 122)),
    verge=((198, 202, 208), (122, 116, 98), (104, 106, 92)),
    walls=((132, 92, 82), (118, 112, 110), (146, 140, 134), (92, 98, 110)),
    leaves=((84, 72, 62), (62, 58, 56), (52, 70, 62)),
    things=((110, 48, 48), (52, 64, 88), (70, 72, 74), (142, 132, 112)),
    shadow=0.14,
)


@cache
def cloth(seed: int) -> np.ndarray:
    """(256, 256) float32 smooth random field of mean 0, deviation 1, the same for equal seeds: folds, dirt, dapples."""
    rng = np.random.default_rng(seed)
    field = np.zeros((256, 256), dtype=np.float32)
    for cells in (16, 32, 64):
        grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        field += np.asarray(grid.resize((256, 256), Image.Resampling.BICUBIC)) * (16 / cells) ** 0.5
    return (field - field.mean()) / field.std()


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor < 1) or lighter, kept within 0..255."""
    return tuple(min(255, max(0, round(value * factor))) for value in colour)


def vary(rng: Random, colour: Colour, spread: float) -> Colour:
    """`colour` with each channel moved by N(0, spread) levels, kept within 0..255."""
    return tuple(min(255, max(0, round(value + rng.gauss(0, spread)))) for value in colour)


def scene(rng: Random, season: Season) -> np.ndarray:
    """A place, (3, HEIGHT, WIDTH) uint8: wall and greenery at the back, ground with slabs in front, things, dapples."""
    image = Image.new("RGB", (WIDE, HIGH))
    draw = ImageDraw.Draw(image)
    horizon = rng.randint(50, 150)
    _back(draw, rng, season, horizon)
    _ground(draw, rng, season, horizon)
    for _ in range(rng.randint(5, 10)):
        _thing(draw, rng, season, horizon)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)).reduce(2), dtype=np.float32).transpose(2, 0, 1)
    dirt, dapples = (cloth(rng.getrandbits(32))[:HEIGHT] for _ in range(2))
    shadow = season.shadow * np.clip(1.2 * (dapples - rng.uniform(0.3, 1.5)), 0, 1)
    return np.clip(pixels * (1 + 0.04 * dirt) * (1 - shadow), 0, 255).astype(np.uint8)


def _back(draw: ImageDraw.ImageDraw, rng: Random, season: Season, horizon: int) -> None:
    """A wall with windows and doors, and greenery before it."""
    x = 0
    while x < WIDE:
        width = rng.randint(60, 180)
        wall = vary(rng, rng.choice(season.walls), 8)
        draw.rectangle([x, 0, x + width, horizon], fill=wall)
        pane = shade(rng.choice(season.walls), rng.uniform(0.35, 0.6))
        step, tall = rng.randint(18, 34), rng.randint(16, 40)
        for left in range(x + 6, x + width - 10, step):
            draw.rectangle([left, horizon - tall - 14, left + step * 0.6, horizon - 14], fill=pane)
        x += width
    for _ in range(rng.randint(2, 9)):
        x, leaf, size = rng.uniform(0, WIDE), rng.choice(season.leaves), rng.uniform(14, 40)
        draw.rectangle([x - 3, 0, x + 3, horizon + 4], fill=shade(leaf, 0.6))
        for _ in range(7):
            a, b, r = rng.gauss(x, size / 2), rng.gauss(horizon - size, size / 2), size * rng.uniform(0.3, 0.6)
            draw.ellipse([a - r, b - r, a + r, b + r], fill=vary(rng, leaf, 10))


def _ground(draw: ImageDraw.ImageDraw, rng: Random, season: Season, horizon: int) -> None:
    """Bands of ground that grow towards the eye, one of them slabs with joints that meet far above the picture."""
    top = horizon
    while top < HIGH:
        bottom = top + rng.randint(24, 60) * (0.6 + top / HIGH)
        grown = rng.random() < 0.3
        draw.rectangle([0, top, WIDE, bottom], fill=vary(rng, rng.choice(season.verge if grown else season.ground), 5))
        joint = shade(season.ground[0], 0.8)
        if not grown and rng.random() < 0.6:
            pitch, vanish = rng.randint(20, 44), rng.uniform(0, WIDE)
            for x in range(-WIDE, 2 * WIDE, pitch):
                far, near = (vanish + (x - vanish) * (y + 200) / (HIGH + 200) for y in (top, bottom))
                draw.line([far, top, near, bottom], fill=joint)
        draw.line([0, bottom, WIDE, bottom], fill=joint, width=rng.randint(1, 3))
        top = bottom


def _thing(draw: ImageDraw.ImageDraw, rng: Random, season: Season, horizon: int) -> None:
    """A bin, a post, a bench, or a parked car or bicycle."""
    x, foot = rng.uniform(0, WIDE), rng.uniform(horizon + 4, horizon + 70)
    colour = vary(rng, rng.choice(season.things), 10)
    kind = rng.choice(("post", "bin", "bench", "car", "bicycle"))
    dark = shade(colour, 0.55)
    if kind == "post":
        draw.rectangle([x, foot - 150, x + 4, foot], fill=shade(season.things[-1], 0.9))
    elif kind == "bin":
        draw.rectangle([x, foot - 34, x + 22, foot], fill=colour, outline=dark)
    elif kind == "bench":
        draw.rectangle([x, foot - 20, x + 60, foot - 15], fill=colour)
        draw.rectangle([x, foot - 34, x + 60, foot - 27], fill=colour)
        for leg in (4, 52):
            draw.rectangle([x + leg, foot - 15, x + leg + 4, foot], fill=dark)
    elif kind == "car":
        body = ((0, 10), (4, 26), (26, 46), (84, 46), (112, 24), (120, 8))
        draw.polygon([(x + along, foot - up) for along, up in body], fill=colour)
        glass = ((28, 42), (80, 42), (96, 27), (16, 27))
        draw.polygon([(x + along, foot - up) for along, up in glass], fill=dark)
        for wheel in (26, 94):
            draw.ellipse([x + wheel - 11, foot - 18, x + wheel + 11, foot + 4], fill=(36, 36, 38))
    else:
        for wheel in (0, 40):
            draw.ellipse([x + wheel, foot - 26, x + wheel + 26, foot], outline=(48, 48, 50), width=2)
        draw.line([x + 13, foot - 13, x + 24, foot - 36, x + 46, foot - 34, x + 53, foot - 13], fill=colour, width=3)
