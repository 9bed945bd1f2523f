"""How good are camera-styled images, by the features of a re-ID model? Is it still the person, and is it the other camera?

Measures per pair (own camera i, wanted camera k), as matrices (K, K) with i in rows, each with one number over all pairs:
    original    does it still find the image that it was made from? (asks for no label)
    cosine      how little has styling turned the features?
    identity    does it still find its person among real images? (what CamStyle and HHL, Zhong et al., 2018, take for given)
    distance    how much nearer has it come to the wanted camera's images, as a cloud? (FID, KID)
    truth       how near has it come to what the other camera would really have shown? (drawn worlds can tell)
and, of a method instead of a generator, whether it finds the original of a styled image among those of all cameras
(retrieval_measure). NaN stands where a camera has no images.
"""

import numpy as np

from reid_da.ranking import evaluate
from reid_da.style_measures import divide, mean_by_camera, num_cameras


def original_measure(real, styled, cameras, *, candidates: int = 20) -> tuple[np.ndarray, float]:
    """How often is a styled image's nearest, of so many images of its own camera, the image that it was made from?

        b_nk = images m of n's camera with |styled_nk - real_m| <= |styled_nk - real_n|, m != n; N_i images of the camera
        p_nk = C(N_i - 1 - b_nk, c - 1) / C(N_i - 1, c - 1),   c = min(candidates, N_i)
        share_ik = mean over images n of camera i of p_nk;   ratio = mean over images n and k != camera of n of p_nk
    p is the chance that the original comes first among itself and c - 1 others drawn from its camera: rank-1 in a gallery of
    one size, whatever the number of images. Features that know nothing reach 1/c. Within one camera, since the model need
    not be blind to cameras: styling moves all of them alike, and what is left to tell images apart is who is on them. Ties
    count against. Other images of the same person are wrong answers, so that the true other camera's image reaches no 1.

    Args:
        real: (N, D) features. styled: (N, K, D), of the images styled for camera k. cameras: (N,) ints, 0..K-1.
    Returns:
        share (K, K) in 0..1, and the ratio; NaN for cameras with a single image, and for a single camera.
    Raises:
        ValueError: shapes that do not fit, or a camera out of range.
    """
    real, styled, cameras = np.asarray(real), np.asarray(styled), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    first = np.full(styled.shape[:2], np.nan)
    for camera in range(count):
        rows = np.flatnonzero(cameras == camera)
        others = len(rows) - 1
        for n, row in enumerate(rows if others else ()):
            distances = np.square(styled[row][:, None] - real[rows]).sum(axis=-1)  # (K, images of the camera)
            nearer = (distances <= distances[:, n : n + 1]).sum(axis=1) - 1
            drawn = np.arange(min(candidates - 1, others))
            first[row] = np.clip((others - nearer[:, None] - drawn) / (others - drawn), 0, None).prod(axis=1)
    other = (cameras[:, None] != np.arange(count)) & np.isfinite(first)
    return mean_by_camera(first, cameras, count), float(divide(first[other].sum(), other.sum()))


def cosine_measure(real, styled, cameras) -> tuple[np.ndarray, float, float]:
    """The cosine between an image's features and those of its styled copy.

        cosine_ik = mean over images n of camera i of cos(real_n, styled_nk)
        chance = mean over pairs m != n of one camera of cos(real_m, real_n)
        ratio = (mean over n and k != camera of n of cos(real_n, styled_nk) - chance) / (1 - chance)
    So 1: nothing has changed; 0: it might as well be another image.

    Args and errors as for original_measure.
    Returns:
        cosine (K, K) in -1..1, chance, and the ratio (at most 1).
    """
    real, styled = (divide(x, np.linalg.norm(x, axis=-1, keepdims=True)) for x in map(np.asarray, (real, styled)))
    cameras = np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    cosines = (real[:, None] * styled).sum(axis=-1)
    sums, pairs = 0.0, 0
    for camera in range(count):
        own = real[cameras == camera]
        sums += np.square(own.sum(axis=0)).sum() - len(own)
        pairs += len(own) * (len(own) - 1)
    chance, other = divide(sums, pairs), cameras[:, None] != np.arange(count)
    mean = divide(cosines[other].sum(), other.sum())
    return mean_by_camera(cosines, cameras, count), float(chance), float(divide(mean - chance, 1 - chance))


def distance_measure(real, styled, cameras, distance) -> tuple[np.ndarray, np.ndarray, float, float]:
    """How much of the distance between two cameras' images has styling closed?

        A_k, B_k: every other real image of camera k, and the rest;   least = mean over k of distance(A_k, B_k)
        before_ik = distance(A_i, B_k),   after_ik = distance(A_i styled for k, B_k)
        ratio = 1 - (mean over i != k of after - least) / (mean of before - least)
    1: as near as the camera's own images are to each other. Sets are of like sizes, so that what FID adds for few images
    falls away. No person need be the same on both sides, and none is asked for.

    Args:
        real, styled, cameras: as for original_measure. distance: (n, D), (m, D) -> float, of reid_da.distributions.
    Returns:
        before and after (K, K), NaN on the diagonal and where a camera has fewer than four images; least; and the ratio, NaN where
        cameras are not clearly apart: a mean of before below 1.5 times the mean size of the cameras' own distances.
    Raises:
        ValueError: shapes that do not fit, or a camera out of range.
    """
    real, styled, cameras = np.asarray(real), np.asarray(styled), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    before, after = np.full((2, count, count), np.nan)
    rows = [np.flatnonzero(cameras == camera) for camera in range(count)]
    known = [k for k in range(count) if len(rows[k]) >= 4]
    own = [distance(real[rows[k][::2]], real[rows[k][1::2]]) for k in known]
    for i, k in ((i, k) for i in known for k in known if i != k):
        before[i, k] = distance(real[rows[i][::2]], real[rows[k][1::2]])
        after[i, k] = distance(styled[rows[i][::2], k], real[rows[k][1::2]])
    pairs, least = np.isfinite(before).sum(), divide(sum(own), len(own))
    way, left = (divide(np.nansum(values), pairs) for values in (before, after))
    apart = pairs and way > 1.5 * np.abs(own).mean()
    return before, after, float(least), float(1 - divide(left - least, way - least)) if apart else np.nan


def truth_measure(real, styled, true, cameras) -> tuple[np.ndarray, dict[str, float], float]:
    """How much of the way to the image that the other camera would really have shown?

        reached_ik = 1 - mean |styled_nk - true_nk| / mean |real_n - true_nk|, over images n of camera i
        ratio = 1 - mean |styled_nk - true_nk| / mean |real_n - true_nk|, over n and k != camera of n
    1: it is that image; 0: as far from it as the unstyled one; negative: farther.

    Args:
        real, styled, cameras: as for original_measure. true: (N, K, D), features of the true images.
    Returns:
        reached (K, K), NaN on the diagonal; the mean distances to the true image over k != camera of n of "styled", "real" and
        "chance" (another image's true one under the same wanted camera); and the ratio.
    Raises:
        ValueError: shapes that do not fit, or a camera out of range.
    """
    real, styled, true, cameras = np.asarray(real), np.asarray(styled), np.asarray(true), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled, true=true)
    other = cameras[:, None] != np.arange(count)
    left = np.where(other, np.linalg.norm(styled - true, axis=-1), 0)
    way = np.where(other, np.linalg.norm(real[:, None] - true, axis=-1), 0)
    another = np.roll(true, len(true) // 2, axis=0)  # not the next one: stores have a person's images side by side
    sums = {"styled": left, "real": way, "chance": np.where(other, np.linalg.norm(another - true, axis=-1), 0)}
    means = {name: float(divide(values.sum(), other.sum())) for name, values in sums.items()}
    means["chance"] = means["chance"] if len(true) > 1 else np.nan
    reached = 1 - divide(mean_by_camera(left, cameras, count), mean_by_camera(way, cameras, count))
    return reached, means, float(1 - divide(left.sum(), way.sum()))


def identity_measure(
    real, styled, persons, cameras, gallery, gallery_persons, gallery_cameras
) -> dict[str, tuple[np.ndarray, float, float]]:
    """What styling a query leaves of its mAP and rank-1 among real gallery images; its camera stays the one that took it.

        kept_ik = mAP(queries of camera i, styled for k) / mAP(queries of camera i)
        ratio = mean over queries n and k != camera of n of AP(n styled for k) / mean over queries n of AP(n)
    and likewise of rank-1. Queries without a true match in another camera do not count (reid_da.ranking).

    Args:
        real: (Q, D) features of the real queries. styled: (Q, K, D), of the queries styled for camera k.
        persons, cameras: (Q,) ints, cameras 0..K-1. gallery: (G, D) features; gallery_persons, gallery_cameras: (G,) ints,
        cameras numbered alike, any other number for those that are none of the K.
    Returns:
        "mAP" and "rank1" -> kept (K, K), the score of the real queries in 0..1, and the ratio; at least 0, above 1 where styling
        helps.
    Raises:
        ValueError: shapes that do not fit, a camera out of range, or no query with a true match.
    """
    persons, cameras, gallery_persons, gallery_cameras = map(
        np.asarray, (persons, cameras, gallery_persons, gallery_cameras)
    )
    real, styled = np.asarray(real), np.asarray(styled)
    count = num_cameras(cameras, real=real, styled=styled, persons=persons)

    def scores(features, *own) -> list[float]:
        found = evaluate(features, *own, gallery, gallery_persons, gallery_cameras)
        return [found.mAP, found.rank(1)]

    whole = np.array(scores(real, persons, cameras))
    matched = [((gallery_persons == p) & (gallery_cameras != c)).any() for p, c in zip(persons, cameras, strict=True)]
    before, after, queries = np.full((count, 1, 2), np.nan), np.full((count, count, 2), np.nan), np.zeros(count)
    for i in range(count):
        rows = np.flatnonzero(matched & (cameras == i))
        if len(rows):
            own, queries[i] = (persons[rows], cameras[rows]), len(rows)
            before[i] = scores(real[rows], *own)
            after[i] = [scores(styled[rows, k], *own) for k in range(count)]
    others = np.where(np.eye(count, dtype=bool)[:, :, None], 0, after).sum(axis=1) / max(count - 1, 1)
    ratio = divide(np.nansum(queries[:, None] * others, axis=0) / queries.sum(), whole if count > 1 else np.nan * whole)
    kept = divide(after, before)
    return {name: (kept[..., n], float(whole[n]), float(ratio[n])) for n, name in enumerate(("mAP", "rank1"))}


def retrieval_measure(real, styled, cameras) -> tuple[float, float]:
    """Does a styled copy retrieve its original among other images? What a method can be chosen by where no person is known.

        score = mean over images n and wanted cameras k != camera of n of 1 / rank of image n for its copy styled for k
    The rank is by Euclidean distance among all N real images, ties against (reid_da.ranking). Camera-invariant features
    bring a copy back to its original, features that tell nothing apart bring back anything.

    Args:
        real: (N, D) features of the originals. styled: (N, K, D), of their copies. cameras: (N,) ints, 0..K-1.
    Returns:
        the score, and the share of copies whose nearest is their original; both in 0..1.
    Raises:
        ValueError: shapes that do not fit, a camera out of range, or fewer than two cameras.
    """
    real, styled, cameras = np.asarray(real), np.asarray(styled), np.asarray(cameras)
    count = num_cameras(cameras, real=real, styled=styled)
    images, wanted = np.nonzero(cameras[:, None] != np.arange(count))
    if not len(images):
        raise ValueError(f"{len(cameras)} images under {count} cameras; expected images and at least two cameras")
    # to the ranking an original is the one image of its person, and its copy comes from another camera
    found = evaluate(styled[images, wanted], images + 1, wanted, real, np.arange(len(cameras)) + 1, cameras)
    return found.mAP, found.rank(1)
