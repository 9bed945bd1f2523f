"""Styles of whole arrays of images: which camera lands where, and the pixels' rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from gan.networks import Generator
from gan.translate import translate, translated


class Dim(nn.Module):
    """Camera k multiplies by 1 - k / 2; camera 3 goes out of range."""

    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([1.0, 0.5, 0.0, 3.0]))

    def forward(self, images, cameras):
        return images * self.factors[cameras][:, None, None, None]


def pixels(count, height=4, width=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, height, width, 3), generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_each_image_in_each_cameras_style(batch_size):
    images = pixels(5)
    styled = translate(Dim(), images, 4, batch_size=batch_size)
    assert styled.shape == (5, 4, 4, 4, 3) and styled.dtype == torch.uint8
    for i in range(5):
        for k, factor in enumerate([1.0, 0.5, 0.0, 3.0]):
            exact = (images[i].double() / 127.5 - 1) * factor
            expected = ((exact + 1) * 127.5).clamp(0, 255)
            assert (styled[i, k].double() - expected).abs().max() <= 0.5 + 1e-4


def test_an_unchanged_image_comes_back_to_the_bit():
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    assert torch.equal(translate(Dim(), every_value, 1)[:, 0], every_value)


def test_a_result_does_not_depend_on_the_rest_of_its_batch():
    torch.manual_seed(0)
    generator, images = Generator(3, channels=8, num_blocks=1), pixels(4, 16, 8)
    alone = torch.cat([translate(generator, images[i : i + 1], 3, batch_size=1) for i in range(4)])
    together = translate(generator, images, 3, batch_size=12)
    assert (alone.int() - together.int()).abs().max() <= 1
    assert (alone != together).float().mean() < 0.01  # of pixels on the edge of rounding
    assert (alone[:, 0].int() - alone[:, 1].int()).abs().max() > 3


def test_reads_a_memory_mapped_array(tmp_path):
    images = pixels(3)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert torch.equal(translate(Dim(), mapped, 4, batch_size=5), translate(Dim(), images, 4, batch_size=5))


class Counted:
    """Images that count how often each is read."""

    def __init__(self, images):
        self.images, self.reads = images, [0] * len(images)
        self.dtype, self.ndim, self.shape = images.dtype, images.ndim, images.shape

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        for row in rows:
            self.reads[row] += 1
        return self.images[rows]


def test_in_pieces_it_is_the_same_and_an_image_is_read_once_for_all_its_styles():
    images = Counted(pixels(6))
    parts = list(translated(Dim(), images, 4, batch_size=8))
    assert [len(part) for part in parts] == [8, 8, 8] and images.reads == [1] * 6
    assert torch.equal(torch.cat(parts), translate(Dim(), images.images, 4, batch_size=8).flatten(0, 1))


def test_pieces_are_made_as_they_are_asked_for():
    images = Counted(pixels(6))
    parts = translated(Dim(), images, 4, batch_size=4)
    next(parts)
    assert images.reads == [1, 1, 0, 0, 0, 0], "one is ahead"


def test_no_images_give_no_styles():
    assert translate(Dim(), pixels(0), 4).shape == (0, 4, 4, 4, 3)


def test_refuses_what_is_not_pixels():
    with pytest.raises(ValueError, match="float32"):
        translate(Dim(), pixels(2).float(), 4)
    with pytest.raises(ValueError, match="expected uint8"):
        translate(Dim(), pixels(2).permute(0, 3, 1, 2), 4)
    with pytest.raises(ValueError, match="batch_size=0"):
        translate(Dim(), pixels(2), 4, batch_size=0)
