"""Style measures against tables worked by hand: which pair is which cell, what an absent camera gives, what one number says."""

import numpy as np
import pytest

from reid_da.ranking import rank_metrics
from reid_da.style_measures import (
    CameraStore,
    camera_measure,
    colour_measure,
    colour_moments,
    identity_measure,
    retrieval_measure,
)

nan = np.nan


def test_camera_store_labels_by_camera(world):
    rows = np.array([0, 5, 9])
    plain, ours = world.target.take(rows), CameraStore(world.target).take(rows)
    assert len(CameraStore(world.target)) == len(world.target)
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
    assert ratio == (0.5 + 0.5) / (0.5 + 1), "camera 2 has no real images to compare with"


def test_the_camera_ratio_gives_wanted_cameras_equal_weight():
    """9 images of camera 0, all easy; 1 of camera 1, never told. Styled as well as real: 1, whatever the counts."""
    cameras = np.array([0] * 9 + [1])
    real = np.zeros(10, int)
    styled = np.zeros((10, 2), int)  # all are taken for camera 0
    share, accuracy, ratio = camera_measure(real, styled, cameras)
    assert share.tolist() == [[1, 0], [1, 0]] and accuracy.tolist() == [1, 0] and ratio == 1


@pytest.mark.parametrize("cameras", [[0, 0], [1, 1]])
def test_a_single_camera_has_nothing_to_compare(cameras):
    _, _, ratio = camera_measure(cameras, [[0, 1], [0, 1]], cameras)
    assert np.isnan(ratio)


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
    kept, whole, ratio = identity_measure(real, styled, [1, 2], [0, 1], gallery, persons, cameras)
    assert whole == (1 + 1 / 2) / 2
    np.testing.assert_allclose(kept, [[1, 1 / 3], [2, 1]])
    assert ratio == pytest.approx((1 / 3 + 1) / (1 + 1 / 2))


def test_identity_ignores_the_original_camera_of_a_styled_query():
    """Styled for camera 1, it still may not be matched within camera 0, where it lies; in camera 1 it finds 6 before 5."""
    kept, whole, ratio = identity_measure(line(0), line([0, 7]), [1], [0], line(7, 6, 5), [1, 1, 2], [0, 1, 1])
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
    )
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
