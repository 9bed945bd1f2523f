"""Who drawn pedestrians are and what they wear.

A person is a draw from its world's `Wardrobe`: summer is vivid, short and light, winter muted, long and dark. Colours
come from a few names with some spread, as dyes do, so that many people share a name, shades part them, and no single
garment tells who it is.
"""

from dataclasses import dataclass
from random import Random

from reid_da.drawing.scenes import Colour, vary

SKINS = ((241, 208, 182), (216, 172, 138), (164, 116, 82), (98, 68, 50))
HAIRS = ((28, 24, 22), (62, 42, 30), (110, 74, 44), (186, 148, 92), (128, 126, 124), (124, 66, 40))
PATTERNS = ("plain", "horizontal", "vertical", "half", "logo", "zip")
SPREAD = 20  # levels by which a garment's colour differs from its name; with less, shades tell nothing and any jitter is free


@dataclass(frozen=True)
class Wardrobe:
    """What a world's people choose from: colours, and the share of people that wear a thing (0..1)."""

    tops: tuple[Colour, ...]
    lowers: tuple[Colour, ...]
    coats: tuple[Colour, ...]
    bags: tuple[Colour, ...]
    lower_kinds: tuple[str, ...]
    plain: float
    short_sleeves: float
    coat: float
    hat: float
    scarf: float
    bag: float


@dataclass(frozen=True)
class Person:
    """Everything about a person that all its images share. Colours are RGB, None where there is no such thing."""

    skin: Colour
    hair: Colour
    hair_length: float  # how far below the chin, in head heights: -0.4 short .. 1.2 long
    hat: Colour | None
    top: Colour
    second: Colour
    pattern: str
    short_sleeves: bool
    coat: Colour | None
    lower: Colour
    lower_kind: str
    hem: float  # of coats and skirts, 0 short .. 1 long
    shoes: Colour
    bag: str  # none, backpack, shoulder or hand
    bag_colour: Colour
    scarf: Colour | None
    height: float  # relative to the mean
    build: float  # width relative to the mean


WHITE = (236, 234, 230)
CREAM = (220, 208, 180)
LIGHT = (178, 180, 184)
GREY = (122, 124, 130)
DARK = (70, 72, 78)
BLACK = (34, 34, 38)
RED = (200, 48, 44)
CRIMSON = (150, 34, 60)
ORANGE = (228, 122, 52)
YELLOW = (232, 200, 72)
PINK = (230, 140, 164)
GREEN = (60, 138, 78)
LIME = (150, 190, 70)
TEAL = (46, 140, 144)
SKY = (122, 174, 218)
BLUE = (44, 84, 174)
PURPLE = (122, 70, 150)
NAVY = (36, 44, 78)
JEANS = (62, 84, 124)
FADED = (118, 142, 176)
KHAKI = (164, 148, 108)
TAN = (186, 154, 112)
OLIVE = (92, 94, 64)
BROWN = (92, 66, 48)
WINE = (96, 36, 48)
PETROL = (44, 78, 88)
MAUVE = (122, 102, 124)
MUSTARD = (168, 132, 56)

SUMMER = Wardrobe(
    tops=(WHITE, WHITE, LIGHT, BLACK, RED, ORANGE, YELLOW, PINK, GREEN, LIME, TEAL, SKY, BLUE, PURPLE, NAVY),
    lowers=(JEANS, JEANS, FADED, NAVY, BLACK, BLACK, KHAKI, WHITE, GREY, RED, TEAL, PINK),
    coats=(SKY, CREAM, LIGHT, BLUE),
    bags=(BLACK, RED, BLUE, KHAKI, GREY, ORANGE),
    lower_kinds=("trousers", "trousers", "shorts", "shorts", "skirt"),
    plain=0.4,
    short_sleeves=0.75,
    coat=0.06,
    hat=0.14,
    scarf=0.02,
    bag=0.5,
)
WINTER = Wardrobe(
    tops=(GREY, LIGHT, DARK, BLACK, CREAM, WHITE, NAVY, OLIVE, BROWN, WINE, CRIMSON, PETROL, MAUVE, MUSTARD, FADED),
    lowers=(BLACK, BLACK, DARK, NAVY, JEANS, JEANS, FADED, BROWN, GREY, OLIVE, KHAKI, WINE),
    coats=(BLACK, DARK, GREY, LIGHT, NAVY, OLIVE, BROWN, TAN, WINE, CRIMSON, PETROL, KHAKI, MUSTARD, CREAM),
    bags=(BLACK, BROWN, NAVY, CRIMSON, GREY, MUSTARD),
    lower_kinds=("trousers", "trousers", "trousers", "trousers", "trousers", "skirt"),
    plain=0.45,
    short_sleeves=0.0,
    coat=0.5,
    hat=0.35,
    scarf=0.35,
    bag=0.55,
)


def draw_person(rng: Random, wardrobe: Wardrobe) -> Person:
    """A person with clothes of `wardrobe`, the same for equal generators."""

    def dyed(colours: tuple[Colour, ...]) -> Colour:
        return vary(rng, rng.choice(colours), SPREAD)

    def sometimes(share: float, colours: tuple[Colour, ...]) -> Colour | None:
        colour = dyed(colours)
        return colour if rng.random() < share else None

    return Person(
        skin=vary(rng, rng.choice(SKINS), 4),
        hair=vary(rng, rng.choice(HAIRS), 4),
        hair_length=rng.choice((-0.4, -0.4, 0.1, 0.7, 1.2)),
        hat=sometimes(wardrobe.hat, wardrobe.tops),
        top=dyed(wardrobe.tops),
        second=dyed(wardrobe.tops),
        pattern="plain" if rng.random() < wardrobe.plain else rng.choice(PATTERNS[1:]),
        short_sleeves=rng.random() < wardrobe.short_sleeves,
        coat=sometimes(wardrobe.coat, wardrobe.coats),
        lower=dyed(wardrobe.lowers),
        lower_kind=rng.choice(wardrobe.lower_kinds),
        hem=rng.random(),
        shoes=dyed((BLACK, BLACK, WHITE, BROWN, GREY, RED)),
        bag=rng.choice(("backpack", "backpack", "shoulder", "hand")) if rng.random() < wardrobe.bag else "none",
        bag_colour=dyed(wardrobe.bags),
        scarf=sometimes(wardrobe.scarf, wardrobe.tops),
        height=rng.uniform(0.93, 1.05),
        build=rng.uniform(0.85, 1.25),
    )
