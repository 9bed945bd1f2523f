"""Augmentation against a slow oracle, and against what a picture of ramps tells about where it was cut."""

import math

import numpy as np
import pytest
import torch

from reid_da.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    colour_jitter,
    normalise,
    random_area_crop,
    random_erasing,
    random_shift,
    signed,
)
from reid_da.sampling import draws

HEIGHT, WIDTH = 32, 16


def noise(count, seed=0):
    return torch.randint(0, 256, (count, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


def ramps(count):
    """Red is 8 x the column, green 4 x the row: a resampled picture tells where each of its pixels comes from."""
    picture = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    picture[..., 0] = 8 * torch.arange(WIDTH)[None, :]
    picture[..., 1] = 4 * torch.arange(HEIGHT)[:, None]
    return picture.expand(count, -1, -1, -1)


def windows(pixels):
    """(left, top, part_x, part_y, flipped) of pictures (B, 3, H, W) 0..255 that were ramps; left and top in pixels."""
    x, y = pixels[:, 0, HEIGHT // 2].double() / 8, pixels[:, 1, :, WIDTH // 2].double() / 4
    slope_x, part_y = (x[:, 9] - x[:, 6]) / 3, (y[:, 20] - y[:, 10]) / 10  # the middle: the border is clamped
    part_x, flipped = slope_x.abs(), slope_x < 0
    middle_x, middle_y = (x[:, 7] + x[:, 8]) / 2 + 0.5, (y[:, 15] + y[:, 16]) / 2 + 0.5
    return middle_x - part_x * WIDTH / 2, middle_y - part_y * HEIGHT / 2, part_x, part_y, flipped


def denormalise(images):
    std, mean = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_STD, IMAGENET_MEAN))
    return (images * std + mean) * 255


def bilinear(image, x, y):
    """The value of (H, W, 3) at x, y in pixels, where pixel i spans i..i+1 and has its value in its middle."""
    x, y = (min(max(v - 0.5, 0.0), size - 1.0) for v, size in ((x, WIDTH), (y, HEIGHT)))
    x0, y0 = min(int(x), WIDTH - 2), min(int(y), HEIGHT - 2)
    u, v = x - x0, y - y0
    top = (1 - u) * image[y0, x0] + u * image[y0, x0 + 1]
    return (1 - v) * top + v * ((1 - u) * image[y0 + 1, x0] + u * image[y0 + 1, x0 + 1])


def slow_window(image, part, place, flip):
    """The window resized to the full size, pixel by pixel in float64; (H, W, 3) 0..255."""
    result = np.empty((HEIGHT, WIDTH, 3))
    left, top = place[0] * (1 - part[0]) * WIDTH, place[1] * (1 - part[1]) * HEIGHT
    for i in range(HEIGHT):
        for j in range(WIDTH):
            value = bilinear(image, left + (j + 0.5) * part[0], top + (i + 0.5) * part[1])
            result[i, WIDTH - 1 - j if flip else j] = value
    return result


def slow_crop(image, size, boxes, place, flip, area, ratio):
    """RandomSizedRectCrop as HHL's code has it, from given uniform numbers: the first box that fits, else all."""
    width, height = size
    part = (1.0, 1.0)
    for for_area, for_ratio in boxes:
        target = (area[0] + (area[1] - area[0]) * for_area) * width * height
        aspect = ratio[0] + (ratio[1] - ratio[0]) * for_ratio
        box_height, box_width = math.sqrt(target * aspect), math.sqrt(target / aspect)
        if box_width <= width and box_height <= height:
            part = (box_width / width, box_height / height)
            break
    return (slow_window(image, part, place, flip) / 255 - IMAGENET_MEAN) / IMAGENET_STD


def test_normalise_is_the_formula():
    images = noise(3)
    result = normalise(images)
    expected = (images.double().numpy() / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert result.shape == (3, 3, HEIGHT, WIDTH) and result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(result.permute(0, 2, 3, 1), expected, atol=1e-6)
    halves = normalise(images, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    np.testing.assert_allclose(halves.permute(0, 2, 3, 1), images.double() / 127.5 - 1, atol=1e-6)


def test_signed_undoes_normalise_to_the_range_of_a_tanh():
    pixels = torch.arange(0, 240, 5, dtype=torch.uint8).view(2, 4, 2, 3)
    expected = pixels.double().permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(signed(normalise(pixels).double()), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("area, ratio, flip", [((0.64, 1.0), (2.0, 3.0), 0.5), ((0.1, 0.4), (0.5, 4.0), 1.0)])
def test_random_area_crop_follows_the_slow_oracle(area, ratio, flip):
    """Sizes under which the first box fits, a later one, and none at all."""
    sizes = torch.tensor([[64, 128], [50, 160], [128, 128], [300, 100], [41, 97], [64, 128]])
    images, draw = noise(6), draws(3, 5)
    result = random_area_crop(images, sizes, draw, area=area, ratio=ratio, flip=flip)
    boxes, place, mirror = (
        draw(name, shape).tolist() for name, shape in (("box", (6, 10, 2)), ("place", (6, 2)), ("flip", (6,)))
    )
    assert result.dtype == torch.float32 and result.shape == (6, 3, HEIGHT, WIDTH)
    for i in range(6):
        image = images[i].double().numpy()
        expected = slow_crop(image, sizes[i].tolist(), boxes[i], place[i], mirror[i] < flip, area, ratio)
        np.testing.assert_allclose(result[i].permute(1, 2, 0), expected, atol=2e-4)


@pytest.mark.parametrize("size", [(64, 128), (60, 170), (100, 200), (90, 100)])
def test_crop_keeps_its_bounds_in_the_pixels_of_the_original(size):
    count = 400
    sizes = torch.tensor([size]).expand(count, 2)
    left, top, part_x, part_y, _ = windows(denormalise(random_area_crop(ramps(count), sizes, draws(0, 0))))
    whole = (part_x - 1).abs() + (part_y - 1).abs() < 1e-4
    area, ratio = part_x * part_y, part_y * size[1] / (part_x * size[0])
    tolerance = 1e-3
    assert ((area > 0.64 - tolerance) & (area < 1 + tolerance)).all()
    assert (whole | ((ratio > 2 - tolerance) & (ratio < 3 + tolerance))).all()
    assert (part_x < 1 + tolerance).all() and (part_y < 1 + tolerance).all()
    assert (left > -0.02).all() and (left + part_x * WIDTH < WIDTH + 0.02).all()
    assert (top > -0.02).all() and (top + part_y * HEIGHT < HEIGHT + 0.02).all()
    if size == (90, 100):  # its largest box of ratio 2 has 50 x 100 pixels, 0.56 of the area
        assert whole.all()
    else:
        assert (~whole).float().mean() > 0.9
        assert area[~whole].min() < 0.67 and ratio[~whole].min() < 2.05


def test_crop_may_lie_anywhere_in_the_image():
    count = 1000
    sizes = torch.tensor([[64, 128]]).expand(count, 2)
    pictures = random_area_crop(ramps(count), sizes, draws(0, 0), area=(0.6, 0.7), ratio=(2.0, 2.1))
    left, top, part_x, part_y, _ = windows(denormalise(pictures))
    for place in (left / (1 - part_x) / WIDTH, top / (1 - part_y) / HEIGHT):
        assert place.min() > -0.01 and place.max() < 1.01
        assert place.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / count) ** 0.5)
        assert place.var().item() == pytest.approx(1 / 12, abs=0.015)


@pytest.mark.parametrize("ratio", [(2.0, 2.0), (5.0, 6.0)], ids=["the box is the image", "no box fits"])
def test_no_crop_is_plain_normalisation(ratio):
    images, sizes = noise(4), torch.tensor([[64, 128]] * 4)
    result = random_area_crop(images, sizes, draws(0, 0), area=(1.0, 1.0), ratio=ratio, flip=0.0)
    torch.testing.assert_close(result, normalise(images), atol=1e-4, rtol=0)
    assert result.is_contiguous(memory_format=torch.channels_last)
    mirrored = random_area_crop(images, sizes, draws(0, 0), area=(1.0, 1.0), ratio=ratio, flip=1.0)
    torch.testing.assert_close(mirrored, normalise(images.flip(2)), atol=1e-4, rtol=0)


def test_half_of_the_pictures_are_flipped():
    count = 1000
    for pictures in (
        denormalise(random_area_crop(ramps(count), torch.tensor([[64, 128]] * count), draws(0, 0))),
        (random_shift(ramps(count), draws(0, 0)) + 1) * 127.5,
    ):
        flipped = windows(pictures)[-1].double().mean().item()
        assert flipped == pytest.approx(0.5, abs=4 * 0.5 / count**0.5)


def test_random_shift_follows_the_slow_oracle():
    images, draw = noise(3), draws(1, 2)
    result = random_shift(images, draw, part=0.8)
    place, mirror = draw("place", (3, 2)).tolist(), draw("flip", (3,)).tolist()
    assert result.dtype == torch.float32 and result.shape == (3, 3, HEIGHT, WIDTH)
    for i in range(3):
        expected = slow_window(images[i].double().numpy(), (0.8, 0.8), place[i], mirror[i] < 0.5) / 127.5 - 1
        np.testing.assert_allclose(result[i].permute(1, 2, 0), expected, atol=2e-4)


def test_random_shift_moves_over_its_whole_range_and_not_beyond():
    count = 400
    result = random_shift(ramps(count), draws(0, 0))
    left, top, part_x, part_y, _ = windows((result + 1) * 127.5)
    for part in (part_x, part_y):
        torch.testing.assert_close(part, torch.full_like(part, 8 / 9), atol=1e-4, rtol=0)
    for start, size in ((left, WIDTH), (top, HEIGHT)):
        place = start / (size / 9)
        assert place.min() > -0.01 and place.max() < 1.01
        assert place.min() < 0.05 and place.max() > 0.95
    white = random_shift(torch.full((4, HEIGHT, WIDTH, 3), 255, dtype=torch.uint8), draws(0, 0))
    assert result.min() >= -1 - 1e-6 and white.max() <= 1 + 1e-6  # but for rounding


def test_random_shift_of_the_whole_image_only_scales():
    images = noise(3)
    result = random_shift(images, draws(0, 0), part=1.0, flip=0.0)
    torch.testing.assert_close(result, images.permute(0, 3, 1, 2) / 127.5 - 1, atol=1e-5, rtol=0)


def test_pictures_differ_between_rows_and_steps():
    images = noise(1).expand(8, -1, -1, -1)
    sizes = torch.tensor([[64, 128]] * 8)
    first, second = (random_area_crop(images, sizes, draws(0, step)) for step in (0, 1))
    assert len({picture.numpy().tobytes() for picture in (*first, *second)}) == 16


def test_colour_jitter_changes_colours_and_repeats():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 4, 3), dtype=np.uint8)
    before = torch.get_rng_state()
    jittered = colour_jitter(images, 5, [0, 1, 2], (0.4, 0.4, 0.4, 0.1))
    assert jittered.shape == (3, 5, 8, 4, 3) and jittered.dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before), "nobody else's draws move"
    assert (colour_jitter(images[1:], 5, [1, 2], (0.4, 0.4, 0.4, 0.1)) == jittered[1:]).all(), (
        "a copy depends on its key alone"
    )
    assert len(np.unique(jittered[0], axis=0)) == 5 and not (jittered == images[:, None]).all((2, 3, 4)).any()


def test_colour_jitter_moves_no_pixel():
    flat = np.full((1, 8, 4, 3), 90, dtype=np.uint8)
    assert (np.ptp(colour_jitter(flat, 4, [0], (0.4, 0.4, 0.4, 0.1)), axis=(2, 3)) == 0).all()


FILLED = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # HHL's code, after the normalisation


def erased_boxes(images):
    """(share of the image, height / width) of the filled box of each image that has one; it must be a full rectangle."""
    found = []
    for image in images:
        filled = (image == FILLED).all(0)
        rows, columns = filled.any(1).nonzero()[:, 0], filled.any(0).nonzero()[:, 0]
        if len(rows):
            box = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all() and box.sum() == filled.sum(), "not one rectangle"
            found.append((filled.float().mean().item(), box.shape[0] / box.shape[1]))
    return found


def test_random_erasing_fills_a_box_where_the_draws_say():
    images = torch.ones(400, 3, 64, 32)
    erased = random_erasing(images, draws(0, 0), 0.5)
    boxes = erased_boxes(erased)
    assert (images == 1).all(), "a new tensor"
    assert 150 < len(boxes) < 250
    areas, ratios = zip(*boxes, strict=True)
    assert 0.015 < min(areas) < 0.04 and 0.17 < max(areas) < 0.22
    assert 0.2 < min(ratios) < 0.5 and 2.2 < max(ratios) < 3.8
    filled = (erased == FILLED).any(0).any(0)
    assert all(edge.any() for edge in (filled[0], filled[-1], filled[:, 0], filled[:, -1])), (
        "some places are never reached"
    )


def test_random_erasing_by_rank_is_a_slice_and_none_is_none():
    images, sizes = torch.randint(0, 255, (8, 64, 32, 3), dtype=torch.uint8), torch.tensor([[32, 64]] * 8)
    whole = random_area_crop(images, sizes, draws(0, 1), erasing=0.7)
    halves = [random_area_crop(images[4 * r : 4 * r + 4], sizes[:4], draws(0, 1, r, 2), erasing=0.7) for r in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(whole, random_area_crop(images, sizes, draws(0, 1)))
    assert torch.equal(
        random_area_crop(images, sizes, draws(0, 1), erasing=0.0), random_area_crop(images, sizes, draws(0, 1))
    )


def test_an_erased_box_has_the_size_and_place_that_were_drawn():
    """area 0.02 + 0.18 * 0.5 of 64 x 32, ratio 0.3 + 2.7 * 0.25; place 0.5 of the room that is left."""
    given = {"erase box": [0.5, 0.25], "erase place": [0.5, 0.5], "erase": 0.0}

    def draw(purpose, shape):
        return torch.tensor(given[purpose]).expand(shape)

    area, ratio = (0.02 + 0.18 * 0.5) * 64 * 32, 0.3 + 2.7 * 0.25
    tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    top, left = int(0.5 * (64 - tall + 1)), int(0.5 * (32 - wide + 1))
    expected = torch.ones(64, 32)
    expected[top : top + tall, left : left + wide] = 0.485
    assert torch.equal(random_erasing(torch.ones(1, 3, 64, 32), draw, 1.0)[0, 0], expected)
