import numpy as np
import pytest
import torch

from reid_da.ranking import k_reciprocal_rerank, rank_metrics
from reid_da.reranking import _neighbours


def slow_rerank(queries, gallery, k1, k2, lambda_value):
    """The algorithm of Zhong et al. (CVPR 2017) with dense matrices and loops over images, in float64."""
    x = np.concatenate([queries, gallery]).astype(np.float64)
    n, num_queries = len(x), len(queries)
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    original = squared / squared.max(1, keepdims=True)
    order = np.argsort(original, axis=1, kind="stable")

    def reciprocal(i, k):
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    v = np.zeros((n, n))
    for i in range(n):
        near = reciprocal(i, k1)
        members = set(near)
        for j in near:
            other = reciprocal(j, int(np.around(k1 / 2)))
            if len(other & near) > 2 / 3 * len(other):
                members |= other
        members = sorted(members)
        v[i, members] = np.exp(-original[i, members])
        v[i] /= v[i].sum()
    v = np.stack([v[order[i, :k2]].mean(0) for i in range(n)])
    shared = np.minimum(v[:num_queries, None], v[None, num_queries:]).sum(2)
    jaccard = 1 - shared / (2 - shared)
    return (1 - lambda_value) * jaccard + lambda_value * original[:num_queries, num_queries:]


def clusters(num_persons, num_images, dim, seed, spread=0.6, dtype=torch.float32):
    """Normalised features of num_images images of some persons, and their persons."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_persons, dim, generator=generator, dtype=torch.float64)
    persons = torch.randint(num_persons, (num_images,), generator=generator)
    noise = torch.randn(num_images, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(centres[persons] + spread * noise).to(dtype), persons


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"),
    [(20, 6, 0.3), (20, 1, 0.3), (7, 3, 0.0), (5, 2, 0.5), (1, 1, 0.1), (4, 9, 0.3), (6, 3, 1)],
)
def test_rerank_follows_the_algorithm(k1, k2, lambda_value, dtype):
    features, _ = clusters(12, 150, 8, seed=k1, spread=0.8, dtype=dtype)
    result = k_reciprocal_rerank(features[:37], features[37:], k1, k2, lambda_value)
    expected = slow_rerank(features[:37].double().numpy(), features[37:].double().numpy(), k1, k2, lambda_value)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


AUTHORS = {  # (k1, k2, lambda) -> the fourth query's first nine distances, the mean of all, and their sum times cos(0), cos(1), ...
    (20, 6, 0.3): ([0.82053, 0.2261, 0.92386, 0.91823, 0.83024, 0.60428, 0.93335, 0.77252, 0.94344], 0.734217, -5.2491),
    (8, 3, 0.3): ([0.85146, 0.18595, 0.9269, 0.91823, 0.86526, 0.76964, 0.93335, 0.85235, 0.94344], 0.821233, -8.788),
    (5, 1, 0.0): ([1.0, 0.48422, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.979738, -9.3714),
    (7, 2, 0.6): ([0.70292, 0.18595, 0.85379, 0.83647, 0.73052, 0.53928, 0.86671, 0.70469, 0.88689], 0.696666, -4.7367),
}


@pytest.mark.parametrize("options", AUTHORS)
def test_rerank_gives_the_authors_numbers(options):
    """What zhunzhong07/person-re-ranking's re_ranking_ranklist.py (f952e80) gave for the Euclidean distances of these features."""
    images, columns = np.arange(120)[:, None], np.arange(8)
    features = np.sin(1.7 * (images % 9) + 2.3 * columns) + 0.9 * np.sin(78.2 * images + 12.9 * columns * images)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = k_reciprocal_rerank(features[:20], features[20:], *options)
    some, mean, signed = AUTHORS[options]
    assert np.abs(found[3, :9] - some).max() < 1e-4
    assert abs(found.mean() - mean) < 1e-4
    assert abs((found * np.cos(np.arange(found.size)).reshape(found.shape)).sum() - signed) < 5e-3


def test_blocks_change_nothing(monkeypatch):
    features, _ = clusters(10, 100, 16, seed=1, dtype=torch.float64)
    whole = k_reciprocal_rerank(features[:45], features[45:])
    monkeypatch.setattr("reid_da.reranking.ROWS", 17)
    torch.testing.assert_close(k_reciprocal_rerank(features[:45], features[45:]), whole, rtol=0, atol=1e-12)


def test_rerank_of_fewer_images_than_neighbours():
    features, _ = clusters(3, 12, 4, seed=2, dtype=torch.float64)
    queries, gallery = features[:5].numpy(), features[5:].numpy()
    result = k_reciprocal_rerank(queries, gallery)
    assert isinstance(result, np.ndarray)
    np.testing.assert_allclose(result, slow_rerank(queries, gallery, 20, 6, 0.3), rtol=0, atol=1e-12)


def test_rerank_of_equal_features_is_finite():
    result = k_reciprocal_rerank(torch.ones(4, 8), torch.ones(9, 8))
    assert result.isfinite().all()


def test_rerank_betters_a_ranking_of_clusters():
    features, persons = clusters(15, 300, 16, seed=3, spread=1.0)
    cameras = torch.arange(300) % 5
    ids = (persons[:60], cameras[:60], persons[60:], cameras[60:])
    plain = rank_metrics(torch.cdist(features[:60], features[60:]), *ids)
    reranked = rank_metrics(k_reciprocal_rerank(features[:60], features[60:]), *ids)
    assert reranked.mAP > plain.mAP + 0.05


@pytest.mark.parametrize("wrong", [{"k1": 0}, {"k2": 0}, {"lambda_value": 1.5}, {"gallery_features": torch.ones(4, 3)}])
def test_wrong_arguments_are_refused(wrong):
    arguments = {"query_features": torch.ones(3, 2), "gallery_features": torch.ones(4, 2)} | wrong
    with pytest.raises(ValueError, match="expected"):
        k_reciprocal_rerank(**arguments)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        k_reciprocal_rerank(torch.full((2, 2), torch.nan), torch.ones(4, 2))


def test_an_image_precedes_its_duplicates_in_its_own_list():
    features = torch.ones(30, 8, dtype=torch.float64)
    _, near, _ = _neighbours(features, 10, 4)
    assert near[:, 0].tolist() == list(range(30))
