"""The camera model against its equations, pixel by pixel in float64."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from reid_da.drawing.camera_styles import JITTER, CameraStyle, apply_style, colour_matrix, draw_style

NEUTRAL = CameraStyle(
    hue=0, gains=(1, 1, 1), gamma=1, contrast=1, saturation=1, offset=0, blur=0, noise=0, resolution=1
)


def test_apply_style_is_the_equation():
    style = replace(NEUTRAL, hue=0.3, gains=(0.8, 1.2, 1.1), gamma=1.4, contrast=0.9, saturation=1.5, offset=0.04)
    drawing = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    rng = Random(7)
    gains = [gain * math.exp(rng.gauss(0, JITTER)) for gain in style.gains]
    expected = np.zeros(drawing.shape)
    matrix = colour_matrix(style.hue, style.saturation).astype(float)
    for i, j in np.ndindex(6, 5):
        x = np.array([min(1.0, gains[c] * drawing[i, j, c] / 255) ** style.gamma for c in range(3)])
        x = np.clip(matrix @ x, 0, 1)
        expected[i, j] = 255 * np.clip(style.contrast * (x - 0.5) + 0.5 + style.offset, 0, 1)
    result = apply_style(drawing, style, Random(7))
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, expected, atol=0.51)


def test_colour_matrix_keeps_greys_and_turns_hues():
    np.testing.assert_allclose(colour_matrix(0.7, 1.9) @ np.ones(3), np.ones(3), atol=1e-6)
    np.testing.assert_allclose(colour_matrix(2 * math.pi / 3, 1) @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(colour_matrix(0, 0) @ [1, 0.5, 0.25], np.full(3, 0.299 + 0.2935 + 0.0285), atol=1e-6)


@pytest.mark.parametrize("blur", [0.2, 0.5])
def test_blur_is_a_standard_deviation_in_pixels(blur):
    point = np.zeros((9, 9, 3), dtype=np.uint8)
    point[4, 4] = 255
    seen = apply_style(point, replace(NEUTRAL, blur=blur), Random(0)).astype(float)[..., 1]
    place = np.arange(9) - 4
    for axis in (0, 1):
        profile = seen.sum(axis=axis) / seen.sum()
        assert profile @ place == pytest.approx(0)
        assert profile @ place**2 == pytest.approx(blur**2, rel=0.1)


def test_noise_has_its_deviation_and_resolution_takes_detail():
    grey = np.full((128, 64, 3), 128, dtype=np.uint8)
    noisy = apply_style(grey, replace(NEUTRAL, noise=0.03), Random(0)).astype(float)
    assert noisy.std(axis=(0, 1)) == pytest.approx(0.03 * 255, rel=0.05)
    board = (255 * (np.indices((128, 64)).sum(axis=0) % 2))[..., None].repeat(3, axis=2).astype(np.uint8)
    contrast = [apply_style(board, replace(NEUTRAL, resolution=r), Random(0)).std() for r in (1.0, 0.8, 0.5)]
    assert contrast[0] > 1.5 * contrast[1] > 2 * contrast[2]


def test_drawn_styles_have_the_stated_spread():
    strength = 0.5
    styles = [draw_style(Random(seed), strength) for seed in range(3000)]
    spread = {
        "gamma": np.std([math.log(style.gamma) for style in styles]) / 0.25,
        "contrast": np.std([math.log(style.contrast) for style in styles]) / 0.22,
        "saturation": np.std([math.log(style.saturation) for style in styles]) / 0.4,
        "gains": np.std([math.log(style.gains[0]) for style in styles]) / math.hypot(0.22, 0.18),
        "cast": np.std([math.log(style.gains[0] / style.gains[2]) for style in styles]) / math.hypot(0.22, 0.22),
        "hue": np.std([style.hue for style in styles]) / 0.25,
        "offset": np.std([style.offset for style in styles]) / 0.05,
        "blur": np.sqrt(np.mean([style.blur**2 for style in styles])) / (0.5 * 0.35),
        "noise": np.sqrt(np.mean([style.noise**2 for style in styles])) / (0.025 * 0.35),
        "resolution": np.sqrt(np.mean([math.log(style.resolution) ** 2 for style in styles])) / (0.45 * 0.35),
    }
    assert spread == {name: pytest.approx(strength, rel=0.06) for name in spread}
    assert max(style.resolution for style in styles) <= 1
    assert draw_style(Random(0), 0) == NEUTRAL
