import numpy as np
import pytest
import torch

from reid_da.distances import euclidean
from reid_da.protocol import protocol
from reid_da.ranking import ROWS, _ranks_in_block, _ranks_in_row, evaluate, rank_metrics


def slow_rank_metrics(distances, query_persons, query_cameras, gallery_persons, gallery_cameras):
    """The Market-1501 protocol item by item; among equal distances true matches come last. cmc, mAP, trapezoid, mINP."""
    firsts, aps, trapezoids, inps = [], [], [], []
    for row, person, camera in zip(distances, query_persons, query_cameras, strict=True):
        items = [
            (distance, p == person)
            for distance, p, c in zip(row, gallery_persons, gallery_cameras, strict=True)
            if p != -1 and not (p == person and c == camera)
        ]
        hits = [right for _, right in sorted(items)]  # False sorts before True
        if person == -1 or not any(hits):
            continue
        found, ap, trapezoid, old_precision = 0, 0.0, 0.0, 1.0
        for rank, right in enumerate(hits, 1):
            found += right
            precision = found / rank
            ap += right * precision / sum(hits)
            trapezoid += right * (old_precision + precision) / 2 / sum(hits)
            old_precision = precision
        aps.append(ap)
        trapezoids.append(trapezoid)
        firsts.append(hits.index(True) + 1)
        inps.append(sum(hits) / (len(hits) - hits[::-1].index(True)))
    cmc = [np.mean([first <= rank for first in firsts]) for rank in range(1, max(50, len(gallery_persons)) + 1)]
    return cmc, np.mean(aps), np.mean(trapezoids), np.mean(inps), len(aps)


def assert_same(metrics, expected, tolerance=1e-12):
    cmc, mean_ap, trapezoid, inp, num_valid = expected
    np.testing.assert_allclose(metrics.cmc, cmc, rtol=0, atol=tolerance)
    assert metrics.mAP == pytest.approx(mean_ap, abs=tolerance)
    assert metrics.mAP_trapezoid == pytest.approx(trapezoid, abs=tolerance)
    assert metrics.mINP == pytest.approx(inp, abs=tolerance)
    assert metrics.num_valid_queries == num_valid


def network(num_queries, num_gallery, seed, persons=12, cameras=4):
    """Random persons (-1 and 0 too in the gallery) and cameras."""
    draw = np.random.default_rng(seed)
    return (
        draw.integers(1, persons + 3, num_queries),  # some have no match
        draw.integers(0, cameras, num_queries),
        draw.integers(-1, persons, num_gallery),
        draw.integers(0, cameras, num_gallery),
    )


def test_metrics_by_hand():
    """Three queries of persons 1, 2, 3, all in camera 0, before five gallery items.

    item             a    b    c    d    e
    person, camera   1,1  2,1  1,0  1,2  2,2
    query 1          .2   .1   .0   .3   .4    c is out (same person and camera): b a d e, matches at ranks 2, 3
    query 2          .1   .5   .2   .3   .0    e a c d b: matches at ranks 1, 5
    query 3          no match: skipped

    AP: (1/2 + 2/3) / 2 = 7/12 and (1 + 2/5) / 2 = 7/10. Trapezoid, with the precision before each match 0, 1/2 and 1, 1/4:
    (1/4 + 7/12) / 2 = 5/12 and (1 + 13/40) / 2 = 53/80. mINP: 2/3 and 2/5.
    """
    distances = [[0.2, 0.1, 0.0, 0.3, 0.4], [0.1, 0.5, 0.2, 0.3, 0.0], [0.1, 0.2, 0.3, 0.4, 0.5]]
    metrics = rank_metrics(np.array(distances), [1, 2, 3], [0, 0, 0], [1, 2, 1, 1, 2], [1, 1, 0, 2, 2])
    assert metrics.mAP == pytest.approx((7 / 12 + 7 / 10) / 2)
    assert metrics.mAP_trapezoid == pytest.approx((5 / 12 + 53 / 80) / 2)
    assert metrics.mINP == pytest.approx((2 / 3 + 2 / 5) / 2)
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 2)
    assert metrics.cmc[:4].tolist() == [0.5, 1, 1, 1]
    assert [metrics.rank(k) for k in (1, 2, 5, 1000)] == [0.5, 1, 1, 1]
    with pytest.raises(ValueError, match="ranks count from 1"):
        metrics.rank(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [2, 7, None])
def test_metrics_follow_the_protocol(seed, levels):
    """levels: so many different distances only, i.e. ties everywhere."""
    ids = network(40, 120, seed)
    draw = np.random.default_rng(seed + 100)
    distances = draw.standard_normal((40, 120)) if levels is None else draw.integers(0, levels, (40, 120))
    assert_same(rank_metrics(distances, *ids), slow_rank_metrics(distances, *ids))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("levels", "junk"), [(2, 0), (30, 9), (None, 0)])
def test_ranks_of_a_block_are_those_of_its_rows(seed, levels, junk):
    """What a GPU does at once beside what the CPU does in turn; near matches, which are sorted, and far ones, counted."""
    ids = network(24, 200, seed)
    ids[2][: 200 * junk // 10] = -1
    who = protocol(*ids, (24, 200))
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((24, 200)) if levels is None else draw.integers(0, levels, (24, 200)).astype(float)
    rows -= (ids[0][:, None] == ids[2]) * draw.integers(0, 3, (24, 1))
    valid = np.flatnonzero(who.num_matches)
    expected = np.concatenate([_ranks_in_row(rows[query], query, who) for query in valid])
    assert (_ranks_in_block(torch.from_numpy(rows[valid]), valid, who) == expected).all()
    assert_same(rank_metrics(rows, *ids), slow_rank_metrics(rows, *ids))


def test_ties_put_true_matches_last_wherever_they_stand():
    for persons in ([1, 1, 2, 2, 3], [2, 3, 2, 1, 1]):
        metrics = rank_metrics(torch.zeros(1, 5), [1], [0], persons, [1] * 5)
        assert metrics.cmc[:5].tolist() == [0, 0, 0, 1, 1]
        assert metrics.mAP == pytest.approx((1 / 4 + 2 / 5) / 2)


def test_tied_true_matches_do_not_harm_each_other():
    metrics = rank_metrics(torch.tensor([[0.1, 0.1, 0.2]]), [1], [0], [1, 1, 2], [1, 2, 1])
    assert (metrics.rank(1), metrics.mAP, metrics.mAP_trapezoid, metrics.mINP) == (1, 1, 1, 1)


def test_junk_is_ignored_and_distractors_are_wrong():
    distances = torch.tensor([[0.1, 0.2, 0.3]])
    assert rank_metrics(distances, [7], [0], [-1, 7, 0], [1, 1, 1]).rank(1) == 1
    assert rank_metrics(distances, [7], [0], [0, 7, -1], [1, 1, 1]).rank(1) == 0
    assert rank_metrics(distances, [7], [0], [-1, -1, 7], [0, 0, 1]).mAP == 1


def test_curve_goes_on_flat_beyond_a_small_gallery():
    metrics = rank_metrics(torch.tensor([[0.2, 0.1]]), [1], [0], [1, 2], [1, 1])
    assert len(metrics.cmc) == 50
    assert metrics.cmc[0] == 0 and (metrics.cmc[1:] == 1).all()


def test_tensors_arrays_and_lists_of_any_type_agree():
    ids = network(20, 60, 5)
    distances = torch.rand(20, 60, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = slow_rank_metrics(distances.double().numpy(), *ids)
    tensors = [torch.from_numpy(v) for v in ids]
    for given in (distances, distances.float(), distances.double(), distances.float().numpy(), distances.tolist()):
        assert_same(rank_metrics(given, *ids), expected)
        assert_same(rank_metrics(given, *tensors), expected)
    small = [v.astype(np.int16) for v in ids]
    assert_same(rank_metrics(distances.requires_grad_(), *small), expected)
    read_only = distances.detach().float().numpy()
    read_only.flags.writeable = False
    assert_same(rank_metrics(read_only, *ids), expected)


def test_inputs_are_left_as_they_were():
    ids = network(20, 60, 6)
    distances = torch.rand(20, 60, generator=torch.Generator().manual_seed(1))
    before = distances.clone()
    rank_metrics(distances, *ids)
    assert torch.equal(distances, before)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluate_is_rank_metrics_of_euclidean_distances(dtype):
    """More queries than one block, and features far from normalised."""
    ids = network(ROWS + 30, 60, 7)
    generator = torch.Generator().manual_seed(2)
    queries, gallery = (3 * torch.randn(n, 16, generator=generator, dtype=dtype) for n in (ROWS + 30, 60))
    expected = slow_rank_metrics(torch.cdist(queries.double(), gallery.double()).numpy(), *ids)
    query_persons, query_cameras, gallery_persons, gallery_cameras = ids
    arguments = (query_persons, query_cameras, gallery, gallery_persons, gallery_cameras)
    assert_same(evaluate(queries, *arguments), expected, tolerance=1e-4 if dtype == torch.float32 else 1e-12)
    whole = rank_metrics(euclidean(queries, gallery), *ids)
    assert evaluate(queries.numpy(), *arguments).mAP == pytest.approx(whole.mAP, abs=1e-4)


def test_a_collapsed_model_is_worth_little():
    ids = network(50, 100, 8)
    query_persons, query_cameras, gallery_persons, gallery_cameras = ids
    metrics = evaluate(
        torch.ones(50, 32), query_persons, query_cameras, torch.ones(100, 32), gallery_persons, gallery_cameras
    )
    assert_same(metrics, slow_rank_metrics(np.zeros((50, 100)), *ids))
    assert metrics.rank(20) == 0


def test_no_valid_query_is_explained():
    distances = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))
    with pytest.raises(
        ValueError, match="none of 3 queries .* 1 persons are in query and gallery, and their 2 queries"
    ):
        rank_metrics(distances, [1, 1, 2], [0, 0, 0], [1, 1, 3, -1], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="none of 3 queries .* 0 persons"):
        rank_metrics(distances, [-1, -1, -1], [0, 0, 0], [-1, -1, -1, -1], [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"distances": torch.rand(2, 4)}, "expected as many"),
        ({"distances": torch.rand(3)}, "expected as many"),
        ({"distances": torch.full((3, 4), torch.nan)}, "NaN or infinite"),
        ({"query_persons": [1, 2]}, "query persons and cameras"),
        ({"gallery_cameras": [0.5, 1.0, 2.0, 3.0]}, "expected integers"),
        ({"gallery_persons": [1, 2, -2, 3]}, "found gallery person -2"),
    ],
)
def test_wrong_arguments_are_refused(changed, message):
    arguments = {
        "distances": torch.zeros(3, 4),
        "query_persons": [1, 2, 3],
        "query_cameras": [0, 0, 0],
        "gallery_persons": [1, 2, 3, 0],
        "gallery_cameras": [1, 1, 1, 1],
    }
    rank_metrics(**arguments)
    with pytest.raises(ValueError, match=message):
        rank_metrics(**(arguments | changed))


def test_features_that_are_not_finite_are_refused():
    features = torch.ones(3, 4)
    features[1, 2] = torch.nan
    with pytest.raises(ValueError, match="1 of 3 rows of the second features"):
        evaluate(torch.ones(1, 4), [1], [0], features, [1, 2, 3], [1, 1, 1])


@pytest.mark.parametrize("seed", range(3))
def test_matches_of_the_queries_own_camera_count_on_demand(seed):
    ids = network(20, 60, seed)
    distances = np.random.default_rng(seed).random((20, 60))
    apart = (ids[0], np.full(20, -1), *ids[2:])  # no gallery image is of the query's camera
    assert_same(rank_metrics(distances, *ids, same_camera=True), slow_rank_metrics(distances, *apart))


def test_one_camera_alone_is_judged_on_demand():
    features = np.eye(3, dtype=np.float32)
    ids = [1, 2, 3], [5, 5, 5]
    with pytest.raises(ValueError, match="only in the query's own camera"):
        evaluate(features, *ids, features, *ids)
    metrics = evaluate(features, *ids, features, *ids, same_camera=True)
    assert (metrics.mAP, metrics.num_valid_queries) == (1, 3)


def test_single_shot_by_hand():
    """Query of person 1, camera 0. Matches at .1 and .5; person 2 at .2; person 3 at .3 and .05; junk and the own camera nearer.

    Of .1 and .3, or .1 and .05, or .5 with either, all equally often: ranks 1, 2, 3, 3; 1/rank in the mean (1 + 1/2 + 2/3) / 4.
    """
    distances = np.array([[0.1, 0.5, 0.2, 0.3, 0.05, 0.0, 0.0]])
    gallery = [1, 1, 2, 3, 3, -1, 1], [1, 2, 0, 1, 2, 1, 0]
    metrics = rank_metrics(distances, [1], [0], *gallery, single_shot=20_000)
    assert metrics.cmc[:3] == pytest.approx([0.25, 0.5, 1], abs=0.015) and metrics.num_valid_queries == 1
    assert metrics.mAP == metrics.mINP == pytest.approx((1 + 1 / 2 + 2 / 3) / 4, abs=0.01)
    again = rank_metrics(distances, [1], [0], *gallery, single_shot=20_000)
    other = rank_metrics(distances, [1], [0], *gallery, single_shot=20_000, seed=1)
    assert again.mAP == metrics.mAP != other.mAP


def test_single_shot_is_the_whole_gallery_where_each_person_has_one_image():
    draw = np.random.default_rng(0)
    ids = np.arange(1, 31), np.zeros(30, int), np.arange(1, 31), np.ones(30, int)
    distances = np.round(draw.random((30, 30)), 1)  # ties
    whole, drawn = rank_metrics(distances, *ids), rank_metrics(distances, *ids, single_shot=3)
    assert drawn.mAP == pytest.approx(whole.mAP) and drawn.cmc == pytest.approx(whole.cmc)
    with pytest.raises(ValueError, match="expected a number of draws"):
        rank_metrics(distances, *ids, single_shot=-1)


@pytest.mark.parametrize("single_shot", [0, 3])
def test_blocks_change_nothing_even_where_one_has_no_valid_query(monkeypatch, single_shot):
    draw = np.random.default_rng(0)
    persons, cameras = draw.integers(1, 5, 14), draw.integers(0, 3, 14)
    persons[3:9] = 99  # the second block of three, and the third
    ids = persons, cameras, draw.integers(-1, 5, 60), draw.integers(0, 3, 60)
    distances = draw.random((14, 60))
    whole = rank_metrics(distances, *ids, single_shot=single_shot)
    monkeypatch.setattr("reid_da.ranking.ROWS", 3)
    parts = rank_metrics(distances, *ids, single_shot=single_shot)
    assert (parts.cmc == whole.cmc).all() and (parts.mAP, parts.mINP) == (whole.mAP, whole.mINP)
    assert parts.num_valid_queries == whole.num_valid_queries < 14
