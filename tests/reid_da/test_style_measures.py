"""Style measures against tables worked by hand: which pair is which cell, what an absent camera gives, what one number says."""

import numpy as np
import pytest

from reid_da.style_measures import (
    CameraStore,
    camera_measure,
    colour_measure,
    colour_moments,
)

nan = np.nan


def test_camera_store_labels_by_camera(world):
    rows = np.array([0, 5, 9])
    some = CameraStore(world.target, rows)
    plain, ours = world.target.take(rows), some.take(np.arange(3))
    assert len(some) == 3 and some.take(np.array([2]))["labels"].tolist() == [world.target.camera_labels[9]]
    assert ours["labels"].tolist() == ours["cameras"].tolist() == world.target.camera_labels[rows].tolist()
    assert (ours["images"] == plain["images"]).all()


def test_camera_by_hand():
    """Images 0, 1 of camera 0, images 2, 3 of camera 1; camera 2 only as a wanted one."""
    cameras = [0, 0, 1, 1]
    real = [0, 1, 1, 1]
    styled = [[0, 1, 2], [0, 0, 0], [0, 1, 1], [1, 0, 2]]
    share, accuracy, ratio = camera_measure(real, styled, cameras)
    np.testing.assert_array_equal(share, [[1, 0.5, 0.5], [0.5, 0.5, 0.5], [nan] * 3])
    np.testing.assert_array_equal(accuracy, [0.5, 1, nan])
    expected = (0.5 + 0.5 - 2 / 3) / (0.5 + 1 - 2 / 3)
    assert ratio == pytest.approx(expected), "camera 2 has no real images to compare with"


def test_the_camera_ratio_gives_wanted_cameras_equal_weight():
    """8 images of camera 0, all told; 2 of camera 1, one told. Styled as well as real: 1, whatever the counts."""
    cameras, real = np.array([0] * 8 + [1] * 2), np.array([0] * 8 + [1, 0])
    styled = np.zeros((10, 2), int)
    styled[:4, 1] = 1  # half of those styled for camera 1 are taken for it; all of those for camera 0
    share, accuracy, ratio = camera_measure(real, styled, cameras)
    assert share[0, 1] == 0.5 and share[1, 0] == 1 and accuracy.tolist() == [1, 0.5] and ratio == 1
    assert camera_measure(real, np.ones((10, 2), int) * [1, 0], cameras)[-1] == -2, "worse than chance"


def test_a_classifier_that_knows_nothing_judges_nothing():
    """It answers always the same, or anything: it would take styles for the wanted camera as often as real images."""
    rng = np.random.default_rng(0)
    cameras = rng.integers(0, 4, 400)
    for real, styled in (
        (np.zeros(400, int), np.zeros((400, 4), int)),
        (rng.integers(0, 4, 400), rng.integers(0, 4, (400, 4))),
    ):
        assert np.isnan(camera_measure(real, styled, cameras)[-1])


@pytest.mark.parametrize("cameras", [[0, 0], [1, 1]])
def test_a_single_camera_has_nothing_to_compare(cameras):
    _, _, ratio = camera_measure(cameras, [[0, 1], [0, 1]], cameras)
    assert np.isnan(ratio)


def plain(colour, deviation=0):
    """A 2x2 image of that grey, half of its pixels above and half below by `deviation`."""
    image = np.full((2, 2, 3), colour)
    return (image + np.array([deviation, -deviation])[:, None, None]).astype(np.uint8)


def test_colour_moments_of_every_image():
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 4, 3, 3), dtype=np.uint8)
    moments = colour_moments(images)
    assert moments.shape == (5, 2, 2, 3)
    np.testing.assert_allclose(moments[3, 1, 0], images[3, 1].reshape(-1, 3).mean(axis=0))
    np.testing.assert_allclose(moments[3, 1, 1], (images[3, 1].reshape(-1, 3) ** 2.0).mean(axis=0))
    with pytest.raises(ValueError, match="float64 .*expected uint8"):
        colour_moments(images / 255)


def test_colour_by_hand():
    """Camera 0 is 100, camera 1 is 200, camera 2 has no images; own copies are never counted."""
    real = [plain(90), plain(110), plain(200, 10)]
    styled = [[plain(0), plain(180), plain(0)], [plain(0), plain(200), plain(0)], [plain(100, 10), plain(0), plain(0)]]
    moved, ratio = colour_measure(colour_moments(real), colour_moments(styled), [0, 0, 1])
    # means 100 and 200, deviations 10 and 10 (between images there, within here): way = 100 sqrt 3 in both directions
    np.testing.assert_allclose(moved, [[nan, 0.9, nan], [1, nan, nan], [nan] * 3], atol=1e-12)
    assert ratio == pytest.approx(0.95)


def test_colour_deviations_are_over_all_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 4, 3, 3), dtype=np.uint8)
    styled = rng.integers(0, 256, (12, 2, 4, 3, 3), dtype=np.uint8)
    cameras = np.arange(12) % 2
    moved, _ = colour_measure(colour_moments(images), colour_moments(styled), cameras)

    def look(some):
        pixels = some.reshape(-1, 3).astype(float)
        return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])

    own = [look(images[cameras == i]) for i in (0, 1)]
    left = np.linalg.norm(look(styled[cameras == 0, 1]) - own[1])
    assert moved[0, 1] == pytest.approx(1 - left / np.linalg.norm(own[0] - own[1]))


def test_copies_move_nothing_and_true_images_all():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 200, (2, 6, 4, 3, 3), dtype=np.uint8)
    second += 50
    real = np.concatenate([first, second])
    cameras = [0] * 6 + [1] * 6
    copies = np.stack([real, real], axis=1)
    moved, ratio = colour_measure(colour_moments(real), colour_moments(copies), cameras)
    assert moved[0, 1] == moved[1, 0] == ratio == 0
    swapped = np.stack([np.concatenate([first, first]), np.concatenate([second, second])], axis=1)
    assert colour_measure(colour_moments(real), colour_moments(swapped), cameras)[1] == 1


def test_cameras_that_look_alike_give_no_share():
    moments = colour_moments([plain(100), plain(100)])
    moved, ratio = colour_measure(moments, np.stack([moments] * 2, axis=1), [0, 1])
    assert np.isnan(moved).all() and np.isnan(ratio)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"real is \(3,\) for 2"):
        camera_measure([0, 1, 0], [[0, 1], [0, 1]], [0, 1])
    with pytest.raises(ValueError, match=r"styled is \(2,\)"):
        camera_measure([0, 1], [0, 1], [0, 1])
    with pytest.raises(ValueError, match="cameras 0 to 2; expected 0 to 1"):
        camera_measure([0, 1], [[0, 1], [0, 1]], [0, 2])
