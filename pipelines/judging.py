"""What a camera classifier and a re-ID model make of styles, as the entries of a measures stage's result.json."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gan.translate import translate
from pipelines.data_report import NOT_JUDGED
from pipelines.styling import redrawn, trained_generator
from reid_da import distributed, sampling, style_features, style_measures
from reid_da.augment import normalise
from reid_da.camera_gap import cropped_and_mirrored, feature_gap
from reid_da.distributions import frechet_distance, kernel_distance
from reid_da.images import ImageStore
from reid_da.retrieval import embed

CHUNK = 256  # images looked at together, which bounds memory


class Seen(NamedTuple):
    """What is seen of N images and their K styles each, variant 0 being the real one."""

    cameras: np.ndarray  # (N, 1 + K), as classified
    features: np.ndarray  # (N, 1 + K, D), of the judge
    moments: np.ndarray  # (N, 1 + K, 2, 3), of colours


@torch.inference_mode()
def look(store: ImageStore, rows: np.ndarray, styles: np.ndarray, classifier, judge) -> Seen:
    parts = []
    size = max(1, CHUNK // (1 + store.num_cameras))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        variants = np.concatenate([store.images[some][:, None], styles[some]], axis=1)
        inputs = normalise(torch.from_numpy(variants).flatten(0, 1).to(distributed.device()))
        answers = classifier.classifier.logits(classifier.hidden(inputs)).argmax(dim=1)
        both = (x.cpu().unflatten(0, variants.shape[:2]).numpy() for x in (answers, judge.embed(inputs).float()))
        parts.append((*both, style_measures.colour_moments(variants)))
    return Seen(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def of_images(seen: Seen, cameras: np.ndarray) -> dict:
    """What can be told of any target's images, persons unknown."""
    real, styled = seen.features[:, 0], seen.features[:, 1:]
    found = {}
    found["camera"], found["camera_real"], found["ratio/camera"] = style_measures.camera_measure(
        seen.cameras[:, 0], seen.cameras[:, 1:], cameras
    )
    found["original"], found["ratio/original"] = style_features.original_measure(real, styled, cameras)
    found["cosine"], found["cosine_chance"], found["ratio/cosine"] = style_features.cosine_measure(
        real, styled, cameras
    )
    found["colour"], found["ratio/colour"] = style_measures.colour_measure(
        seen.moments[:, 0], seen.moments[:, 1:], cameras
    )
    for name, distance in (("kid", kernel_distance), ("fid", frechet_distance)):
        before, after, least, ratio = style_features.distance_measure(real, styled, cameras, distance)
        found |= {f"{name}_real": before, name: after, f"{name}_least": least, f"ratio/{name}": ratio}
    return found


@torch.inference_mode()
def look_at_truth(store: ImageStore, rows: np.ndarray, draw: dict, judge) -> np.ndarray:
    """(N, K, D) features of what the cameras would really have shown: only a drawn world can tell."""
    true = []
    for row in rows:
        inputs = normalise(torch.from_numpy(redrawn(draw, store, row)).to(distributed.device()))
        true.append(judge.embed(inputs).float().cpu().numpy())
    return np.stack(true)


def of_truth(seen: Seen, true: np.ndarray, cameras: np.ndarray) -> dict:
    reached, distances, ratio = style_features.truth_measure(seen.features[:, 0], seen.features[:, 1:], true, cameras)
    return {"truth": reached, "truth_distance": distances, "ratio/truth": ratio}


@torch.inference_mode()
def of_gap(seen: Seen, store: ImageStore, rows: np.ndarray, true: np.ndarray | None, judge, seed: int) -> dict:
    """HHL's premise: how far the other cameras' styles lie from an image, against a crop and a mirror; and how far the truth.

    The crops are a pure function of the seed and of the place among the rows.
    """
    copies = []
    for start in range(0, len(rows), CHUNK):
        fields = store.take(rows[start : start + CHUNK])
        both = cropped_and_mirrored(fields["images"], fields["sizes"], sampling.draws(seed, start))
        embedded = [judge.embed(inputs.to(distributed.device())).float().cpu().numpy() for inputs in both]
        copies.append(np.stack(embedded, axis=1))
    real, copies = seen.features[:, 0], np.concatenate(copies)
    other = store.camera_labels[rows, None] != np.arange(store.num_cameras)
    gap = {name: feature_gap(real, copies[:, [which]]) for which, name in enumerate(("crop", "flip"))}
    gap["style"] = feature_gap(real, seen.features[:, 1:], other)
    return {"gap": gap | ({} if true is None else {"truth": feature_gap(real, true, other)})}


@torch.inference_mode()
def of_persons(inputs: dict[str, Path], store: ImageStore, judge, most: int) -> dict:
    """Does a styled query still find its person? On up to `most` queries of test persons, whom the generator has not seen."""
    if "generator" not in inputs:
        return {"notes": ["identity kept is told of a generator, on test images; these styles are images alone"]}
    query, gallery = (ImageStore(inputs["target"] / split) for split in ("query", "gallery"))
    if not len(query) or not len(gallery):
        return {"notes": [f"identity kept cannot be told: the target has {NOT_JUDGED}"]}
    labels = [_labels(one.cameras, store.camera_names) for one in (query, gallery)]
    rows = np.flatnonzero((query.persons > 0) & (labels[0] >= 0))
    cameras = f"{np.unique(query.cameras).tolist()}, those of training images {store.camera_names.tolist()}"
    if not len(rows):
        return {"notes": [f"identity kept cannot be told: no query image of a person; its cameras are {cameras}"]}
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    generator = trained_generator(str(inputs["generator"]), store.num_cameras, distributed.device())
    features = []
    size = max(1, CHUNK // (1 + store.num_cameras))
    for start in range(0, len(rows), size):
        real = torch.from_numpy(query.images[rows[start : start + size]])
        variants = torch.cat([real[:, None], translate(generator, real, store.num_cameras)], dim=1)
        embedded = judge.embed(normalise(variants.flatten(0, 1).to(distributed.device()))).float().cpu()
        features.append(embedded.unflatten(0, variants.shape[:2]).numpy())
    both, own = np.concatenate(features), (query.persons[rows], labels[0][rows])
    sides = (embed(judge, gallery, normalise, device=distributed.device()), gallery.persons, labels[1])
    try:
        scores = style_features.identity_measure(both[:, 0], both[:, 1:], *own, *sides)
    except ValueError as error:  # no query has a true match in another camera
        return {"notes": [f"identity kept cannot be told: {error}"]}
    found = {}
    for name, score in (("identity", "mAP"), ("rank1", "rank1")):
        found[name], found[f"{name}_real"], found[f"ratio/{name}"] = scores[score]
    return found


def _labels(cameras: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Camera numbers as 0..K-1, their places in `names`; -1 for one that is not there."""
    places = np.searchsorted(names, cameras).clip(max=len(names) - 1)
    return np.where(names[places] == cameras, places, -1)
