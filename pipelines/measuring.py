"""The measures stage's work: how good the generator's styles are (reid_da.style_measures), on the target's test persons.

Runs in one process. Knows no ray, no mlflow, no hydra.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gan.translate import translate
from pipelines import cache
from pipelines.build import build
from pipelines.files import reporter
from pipelines.styling import trained_generator
from pipelines.training import new_method, num_steps, trained_method
from reid_da import checkpoint, distributed, loop, sampling, style_measures
from reid_da.augment import normalise
from reid_da.batches import method_batches
from reid_da.images import ImageStore
from reid_da.learner import Learner
from reid_da.retrieval import embed

CHUNK = 256  # images looked at together, which bounds memory
RHYTHM = {"report_every": 10, "checkpoint_every": 100}  # of the classifier's training, in steps


def measure(job: dict) -> None:
    """One measures stage; a finished one is passed over, an unfinished one goes on from the classifier's checkpoint.

    Settings: method (a Baseline and its training: the camera classifier), backbone, seed. Inputs: target, generator, and
    judge, a trained baseline, pretrain or the like, which tells persons apart.
    result.json: camera, identity, colour (K x K, own camera in rows, null where a camera has no images), camera_real (K),
    identity_real (mAP), cameras (names), ratios of the three, left_out (test images of no person, or of a camera that the
    training images lack); or, where test images cannot be measured, "unmeasured", why, and null ratios: a table needs them not.
    """
    with cache.writing(job):
        if not Path(job["folder"]).is_dir():
            cache.write_json(Path(job["part"]) / "result.json", _plain(_measure(job)))
            cache.finish(job)
            checkpoint.remove(job["folder"])


def _measure(job: dict) -> dict:
    """What result.json says, with arrays."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(sampling.generator(job["settings"]["seed"], "weights").initial_seed())
    data, device = Path(job["inputs"]["target"]), distributed.device()
    train = ImageStore(data / "train")
    try:
        query, gallery = (_split(data / name, train.camera_names) for name in ("query", "gallery"))
    except ValueError as error:
        return {"unmeasured": str(error), "ratios": dict.fromkeys(("camera", "identity", "colour"))}
    classifier = _camera_classifier(job, train)
    judge = trained_method(Path(job["inputs"]["judge"])).to(device).eval()
    generator = trained_generator(job["inputs"]["generator"], train.num_cameras, device)
    return _measures(query, gallery, train.camera_names, generator, classifier, judge)


def _camera_classifier(job: dict, train: ImageStore):
    """A Baseline that tells cameras in the place of persons; it sees real training images alone."""
    settings, device = job["settings"], distributed.device()
    method = new_method(settings, train.num_cameras).to(device)
    block, store = settings["method"], style_measures.CameraStore(train)
    steps = num_steps(block, len(train) // block["batch"])
    learner = Learner(method, partial(build, block["optimiser"]), partial(build, block["schedule"]), steps)
    batches = method_batches(method.streams(store, settings["seed"]), seed=settings["seed"], device=device)
    loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job), **RHYTHM)
    return method.eval()


class Split(NamedTuple):
    """Test images: labels (N,), their cameras' places among the training images' (-1: not there), rows, those to measure."""

    store: ImageStore
    labels: np.ndarray
    rows: np.ndarray


def _split(folder: Path, names: np.ndarray) -> Split:
    store = ImageStore(folder)
    labels = _labels(store.cameras, names)
    rows = np.flatnonzero((store.persons > 0) & (labels >= 0))
    if not len(rows):
        cameras = f"{np.unique(store.cameras).tolist()}, those of training images {names.tolist()}"
        raise ValueError(f"no {folder.name} image of a person to measure styles on; its cameras are {cameras}")
    return Split(store, labels, rows)


def _measures(query: Split, gallery: Split, names: np.ndarray, generator, classifier, judge) -> dict:
    seen = _look(query, generator, classifier, len(names), judge)
    others = _look(gallery, generator, classifier, len(names))
    own = query.labels[query.rows]
    cameras = np.concatenate([own, gallery.labels[gallery.rows]])
    answers, moments = (np.concatenate([seen[key], others[key]]) for key in ("cameras", "moments"))
    camera, camera_real, camera_ratio = style_measures.camera_measure(answers[:, 0], answers[:, 1:], cameras)
    identity, identity_real, identity_ratio = style_measures.identity_measure(
        seen["features"][:, 0],
        seen["features"][:, 1:],
        query.store.persons[query.rows],
        own,
        embed(judge, gallery.store, normalise, device=distributed.device()),
        gallery.store.persons,
        gallery.labels,
    )
    colour, colour_ratio = style_measures.colour_measure(moments[:, 0], moments[:, 1:], cameras)
    return {
        "camera": camera,
        "camera_real": camera_real,
        "identity": identity,
        "identity_real": identity_real,
        "colour": colour,
        "cameras": names,
        "ratios": {"camera": camera_ratio, "identity": identity_ratio, "colour": colour_ratio},
        "left_out": sum(len(split.store) - len(split.rows) for split in (query, gallery)),
    }


@torch.inference_mode()
def _look(split: Split, generator, classifier, num_cameras: int, judge=None) -> dict:
    """What is seen of the images and of their styles, variant 0 being the real one: cameras (N, 1 + K), as classified,
    moments (N, 1 + K, 2, 3) and, where there is a judge, features (N, 1 + K, D)."""
    seen = defaultdict(list)
    size = max(1, CHUNK // (1 + num_cameras))
    for start in range(0, len(split.rows), size):
        real = torch.from_numpy(split.store.images[split.rows[start : start + size]])
        variants = torch.cat([real[:, None], translate(generator, real, num_cameras)], dim=1)
        inputs = normalise(variants.flatten(0, 1).to(distributed.device()))
        answers = {"cameras": classifier.classifier(classifier.hidden(inputs)).argmax(dim=1)}
        if judge is not None:
            answers["features"] = judge.embed(inputs).float()
        for key, values in answers.items():
            seen[key].append(values.cpu().unflatten(0, variants.shape[:2]).numpy())
        seen["moments"].append(style_measures.colour_moments(variants))
    return {key: np.concatenate(values) for key, values in seen.items()}


def _labels(cameras: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Camera numbers as 0..K-1, their places in `names`; -1 for one that is not there."""
    places = np.searchsorted(names, cameras).clip(max=len(names) - 1)
    return np.where(names[places] == cameras, places, -1)


def _plain(value):
    """Arrays as lists, NaN as None: JSON knows neither."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list):
        return [_plain(v) for v in np.asarray(value).tolist()]
    return None if value != value else value
