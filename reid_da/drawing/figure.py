"""Shapes in the frame of one drawn pedestrian.

Lengths are fractions of the person's height: y runs from 0 at the crown to 1 at the soles, x is 0 on the body's axis
and grows to the picture's right. A `Pose` says where that lies in the picture.
"""

import math
from dataclasses import dataclass

from PIL import ImageDraw

from reid_da.drawing.scenes import Colour
from reid_da.drawing.wardrobe import Person

Point = tuple[float, float]
NECK = 0.145
# Half-widths of the upper body by height, seen from the front and from the side.
OUTLINE_Y = (NECK, 0.16, 0.185, 0.22, 0.36, 0.50, 0.75)
OUTLINE_FRONT = (0.036, 0.074, 0.103, 0.110, 0.088, 0.098, 0.125)
OUTLINE_SIDE = (0.030, 0.048, 0.062, 0.068, 0.066, 0.074, 0.095)


@dataclass(frozen=True)
class Pose:
    """How a person stands in one picture. Lengths in pixels of the canvas drawn on."""

    facing: str  # front, back, left or right: where they look to, "front" is at the viewer
    stride: float  # -1..1, which leg is ahead and how far
    swing: float  # 0..1, how far the arms leave the body
    lean: float  # shift of the head over the feet, fraction of the height
    x: float  # of the body's axis at the feet
    foot: float  # y of the soles
    height: float


class Figure:
    """One pedestrian on a canvas of four channels: red, green, blue and coverage, each 0..255."""

    def __init__(self, draw: ImageDraw.ImageDraw, person: Person, pose: Pose):
        self.draw, self.person, self.pose = draw, person, pose
        self.side = pose.facing in ("left", "right")
        self.ahead = {"left": -1, "right": 1}.get(pose.facing, 0)  # sign of x where they look to
        self.half_widths = OUTLINE_SIDE if self.side else OUTLINE_FRONT

    def at(self, x: float, y: float) -> Point:
        pose = self.pose
        return pose.x + (x + pose.lean * (1 - y)) * pose.height, pose.foot - (1 - y) * pose.height

    def half(self, y: float) -> float:
        """Half-width of the clothed body at height y, NECK <= y <= 0.75."""
        below = next(i for i in range(1, len(OUTLINE_Y)) if y <= OUTLINE_Y[i])
        share = (y - OUTLINE_Y[below - 1]) / (OUTLINE_Y[below] - OUTLINE_Y[below - 1])
        return self.person.build * (self.half_widths[below - 1] * (1 - share) + self.half_widths[below] * share)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        self.draw.polygon([self.at(x, y) for x, y in points], fill=(*colour, 255))

    def box(self, x: float, top: float, bottom: float, widths: Point, colour: Colour) -> None:
        """An upright trapezium about x with the half-widths (at the top, at the bottom)."""
        a, b = widths
        self.polygon([(x - a, top), (x + a, top), (x + b, bottom), (x - b, bottom)], colour)

    def ellipse(self, x: float, y: float, a: float, b: float, colour: Colour, cover: int = 255) -> None:
        self.draw.ellipse([*self.at(x - a, y - b), *self.at(x + a, y + b)], fill=(*colour, cover))

    def slab(self, top: float, bottom: float, colour: Colour, left: float = -1.0, right: float = 1.0) -> None:
        """The body between two heights; `left` and `right` are fractions of its half-width."""
        edge = [(self.half(y), y) for y in (top, *(y for y in OUTLINE_Y if top < y < bottom), bottom)]
        self.polygon([(left * w, y) for w, y in edge] + [(right * w, y) for w, y in reversed(edge)], colour)

    def limb(self, start: Point, end: Point, widths: Point, colour: Colour, *, flat: bool = False) -> None:
        """A tapered piece, its end round or cut `flat`."""
        (x0, y0), (x1, y1), (a, b) = start, end, widths
        length = 2 * math.hypot(x1 - x0, y1 - y0)
        nx, ny = (y1 - y0) / length, (x0 - x1) / length
        near, far = (x0 + nx * a, y0 + ny * a), (x1 + nx * b, y1 + ny * b)
        self.polygon([near, far, (x1 - nx * b, y1 - ny * b), (x0 - nx * a, y0 - ny * a)], colour)
        if not flat:
            self.ellipse(x1, y1, b / 2, b / 2, colour)
