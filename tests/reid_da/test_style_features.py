"""Measures of styled images by features, against tables worked by hand and loops written from the definitions."""

from itertools import combinations

import numpy as np
import pytest

from reid_da.distributions import frechet_distance, kernel_distance
from reid_da.ranking import rank_metrics
from reid_da.style_features import (
    cosine_measure,
    distance_measure,
    identity_measure,
    original_measure,
    retrieval_measure,
    truth_measure,
)

nan = np.nan


def line(*places):
    """Features on a line: (N, 1), or (N, K, 1) from nested places."""
    return np.array(places, dtype=np.float32)[..., None]


def test_identity_by_hand():
    """Gallery on a line: person 1 at 0 (camera 1) and at 9 (camera 0), person 2 at 4 (camera 0) and 5 (camera 1)."""
    gallery, persons, cameras = line(0, 9, 4, 5), [1, 1, 2, 2], [1, 0, 0, 1]
    real = line(1, 8)  # person 1 under camera 0: right at once. Person 2 under camera 1: 9 is nearer than 4: AP 1/2
    styled = line(
        [1, 4.1], [5, 9]
    )  # for camera 1 the first has moved to 4.1: behind 4 and 5; the second for camera 0 is right
    kept, whole, ratio = identity_measure(real, styled, [1, 2], [0, 1], gallery, persons, cameras)["mAP"]
    assert whole == (1 + 1 / 2) / 2
    np.testing.assert_allclose(kept, [[1, 1 / 3], [2, 1]])
    assert ratio == pytest.approx((1 / 3 + 1) / (1 + 1 / 2))


def test_identity_ignores_the_original_camera_of_a_styled_query():
    """Styled for camera 1, it still may not be matched within camera 0, where it lies; in camera 1 it finds 6 before 5."""
    kept, whole, ratio = identity_measure(line(0), line([0, 7]), [1], [0], line(7, 6, 5), [1, 1, 2], [0, 1, 1])["mAP"]
    assert whole == 0.5 and kept[0].tolist() == [1, 2] and np.isnan(kept[1]).all() and ratio == 2


def test_identity_is_whole_when_nothing_is_styled():
    """Against reid_da.ranking per camera, with a query that has no match, a distractor and a camera outside the K."""
    rng = np.random.default_rng(0)
    persons, cameras = rng.integers(1, 6, 40), rng.integers(0, 3, 40)
    gallery_persons, gallery_cameras = rng.integers(-1, 6, 60), rng.integers(-1, 3, 60)
    persons[0] = 99
    real, gallery = rng.normal(size=(40, 4)), rng.normal(size=(60, 4))
    kept, whole, ratio = identity_measure(
        real, np.stack([real] * 3, axis=1), persons, cameras, gallery, gallery_persons, gallery_cameras
    )["mAP"]
    distances = np.linalg.norm(real[:, None] - gallery, axis=-1)
    expected = rank_metrics(distances, persons, cameras, gallery_persons, gallery_cameras).mAP
    assert whole == pytest.approx(expected) and ratio == pytest.approx(1)
    np.testing.assert_allclose(kept, 1)


def test_identity_refuses_queries_without_any_match():
    with pytest.raises(ValueError, match="no.* true match"):
        identity_measure(line(0), line([0, 0]), [1], [0], line(0), [2], [1])


def test_retrieval_by_hand():
    """Originals on a line at 0, 10 and 20, under cameras 0, 1 and 1; camera 2 only as a wanted one. Own copies are at nan.

    copy of  for  at    distances to 0, 10, 20   rank of its original
    0        1    4     4  6  16                 1
    0        2    11    11 1  9                  3
    10       0    16    16 6  4                  2
    10       2    12    12 2  8                  1
    20       0    1     1  9  19                 3
    20       2    14    14 4  6                  2
    """
    styled = line([nan, 4, 11], [16, nan, 12], [1, nan, 14])
    score, rank1 = retrieval_measure(line(0, 10, 20), styled, [0, 1, 1])
    assert score == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 + 1 / 3 + 1 / 2) / 6) and rank1 == pytest.approx(2 / 6)
    score, rank1 = retrieval_measure(line(0, 10, 20), styled[:, :2], [0, 1, 1])
    assert score == pytest.approx((1 + 1 / 2 + 1 / 3) / 3) and rank1 == pytest.approx(1 / 3)


def test_retrieval_ties_count_against():
    """Two originals at one place: either's copy finds both, and its own comes last of them."""
    assert retrieval_measure(line(3, 3, 9), line([nan, 3], [nan, 4], [9, nan]), [0, 0, 1]) == (
        (1 / 2 + 1 / 2 + 1) / 3,
        1 / 3,
    )
    assert retrieval_measure(line(0, 2), line([nan, 1], [2, nan]), [0, 1]) == ((1 / 2 + 1) / 2, 1 / 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_retrieval_of_copies_is_whole(kind):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(50, 16)).astype(kind)
    assert retrieval_measure(real, np.stack([real] * 4, axis=1), rng.integers(0, 4, 50)) == (1, 1)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_collapsed_model_retrieves_nothing_whatever_the_order(kind):
    """One feature for all images: 1/N, as for the worst of rankings."""
    rng = np.random.default_rng(0)
    feature = rng.normal(size=128)
    real = np.tile(feature / np.linalg.norm(feature), (300, 1)).astype(kind)
    cameras = rng.integers(0, 3, 300)
    for order in (np.arange(300), np.argsort(cameras), np.argsort(-cameras), rng.permutation(300)):
        score, rank1 = retrieval_measure(real, np.stack([real] * 3, axis=1), cameras[order])
        assert score == pytest.approx(1 / 300, rel=0.1) and rank1 == 0


@pytest.mark.parametrize("places", [None, 4])
def test_retrieval_as_the_definition_says(places):
    """Against loops in float64: features drawn freely, and on a grid so coarse that most distances are ties."""
    rng = np.random.default_rng(1)
    real, styled, cameras = rng.normal(size=(30, 2)), rng.normal(size=(30, 3, 2)), rng.integers(0, 3, 30)
    if places:
        real, styled = (rng.integers(0, places, x.shape).astype(float) for x in (real, styled))
    inverse, first = [], []
    for n in range(30):
        for k in range(3):
            if k != cameras[n]:
                distances = [sum((styled[n, k, d] - other[d]) ** 2 for d in range(2)) for other in real]
                rank = sum(distance <= distances[n] for distance in distances)
                inverse.append(1 / rank)
                first.append(rank == 1)
    score, rank1 = retrieval_measure(real, styled, cameras)
    assert score == pytest.approx(sum(inverse) / len(inverse), abs=1e-12)
    assert rank1 == pytest.approx(sum(first) / len(first), abs=1e-12)
    order = rng.permutation(30)
    assert retrieval_measure(real[order], styled[order], cameras[order]) == pytest.approx((score, rank1), abs=1e-12)


@pytest.mark.parametrize(
    ("real", "styled", "cameras", "expected"),
    [
        ((4, 2), (4, 1, 2), [0, 0, 0, 0], "4 images under 1 cameras; expected images and at least two cameras"),
        ((0, 2), (0, 2, 2), [], "0 images under 2 cameras; expected images"),
        ((3, 2), (4, 2, 2), [0, 1, 0, 1], r"real is \(3, 2\) for 4 cameras of images; expected \(4, ...\)"),
        ((4, 2), (5, 2, 2), [0, 1, 0, 1], r"styled is \(5, 2, 2\) for 4 cameras of images; expected \(4, ...\)"),
        ((4, 2), (4,), [0, 1, 0, 1], r"styled is \(4,\); expected \(N, K, ...\)"),
        ((4, 2), (4, 2), [0, 1, 0, 1], "expected .* with one D"),
        ((4, 2), (4, 2, 3), [0, 1, 0, 1], "expected .* with one D"),
        ((4, 2), (4, 2, 2), [0, 1, 2, 1], "cameras 0 to 2; expected 0 to 1"),
        ((4, 2), (4, 2, 2), [0, 1, -1, 1], "cameras -1 to 1; expected 0 to 1"),
    ],
)
def test_retrieval_refuses_what_does_not_fit(real, styled, cameras, expected):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=expected):
        retrieval_measure(rng.normal(size=real), rng.normal(size=styled), np.array(cameras, dtype=int))


def test_identity_by_rank1():
    """The first table again: at rank 1 the real queries are right once of twice, styled ones for the other camera once, too."""
    gallery, persons, cameras = line(0, 9, 4, 5), [1, 1, 2, 2], [1, 0, 0, 1]
    styled = line([1, 4.1], [5, 9])
    kept, whole, ratio = identity_measure(line(1, 8), styled, [1, 2], [0, 1], gallery, persons, cameras)["rank1"]
    assert whole == 0.5 and kept[0].tolist() == [1, 0] and np.isnan(kept[1]).all() and ratio == 1


def test_original_by_hand():
    """Camera 0 has images at 0 and 10, camera 1 at 4 alone, which cannot be told; no other camera's images are asked.

    image  for 0  for 1
    0      0      6      nearest of 0 and 10 is 10: wrong, though 4 of camera 1 is nearest of all
    10     5      9      5 is a tie: wrong; 9 is right
    """
    share, ratio = original_measure(line(0, 10, 4), line([0, 6], [5, 9], [99, 4]), [0, 0, 1])
    np.testing.assert_array_equal(share, [[0.5, 0.5], [nan, nan]])
    assert ratio == 0.5


@pytest.mark.parametrize("candidates", [2, 3, 20])
def test_original_as_the_definition_says(candidates):
    """The share of all galleries of that many images of the camera, the original among them, in which it comes first."""
    rng = np.random.default_rng(2)
    real, styled, cameras = rng.normal(size=(17, 3)), rng.normal(size=(17, 4, 3)), rng.integers(0, 3, 17)
    share, ratio = original_measure(real, styled, cameras, candidates=candidates)
    first = np.zeros((17, 4))
    for n in range(17):
        others = [m for m in range(17) if cameras[m] == cameras[n] and m != n]
        for k in range(4):
            own = np.linalg.norm(styled[n, k] - real[n])
            nearer = {m for m in others if np.linalg.norm(styled[n, k] - real[m]) <= own}
            galleries = list(combinations(others, min(candidates - 1, len(others))))
            first[n, k] = np.mean([not nearer & set(gallery) for gallery in galleries])
    for camera in range(3):
        np.testing.assert_allclose(share[camera], first[cameras == camera].mean(axis=0))
    assert np.isnan(share[3]).all()
    assert ratio == pytest.approx(first[cameras[:, None] != np.arange(4)].mean())


def test_features_that_know_nothing_find_one_of_so_many_whatever_the_number_of_images():
    rng = np.random.default_rng(3)
    for count in (30, 300):
        real, styled = rng.normal(size=(2 * count, 8)), rng.normal(size=(2 * count, 2, 8))
        assert original_measure(real, styled, np.arange(2 * count) % 2)[1] == pytest.approx(1 / 20, abs=0.03)


def test_cosine_by_hand():
    """Unit vectors by angle: camera 0 at 0 and 90 degrees, camera 1 at 180 alone, so chance is that of the first two, 0."""
    angle = lambda *degrees: np.stack([f(np.radians(degrees)) for f in (np.cos, np.sin)], axis=-1)  # noqa: E731
    real = 3 * angle(0, 90, 180)
    styled = np.stack([angle(0, 60), 2 * angle(90, 90), angle(90, 180)])
    cosine, chance, ratio = cosine_measure(real, styled, [0, 0, 1])
    np.testing.assert_allclose(cosine, [[1, 0.75], [0, 1]], atol=1e-12)
    assert chance == pytest.approx(0, abs=1e-12) and ratio == pytest.approx((0.5 + 1 + 0) / 3)


def test_cosine_of_copies_is_whole_and_of_others_nothing():
    rng = np.random.default_rng(0)
    real, cameras = rng.normal(size=(60, 5)) + 1, rng.integers(0, 2, 60)
    _, chance, ratio = cosine_measure(real, np.stack([real, real], axis=1), cameras)
    unit = real / np.linalg.norm(real, axis=1, keepdims=True)
    pairs = [unit[m] @ unit[n] for m in range(60) for n in range(60) if m != n and cameras[m] == cameras[n]]
    assert chance == pytest.approx(np.mean(pairs)) and ratio == pytest.approx(1)
    others = np.concatenate([np.roll(np.flatnonzero(cameras == c), 1) for c in (0, 1)])
    styled = np.empty((60, 2, 5))
    styled[np.concatenate([np.flatnonzero(cameras == c) for c in (0, 1)])] = real[others][:, None]
    assert abs(cosine_measure(real, styled, cameras)[2]) < 0.3


def test_distance_by_hand():
    """Squared differences of means on a line. A are every other image's places, B the rest's; camera 2 has too few.

    camera  A       B        own           styled A
    0       -1, 1   0, 2     (0 - 1)^2     for 1: 6, 8
    1       5, 7    6, 10    (6 - 8)^2     for 0: 4, 4
    """
    real, cameras = line(-1, 0, 1, 2, 5, 6, 7, 10, 3, 3, 3), [0] * 4 + [1] * 4 + [2] * 3
    styled = np.full((11, 3, 1), 99.0)
    styled[[0, 2], 1, 0], styled[[4, 6], 0, 0] = (6, 8), (4, 4)
    apart = lambda a, b: float((a.mean() - b.mean()) ** 2)  # noqa: E731
    before, after, least, ratio = distance_measure(real, styled, cameras, apart)
    np.testing.assert_array_equal(before, [[nan, (0 - 8) ** 2, nan], [(6 - 1) ** 2, nan, nan], [nan] * 3])
    np.testing.assert_array_equal(after, [[nan, (7 - 8) ** 2, nan], [(4 - 1) ** 2, nan, nan], [nan] * 3])
    assert least == 2.5 and ratio == 1 - (5 - 2.5) / (44.5 - 2.5)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_distance_of_true_styles_is_closed_and_of_copies_not_at_all(distance):
    rng = np.random.default_rng(0)
    cameras = np.repeat([0, 1, 2], 100)
    real = rng.normal(size=(300, 4)) + 2 * cameras[:, None]
    true = np.stack([rng.normal(size=(300, 4)) + 2 * k for k in range(3)], axis=1)
    assert distance_measure(real, true, cameras, distance)[-1] == pytest.approx(1, abs=0.05)
    assert distance_measure(real, np.stack([real] * 3, axis=1), cameras, distance)[-1] == pytest.approx(0)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
@pytest.mark.parametrize("seed", range(5))
def test_cameras_that_look_alike_have_no_distance_to_close(distance, seed):
    rng = np.random.default_rng(seed)
    real, cameras = rng.normal(size=(60, 8)), np.repeat([0, 1, 2], 20)
    assert np.isnan(distance_measure(real, np.stack([real * 3] * 3, axis=1), cameras, distance)[-1])
    assert np.isnan(distance_measure(real[:9], np.stack([real[:9]] * 3, axis=1), np.arange(9) % 3, distance)[-1])


def test_truth_by_hand():
    """Two images; true places for the other camera are 10 and 20, styled ones 8 and 25."""
    real, styled, true = line(0, 30), line([0, 8], [25, 30]), line([0, 10], [20, 30])
    reached, distances, ratio = truth_measure(real, styled, true, [0, 1])
    np.testing.assert_array_equal(reached, [[nan, 1 - 2 / 10], [1 - 5 / 10, nan]])
    assert distances == {"styled": (2 + 5) / 2, "real": (10 + 10) / 2, "chance": (20 + 20) / 2}
    assert ratio == pytest.approx(1 - 7 / 20)


@pytest.mark.parametrize("measure", [original_measure, cosine_measure])
def test_measures_refuse_what_does_not_fit(measure):
    with pytest.raises(ValueError, match=r"styled is \(3, 2, 1\) for 2 cameras of images"):
        measure(line(0, 1), line([0, 1], [0, 1], [0, 1]), [0, 1])
    with pytest.raises(ValueError, match="cameras 0 to 2; expected 0 to 1"):
        measure(line(0, 1), line([0, 1], [0, 1]), [0, 2])


@pytest.mark.parametrize("measure", [original_measure, cosine_measure])
def test_a_single_camera_has_no_other_to_be_styled_for(measure):
    assert np.isnan(measure(line(1, 2), line([1], [2]), [0, 0])[-1])
