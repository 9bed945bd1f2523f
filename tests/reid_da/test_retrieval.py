import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from reid_da.retrieval import clusters, embed, index, nearest


class Colours(nn.Module):
    """Mean colour through a BatchNorm whose training flag is frozen, and a Dropout: both show a wrong mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3).eval()
        self.dropout = nn.Dropout(0.5)

    def embed(self, images):
        assert not torch.is_grad_enabled()
        return self.dropout(self.norm(images.mean((2, 3))))


class Store:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)


def to_input(images):
    assert images.dtype == torch.uint8
    return images.permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def store(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 6, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return Store(np.load(tmp_path / "images.npy", mmap_mode="r"))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_features_are_those_of_each_image_in_order(store, batch_size):
    features = embed(Colours(), store, to_input, batch_size=batch_size)
    expected = torch.from_numpy(store.images.mean((1, 2)) / 255 / np.sqrt(1 + 1e-5)).float()
    assert features.dtype == torch.float32 and features.device.type == "cpu" and not features.is_inference()
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_rows_are_taken_in_the_order_given(store):
    whole = embed(Colours(), store, to_input)
    rows = [7, 3, 22, 3]
    torch.testing.assert_close(embed(Colours(), store, to_input, batch_size=3, rows=rows), whole[rows])


def test_low_precision_features_come_back_as_float32(store):
    method = Colours()
    features = embed(SimpleMethod(lambda images: method.eval().embed(images).bfloat16()), store, to_input)
    assert features.dtype == torch.float32


class SimpleMethod(nn.Module):
    def __init__(self, embed):
        super().__init__()
        self.embed = embed


def test_training_flags_of_every_module_are_put_back(store):
    method = Colours()
    method.train()
    method.norm.eval()
    embed(method, store, to_input)
    assert (method.training, method.norm.training, method.dropout.training) == (True, False, True)
    with pytest.raises(ZeroDivisionError):
        embed(method, store, lambda images: 1 / 0)
    assert (method.training, method.norm.training, method.dropout.training) == (True, False, True)


@pytest.mark.parametrize("rows", [[], [23], [-1], [-1, 0], [22, 23], [0.5], [[1]]])
def test_rows_outside_the_store_are_refused(store, rows):
    with pytest.raises(ValueError, match=r"expected one or more integers in 0\.\.22"):
        embed(Colours(), store, to_input, rows=rows)


def test_features_that_are_no_matrix_are_refused(store):
    with pytest.raises(ValueError, match="expected"):
        embed(SimpleMethod(lambda images: images), store, to_input)


def test_nearest_are_the_smallest_euclidean_distances():
    pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(50, 8, generator=generator), torch.randn(6, 8, generator=generator)
    distances, rows = nearest(index(gallery), queries.numpy(), 7)
    expected, expected_rows = torch.cdist(queries.double(), gallery.double()).topk(7, largest=False)
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(rows, expected_rows)
    assert nearest(index(gallery), gallery, 1)[1].flatten().tolist() == list(range(50))


def test_index_refuses_what_it_cannot_search():
    pytest.importorskip("faiss")
    gallery = torch.ones(5, 8)
    for features, k in [(torch.ones(2, 8), 6), (torch.ones(2, 8), 0), (torch.ones(2, 7), 1), (torch.ones(8), 1)]:
        with pytest.raises(ValueError, match="expected"):
            nearest(index(gallery), features, k)
    with pytest.raises(ValueError, match="finite"):
        index(torch.full((2, 3), torch.nan))


@pytest.mark.slow
def test_faiss_is_imported_on_use_only():
    code = "import sys, reid_da.retrieval, reid_da.ranking; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_clusters_are_found_again_and_are_the_same_for_a_seed():
    centres = 10 * torch.eye(4, 8)
    rows = torch.cat(
        [centre + 0.1 * torch.randn(50, 8, generator=torch.Generator().manual_seed(3)) for centre in centres]
    )
    found = clusters(rows, 4, seed=1)
    assert found.shape == (200,) and found.dtype == np.int64
    groups = found.reshape(4, 50)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 4
    assert (found == clusters(rows.numpy(), 4, seed=1)).all()
    assert sorted(clusters(rows[::50], 4)) == [0, 1, 2, 3], "as many clusters as rows"


@pytest.mark.parametrize("count", [0, 5])
def test_clusters_that_cannot_be_are_refused(count):
    with pytest.raises(ValueError, match=f"found {count} clusters of 4 rows; expected 1 to 4"):
        clusters(torch.eye(4), count)
