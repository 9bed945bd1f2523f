"""Whole pictures and what they are made of: people, places, passers-by."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from reid_da.drawing import pictures, scenes, wardrobe
from reid_da.drawing.pictures import picture
from reid_da.drawing.scenes import cloth, scene
from reid_da.drawing.wardrobe import draw_person

PERSON = draw_person(Random(0), wardrobe.SUMMER)
PLACE = scene(Random(0), scenes.SUMMER)


def taken(seed, person=PERSON, place=PLACE, **sloppy):
    return picture(Random(seed), person, place, wardrobe.SUMMER, scenes.SUMMER, **sloppy)


def test_a_picture_is_a_function_of_its_generator():
    one = taken(1)
    assert one.shape == (128, 64, 3) and one.dtype == np.uint8
    assert np.array_equal(one, taken(1))
    assert not np.array_equal(one, taken(2))


def test_the_clothes_change_the_middle_and_nothing_else():
    """Same generator, another top: same pose and place, so that only pixels of the top differ."""
    person = replace(PERSON, top=(255, 0, 0), pattern="plain", coat=None)
    differs = (taken(1, person) != taken(1, replace(person, top=(0, 0, 255)))).any(axis=2)
    assert 0.05 < differs.mean() < 0.4
    assert not differs[:12].any() and not differs[90:].any()


def test_the_place_shows_around_the_person_only():
    black, white = np.zeros_like(PLACE), np.full_like(PLACE, 255)
    differs = (taken(3, place=white).astype(int) - taken(3, place=black)).mean(axis=2)
    assert differs[:, :6].mean() > 200
    assert abs(differs[50:60, 30:34]).mean() < 40


def test_occluders_and_passers_by_come_as_often_as_stated(monkeypatch):
    seen = {"passer-by": 0, "occluder": 0}
    for name in seen:
        share = {"passer-by": "PASSER_BY", "occluder": "OCCLUDER"}[name]
        usual = [taken(seed) for seed in range(300)]
        with monkeypatch.context() as patch:
            patch.setattr(pictures, share, 0.0)
            without = [taken(seed) for seed in range(300)]
        seen[name] = np.mean([not np.array_equal(*pair) for pair in zip(usual, without, strict=True)])
    assert seen["passer-by"] == pytest.approx(pictures.PASSER_BY, abs=0.05)
    assert seen["occluder"] == pytest.approx(pictures.OCCLUDER, abs=0.05)


def test_people_of_summer_and_winter_dress_as_said():
    summer = [draw_person(Random(seed), wardrobe.SUMMER) for seed in range(1000)]
    winter = [draw_person(Random(seed), wardrobe.WINTER) for seed in range(1000)]
    assert len(set(summer)) == 1000
    assert np.mean([p.short_sleeves for p in summer]) == pytest.approx(wardrobe.SUMMER.short_sleeves, abs=0.05)
    assert np.mean([p.coat is not None for p in winter]) == pytest.approx(wardrobe.WINTER.coat, abs=0.05)
    assert not any(p.short_sleeves or p.lower_kind == "shorts" for p in winter)
    vivid = [np.mean([max(p.top) - min(p.top) for p in people]) for people in (summer, winter)]
    assert vivid[0] > 1.3 * vivid[1]


def test_places_differ_and_the_seasons_too():
    assert PLACE.shape == (3, scenes.HEIGHT, scenes.WIDTH) and PLACE.dtype == np.uint8
    assert np.array_equal(PLACE, scene(Random(0), scenes.SUMMER))
    summer, winter = (
        np.mean([scene(Random(seed), season).mean() for seed in range(6)]) for season in (scenes.SUMMER, scenes.WINTER)
    )
    assert summer > winter + 15


def test_cloth_is_standardised():
    assert cloth(0).shape == (256, 256)
    assert cloth(0).mean() == pytest.approx(0, abs=1e-5) and cloth(0).std() == pytest.approx(1, abs=1e-5)
