"""Drawn pedestrians: the parts lie where they should, and what a view hides is hidden."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from reid_da.drawing.figure import Figure, Pose
from reid_da.drawing.pedestrians import draw_pedestrian, draw_pose
from reid_da.drawing.wardrobe import Person

PERSON = Person(
    skin=(240, 200, 180),
    hair=(60, 40, 20),
    hair_length=-0.4,
    hat=None,
    top=(200, 0, 0),
    second=(0, 200, 0),
    pattern="plain",
    short_sleeves=False,
    coat=None,
    lower=(0, 0, 200),
    lower_kind="trousers",
    hem=0.5,
    shoes=(10, 10, 10),
    bag="none",
    bag_colour=(255, 255, 0),
    scarf=None,
    height=1.0,
    build=1.0,
)
POSE = Pose(facing="front", stride=0.0, swing=0.5, lean=0.0, x=64, foot=240, height=220)
VIEWS = ("front", "back", "left", "right")


def drawn(person=PERSON, pose=POSE):
    """(256, 128, 4) of the person alone; [y, x] in fractions of the height are at (20 + 220 y, 64 + 220 x)."""
    canvas = Image.new("CMYK", (128, 256))
    draw_pedestrian(ImageDraw.Draw(canvas), person, pose)
    return np.asarray(canvas)


def shows(picture, colour):
    """Number of pixels of that colour or, for parts in the shade, of a darker one of the same hue."""
    pixels = picture[..., :3].reshape(-1, 3).astype(float)
    lit = pixels.max(axis=1) > 40
    along = pixels @ np.array(colour) / (np.linalg.norm(pixels, axis=1).clip(1) * np.linalg.norm(colour))
    return int((lit & (along > 0.999)).sum())


@pytest.mark.parametrize("facing", VIEWS)
def test_parts_lie_from_head_to_foot(facing):
    picture = drawn(pose=replace(POSE, facing=facing))
    heights = {"head": 0.04, "top": 0.4, "lower": 0.56}
    middle = {name: tuple(picture[20 + round(220 * y), 64]) for name, y in heights.items()}
    assert middle["head"] == (*PERSON.hair, 255)
    assert middle["lower"][:2] == (0, 0) and middle["lower"][2] > 150  # the farther leg is in the shade
    if facing in ("front", "back"):
        assert middle["top"] == (*PERSON.top, 255)
    rows = np.flatnonzero((picture[..., 3] == 255).any(axis=1))
    assert rows[0] == pytest.approx(20, abs=3) and rows[-1] == pytest.approx(240, abs=4)


def test_a_face_is_seen_unless_from_behind():
    skin = {facing: shows(drawn(pose=replace(POSE, facing=facing))[:56], PERSON.skin) for facing in VIEWS}
    assert min(skin["front"], skin["left"], skin["right"]) > 1.5 * skin["back"]


def test_a_logo_is_seen_from_the_front_only():
    person = replace(PERSON, pattern="logo")
    seen = {facing: shows(drawn(person, replace(POSE, facing=facing)), PERSON.second) for facing in VIEWS}
    assert seen["front"] > 50 and seen["back"] == seen["left"] == seen["right"] == 0


def test_a_backpack_covers_the_back_and_little_of_the_front():
    person = replace(PERSON, bag="backpack")
    seen = {facing: shows(drawn(person, replace(POSE, facing=facing)), PERSON.bag_colour) for facing in VIEWS}
    assert seen["back"] > 3 * seen["front"] > 0
    assert min(seen["left"], seen["right"]) > 100


def test_shorts_and_short_sleeves_bare_the_skin_and_a_coat_covers_it():
    bare = replace(PERSON, short_sleeves=True, lower_kind="shorts")
    covered = replace(bare, coat=(90, 30, 120))
    assert shows(drawn(bare), PERSON.skin) > 2 * shows(drawn(), PERSON.skin)
    assert shows(drawn(covered), PERSON.skin) < 1.2 * shows(drawn(), PERSON.skin)
    assert shows(drawn(covered), covered.coat) > shows(drawn(covered), PERSON.top) > 0


def test_left_mirrors_right():
    left, right = (drawn(pose=replace(POSE, facing=facing, stride=0.8, x=63.5)) for facing in ("left", "right"))
    assert (left[..., 3] == 255).sum() > 4000
    assert ((left[..., 3] == 255) == (right[:, ::-1, 3] == 255)).mean() > 0.975  # rims are one pixel off


def test_a_stride_parts_the_legs_seen_from_the_side():
    def spread(stride):
        cover = drawn(pose=replace(POSE, facing="left", stride=stride))[225:236, :, 3] == 255
        return np.ptp(np.flatnonzero(cover.any(axis=0)))

    assert spread(0.9) > spread(0.0) + 30


def test_half_width_follows_the_outline_and_the_build():
    figure = Figure(None, replace(PERSON, build=1.2), POSE)
    assert figure.half(0.22) == pytest.approx(1.2 * 0.110)
    assert figure.half(0.29) == pytest.approx(1.2 * (0.110 + 0.088) / 2)


def test_poses_keep_the_person_in_the_box_unless_sloppy():
    poses = [draw_pose(Random(seed), PERSON) for seed in range(300)]
    sloppy = [draw_pose(Random(seed), PERSON, sloppy=True) for seed in range(300)]
    assert {pose.facing for pose in poses} == set(VIEWS)

    def outside(pose):
        return not (-16 < pose.foot - pose.height and pose.foot < 272 and 30 < pose.x < 98)

    assert sum(map(outside, poses)) < 6
    assert sum(map(outside, sloppy)) > 150
