"""The camera gap by hand, and with models that see one thing alone: colour, or where it is."""

import numpy as np
import pytest
import torch

from reid_da import sampling
from reid_da.augment import normalise, random_area_crop
from reid_da.camera_gap import cropped_and_mirrored, feature_gap, other_camera_share


def test_by_hand():
    """Copies at a right angle (2), the same direction (0), the opposite one (4), and at 60 degrees (2 - 2 * 0.5 = 1)."""
    real = [[1, 0], [0, 2]]
    copies = [[[0, 5], [3, 0]], [[0, -1], [np.sqrt(3), 1]]]
    assert feature_gap(real, copies) == pytest.approx((2 + 0 + 4 + 1) / 4)
    assert feature_gap(real, copies, [[True, False], [False, True]]) == pytest.approx(1.5)
    assert np.isnan(feature_gap(real, copies, np.zeros((2, 2), bool)))
    assert feature_gap(np.array(real) * 7, copies) == feature_gap(real, copies), "lengths do not count"


@pytest.mark.parametrize("copies", [np.ones((3, 2)), np.ones((2, 1, 2)), np.ones((3, 1, 4))])
def test_features_that_do_not_belong_together_are_refused(copies):
    with pytest.raises(ValueError, match=r"found features \(3, 2\) and copies .* expected \(N, D\) and \(N, C, D\)"):
        feature_gap(np.ones((3, 2)), copies)


def colour(inputs: torch.Tensor) -> np.ndarray:
    """A model that ignores position."""
    return inputs.mean(dim=(2, 3)).numpy()


def columns(inputs: torch.Tensor) -> np.ndarray:
    """A model that sees nothing but position: how bright each column is."""
    return inputs.mean(dim=(1, 2)).numpy()


def gaps(embed, images: np.ndarray, styles: np.ndarray, cameras: list[int], seed: int = 0) -> list[float]:
    """crop, flip, style as pipelines/judging.py puts them together."""
    tensors = torch.from_numpy(images), torch.tensor([[8, 16]] * len(images))
    both = cropped_and_mirrored(*tensors, sampling.draws(seed, 0))
    styled = np.stack([embed(normalise(torch.from_numpy(styles[:, k]))) for k in range(styles.shape[1])], axis=1)
    real, other = embed(normalise(tensors[0])), np.array(cameras)[:, None] != np.arange(styles.shape[1])
    return [*(feature_gap(real, embed(inputs)[:, None]) for inputs in both), feature_gap(real, styled, other)]


def test_a_model_that_ignores_position_minds_neither_crop_nor_mirror_and_one_that_sees_it_does():
    plain = np.empty((2, 16, 8, 3), dtype=np.uint8)
    plain[:] = np.array([[200, 40, 30], [30, 60, 220]])[:, None, None]
    styles = np.stack([plain, plain[..., ::-1]], axis=1)  # camera 1 swaps red and blue
    crop, flip, style = gaps(colour, plain, styles, [0, 0])
    assert (crop, flip) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9)) and style > 1
    assert gaps(colour, plain, styles, [1, 1])[2] == pytest.approx(0, abs=1e-9), "the own camera's style does not count"
    ramp = np.empty((2, 16, 8, 3), dtype=np.uint8)
    ramp[:] = np.linspace(0, 255, 8)[:, None]
    crop, flip, style = gaps(columns, ramp, np.stack([ramp, ramp], axis=1), [0, 1])
    assert flip > crop > 0.001 and style == pytest.approx(0, abs=1e-9)


def test_the_copies_are_a_mirror_to_the_pixel_and_the_trainings_crop_unflipped_by_the_seed():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 16, 8, 3), dtype=np.uint8))
    sizes = torch.tensor([[8, 16]] * 5)
    cropped, mirrored = cropped_and_mirrored(images, sizes, sampling.draws(3, 0))
    assert torch.equal(mirrored, normalise(images).flip(3)) and not torch.equal(mirrored, normalise(images))
    assert torch.equal(cropped, random_area_crop(images, sizes, sampling.draws(3, 0), flip=0))
    assert torch.equal(cropped, cropped_and_mirrored(images, sizes, sampling.draws(3, 0))[0])
    assert not torch.equal(cropped, cropped_and_mirrored(images, sizes, sampling.draws(4, 0))[0])


def test_other_cameras_among_the_nearest_by_hand():
    """On a line at 0, 1, 3, 7: the nearest of 0 is 1, of 1 is 0, of 3 is 1, of 7 is 3."""
    line = [[0.0], [1.0], [3.0], [7.0]]
    share, chance = other_camera_share(line, [0, 0, 1, 1], neighbours=1)
    assert (share, chance) == (pytest.approx(1 / 4), pytest.approx(2 / 3))
    assert other_camera_share(line, [0, 0, 1, 1]) == (pytest.approx(2 / 3), pytest.approx(2 / 3)), "all three others"
    assert other_camera_share(line, [5, 5, 5, 5]) == (0, 0)
    for wrong in ([0, 0, 1], [[0, 0, 1, 1]]):
        with pytest.raises(ValueError, match="expected two images or more"):
            other_camera_share(line, wrong)


def test_two_images_are_enough():
    assert other_camera_share([[0.0], [1.0]], [0, 1]) == (1, 1)
