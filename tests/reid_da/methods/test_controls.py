"""Rows that learn nothing: chance scores near chance, histograms tell colours apart and nothing else."""

import numpy as np
import pytest
import torch

from reid_da.augment import normalise
from reid_da.methods.controls import Chance, Histogram


def pictures(*colours) -> torch.Tensor:
    return normalise(torch.tensor(colours, dtype=torch.uint8)[:, None, None].expand(-1, 12, 6, 3))


def test_a_histogram_by_hand():
    """Two stripes, two bins a channel: the upper stripe half red and half blue, the lower one white."""
    image = np.full((4, 2, 3), 255, dtype=np.uint8)
    image[:2, 0], image[:2, 1] = (255, 0, 0), (0, 0, 255)
    features = Histogram(stripes=2, bins=2).embed(normalise(torch.from_numpy(image[None])))
    expected = torch.zeros(16)
    expected[4], expected[1], expected[8 + 7] = 0.5**0.5, 0.5**0.5, 1  # cells r g b as binary digits
    assert torch.allclose(features[0], expected / 2**0.5, atol=1e-6)


def test_histograms_tell_colours_apart():
    red, dark_red, blue = Histogram().embed(pictures((250, 10, 10), (240, 20, 20), (10, 10, 250)))
    assert torch.dist(red, dark_red) < 1e-6 < 1 < torch.dist(red, blue)


@pytest.mark.parametrize("options", [{"stripes": 0}, {"bins": 0}])
def test_out_of_range(options):
    with pytest.raises(ValueError, match="at least 1"):
        Histogram(**options)


def test_chance_repeats_for_a_picture_and_knows_nothing_of_it():
    images = pictures((1, 2, 3), (1, 2, 4), (200, 100, 50))
    torch.manual_seed(0)
    chance, other = Chance(), Chance()
    features = chance.embed(images)
    assert torch.equal(features[1:2], chance.embed(images[1:2])) and not torch.equal(features, other.embed(images))
    assert torch.allclose(features.norm(dim=1), torch.ones(3))
    assert (features @ features.T - torch.eye(3)).abs().max() < 0.6
