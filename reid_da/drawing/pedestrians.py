"""Drawn pedestrians: a `Person` in a pose, part by part.

Lengths are fractions of the person's height, see `reid_da.drawing.figure`.
"""

import math
from random import Random

from PIL import ImageDraw

from reid_da.drawing.figure import NECK, Figure, Point, Pose
from reid_da.drawing.scenes import shade
from reid_da.drawing.wardrobe import Person

SHOULDER, WAIST, HIP, KNEE, ANKLE = 0.195, 0.52, 0.50, 0.73, 0.95
TIGHTS = (44, 42, 46)


def draw_pose(rng: Random, person: Person, *, sloppy: bool = False) -> Pose:
    """A walk caught at a random moment by a detector's box, on a canvas of 128 x 256 pixels (width x height).

    The box is off by a few percent, and `sloppy` by up to half of itself, as boxes are in which nobody can be told.
    """
    scale, aside, down = (rng.uniform(0.6, 2.0), 40, 70) if sloppy else (rng.uniform(0.84, 1.02), 7, 7)
    height = 236 * scale * person.height
    return Pose(
        facing=rng.choice(("front", "back", "left", "right")),
        stride=rng.uniform(-1, 1),
        swing=rng.random(),
        lean=rng.gauss(0, 0.012),
        x=64 + rng.gauss(0, aside),
        foot=128 + 0.5 * height + rng.gauss(0, down),
        height=height,
    )


def draw_pedestrian(draw: ImageDraw.ImageDraw, person: Person, pose: Pose) -> None:
    """Draws `person` in `pose`, from the farthest part to the nearest.

    Args:
        draw: onto a canvas of four channels, see `Figure`.
    """
    figure = Figure(draw, person, pose)
    far, near = (-1, 1) if pose.stride > 0 else (1, -1)
    figure.ellipse(0.03, 0.985, 0.13, 0.018, (0, 0, 0), cover=90)  # the shadow on the ground
    if pose.facing == "front":
        _backpack(figure)
    if figure.side:
        _arm(figure, far, 0.8)
    _leg(figure, far, 0.84)
    _leg(figure, near, 1.0)
    _lower(figure)
    _upper(figure)
    if pose.facing != "front":
        _backpack(figure)
    _head(figure)
    for which in (near,) if figure.side else (far, near):
        _arm(figure, which, 0.9)
    _straps_and_bag(figure)


def _leg(figure: Figure, which: int, dim: float) -> None:
    person, ahead = figure.person, figure.ahead
    hip, knee, ankle = _leg_joints(figure, which, figure.pose.stride * which)
    wide = 0.5 + 0.5 * person.build
    bare = shade(TIGHTS if person.coat else person.skin, dim)
    cloth = shade(person.lower, dim)
    if person.lower_kind == "trousers":
        figure.limb(hip, knee, (0.098 * wide, 0.072 * wide), cloth)
        figure.limb(knee, ankle, (0.070 * wide, 0.052 * wide), cloth)
    else:
        figure.limb(hip, knee, (0.088 * wide, 0.058 * wide), bare)
        figure.limb(knee, ankle, (0.058, 0.036), bare)
    if person.lower_kind == "shorts":
        share = 0.65 + 0.35 * person.hem
        cuff = (hip[0] + share * (knee[0] - hip[0]), hip[1] + share * (knee[1] - hip[1]))
        figure.limb(hip, cuff, (0.104 * wide, 0.090 * wide), cloth, flat=True)
    toe = 0.05 * ahead if figure.side else 0.01 * which
    figure.ellipse(ankle[0] + toe / 2, ankle[1] + 0.028, 0.022 + abs(toe) / 2, 0.02, shade(person.shoes, dim))


def _leg_joints(figure: Figure, which: int, stride: float) -> tuple[Point, Point, Point]:
    """Hip, knee and ankle. Seen from the side a stride parts the legs; from the front one foot stands lower."""
    build = figure.person.build
    if not figure.side:
        knee = (0.047 * which * build, KNEE + 0.006 * stride)
        return (0.045 * which * build, HIP - 0.02), knee, (0.045 * which, ANKLE + 0.018 * stride)
    thigh = 0.38 * stride * figure.ahead
    shin = thigh - figure.ahead * (0.05 + 0.25 * max(0.0, -stride))
    hip = (0.012 * which * figure.ahead, HIP - 0.02)
    knee = (hip[0] + 0.23 * math.sin(thigh), HIP + 0.23 * math.cos(thigh))
    return hip, knee, (knee[0] + 0.22 * math.sin(shin), knee[1] + 0.22 * math.cos(shin))


def _lower(figure: Figure) -> None:
    person = figure.person
    if person.lower_kind == "skirt":
        figure.slab(0.46, 0.62 + 0.13 * person.hem, person.lower, -1.12, 1.12)
    else:
        figure.slab(0.47, 0.525, person.lower, -0.95, 0.95)


def _upper(figure: Figure) -> None:
    person, facing = figure.person, figure.pose.facing
    figure.box(0, 0.11, 0.17, (0.030, 0.035), shade(person.skin, 0.85))
    figure.slab(NECK, WAIST, person.top)
    _pattern(figure)
    if person.coat:
        hem = 0.56 + 0.16 * person.hem
        parts = ((-1.05, -0.2), (0.2, 1.05)) if facing == "front" else ((-1.05, 1.05),)
        for left, right in parts:
            figure.slab(NECK, hem, person.coat, left, right)
            figure.slab(0.36, 0.374, shade(person.coat, 0.8), left, right)
    if person.scarf:
        figure.ellipse(0, 0.15, 0.055, 0.02, person.scarf)
        if facing == "front":
            figure.box(0.025, 0.15, 0.3, (0.02, 0.018), shade(person.scarf, 0.92))


def _pattern(figure: Figure) -> None:
    kind, colour, facing = figure.person.pattern, figure.person.second, figure.pose.facing
    if kind == "horizontal":
        for i in range(5):
            figure.slab(0.2 + 0.064 * i, 0.232 + 0.064 * i, colour)
    elif kind == "vertical":
        for i in range(-2, 3):
            figure.slab(0.19, WAIST, colour, 0.36 * i - 0.09, 0.36 * i + 0.09)
    elif kind == "half":
        figure.slab(0.35, WAIST, colour)
    elif kind == "logo" and facing == "front":
        figure.ellipse(0, 0.27, 0.042, 0.035, colour)
    elif kind == "zip" and facing == "front":
        figure.slab(NECK, WAIST, colour, -0.16, 0.16)
    elif kind == "zip":
        figure.slab(0.16, 0.2, colour)


def _arm(figure: Figure, which: int, dim: float) -> None:
    person, pose = figure.person, figure.pose
    if figure.side:
        angle = -0.55 * pose.stride * which * (0.3 + 0.7 * pose.swing) * figure.ahead
        shoulder, fore = (0.0, SHOULDER + 0.005), angle + 0.3 * figure.ahead * pose.swing
    else:
        angle = which * (0.06 + 0.16 * pose.swing)
        shoulder, fore = (which * (figure.half(0.2) - 0.014), SHOULDER + 0.003), angle - 0.1 * which
    elbow = (shoulder[0] + 0.165 * math.sin(angle), shoulder[1] + 0.165 * math.cos(angle))
    hand = (elbow[0] + 0.15 * math.sin(fore), elbow[1] + 0.15 * math.cos(fore))
    skin, sleeve = shade(person.skin, dim), shade(person.coat or person.top, dim)
    bare = person.short_sleeves and not person.coat
    figure.ellipse(*hand, 0.019, 0.024, skin)
    figure.limb(elbow, hand, (0.045, 0.036), skin if bare else sleeve, flat=True)
    figure.limb(shoulder, elbow, (0.058, 0.047), skin if bare else sleeve)
    figure.ellipse(*shoulder, 0.029, 0.029, sleeve)
    if bare:
        cuff = (0.4 * shoulder[0] + 0.6 * elbow[0], 0.4 * shoulder[1] + 0.6 * elbow[1])
        figure.limb(shoulder, cuff, (0.058, 0.064), sleeve, flat=True)
    if person.bag == "hand" and which == (-1 if pose.facing == "back" else 1):
        figure.box(hand[0], hand[1] + 0.02, hand[1] + 0.13, (0.045, 0.055), shade(person.bag_colour, dim))


def _head(figure: Figure) -> None:
    person, ahead, facing = figure.person, figure.ahead, figure.pose.facing
    x, y, a, b = 0.014 * ahead, 0.07, 0.052 if figure.side else 0.046, 0.066
    if person.hair_length > 0:
        fall = y + b * (1 + person.hair_length)
        figure.box(x - 0.024 * ahead, 0.06, fall, (0.7 * a, 0.75 * a) if figure.side else (a, 1.1 * a), person.hair)
    figure.ellipse(x, y, a, b, person.hair if facing == "back" else person.skin)
    if facing == "back" and person.hair_length < 0:
        figure.ellipse(x, y + 0.052, 0.034, 0.024, person.skin)
    elif figure.side:
        figure.ellipse(x - 0.024 * ahead, y - 0.012, 0.64 * a, 0.8 * b, person.hair)
        figure.ellipse(x - 0.008 * ahead, y - 0.044, 0.86 * a, 0.38 * b, person.hair)
    elif facing == "front":
        figure.ellipse(x, y - 0.04, 1.02 * a, 0.44 * b, person.hair)
    if person.hat:
        figure.ellipse(x, y - 0.036, 1.12 * a, 0.55 * b, person.hat)
        figure.ellipse(x + 0.034 * ahead, y - 0.012, 1.12 * a, 0.13 * b, shade(person.hat, 0.7))


def _backpack(figure: Figure) -> None:
    person = figure.person
    if person.bag != "backpack":
        return
    if figure.side:
        edge = -0.05 * figure.ahead * person.build
        far = edge - 0.085 * figure.ahead
        figure.polygon([(edge, 0.18), (far, 0.22), (1.1 * far, 0.41), (edge, 0.42)], person.bag_colour)
    elif figure.pose.facing == "back":
        figure.box(0, 0.19, 0.42, (0.068, 0.082), person.bag_colour)
        figure.box(0, 0.31, 0.40, (0.055, 0.060), shade(person.bag_colour, 0.75))
    else:
        figure.box(0, 0.16, 0.41, (0.11 * person.build, 0.125 * person.build), person.bag_colour)


def _straps_and_bag(figure: Figure) -> None:
    person, facing = figure.person, figure.pose.facing
    dark = shade(person.bag_colour, 0.8)
    if person.bag == "backpack" and facing == "front":
        for x in (-0.06, 0.06):
            figure.box(x, 0.165, 0.36, (0.011, 0.012), dark)
    if person.bag == "shoulder":
        side = {"front": 1, "back": -1}.get(facing, 0)  # it hangs at their left
        x = 0.105 * side * person.build
        top = -0.055 * side
        figure.polygon([(top - 0.011, 0.165), (top + 0.011, 0.165), (x + 0.011, 0.43), (x - 0.011, 0.43)], dark)
        figure.box(x, 0.42, 0.55, (0.060, 0.068), person.bag_colour)
