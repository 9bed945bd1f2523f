"""Stores of images with their camera-styled copies."""

import numpy as np
import pytest
import torch

from reid_da.images import StyledStore


def test_styled_store_puts_each_image_before_its_own_copies(world):
    store = StyledStore(world.target, world.styles, first_label=100)
    rows = np.array([5, 0, 9])
    taken, num_cameras = store.take(rows), world.target.num_cameras
    assert taken["images"].shape == (27, 32, 16, 3) and taken["images"].dtype == torch.uint8
    for place, row in enumerate(rows):
        block = slice(9 * place, 9 * place + 9)
        np.testing.assert_array_equal(taken["images"][block][0], world.target.images[row])
        np.testing.assert_array_equal(taken["images"][block][1:], world.styles[row])
        assert taken["labels"][block].tolist() == [100 + row] * 9
        own = world.target.camera_labels[row].item()
        assert taken["cameras"][block].tolist() == [own, *range(num_cameras)]
        assert taken["sizes"][block].tolist() == [world.target.sizes[row].tolist()] * 9
    assert all(taken[name].dtype == torch.int64 for name in ("labels", "cameras", "sizes"))


def test_copies_made_at_a_size_of_their_own_are_cropped_by_it(world):
    store = StyledStore(world.target, world.styles, first_label=100, size=(16, 32))
    sizes = store.take(np.array([5, 0]))["sizes"].reshape(2, 9, 2)
    assert sizes[:, 0].tolist() == world.target.sizes[[5, 0]].tolist()
    assert (sizes[:, 1:] == torch.tensor([16, 32])).all()
    assert (store.take(np.array([5]))["sizes"][0] == torch.tensor(world.target.sizes[5])).all(), "the store's stay"


def test_styles_of_other_images_are_refused(world):
    for styles in (world.styles[:-1], world.styles[:, :, :16], world.styles[:, 0]):
        with pytest.raises(ValueError, match="do not belong to images .*expected .*N, K, H, W, 3"):
            StyledStore(world.target, styles, first_label=0)
