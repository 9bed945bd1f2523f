"""The measures stage's work: how good styles are (pipelines/judging.py), and whether they will do.

Runs in one process.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipelines import cache, judging
from pipelines.build import build
from pipelines.device import stage_work
from pipelines.files import reporter
from pipelines.training import new_method, num_steps, trained_method
from reid_da import checkpoint, distributed, loop, sampling, style_measures
from reid_da.batches import method_batches
from reid_da.images import ImageStore
from reid_da.learner import Learner

RHYTHM = {"report_every": 10, "checkpoint_every": 100}  # of the classifier's training, in steps
RATIOS = {  # name in result.json -> what it says; 1 is as good as real images, all of the way, or all kept
    "camera": "classified as wanted camera",
    "original": "original retrieved",
    "cosine": "features kept",
    "colour": "colour gap closed",
    "kid": "KID gap closed",
    "fid": "FID gap closed",
    "identity": "identity kept (mAP)",
    "rank1": "identity kept (rank-1)",
    "truth": "gap to true image closed",
}


def measure(job: dict) -> None:
    """One measures stage; a finished one is passed over, an unfinished one goes on from the classifier's checkpoint.

    Half of the target's training images teach the camera classifier; of the other half up to settings["images"] are measured,
    with their styles. Settings: method (a Baseline and its training), backbone, seed, images and, where the target is drawn, draw.
    Inputs: target, styles, judge, a source-only model, and, where one made the styles, generator.
    result.json: cameras (names), images (how many), ratios (see RATIOS; null: cannot be told) and what pipelines/judging.py gives:
    matrices K x K, own camera in rows, null where there are no images, and numbers (gap: the camera gap); notes say what could
    not be told and why.
    """
    with cache.writing(job):
        if not Path(job["folder"]).is_dir():
            cache.write_json(Path(job["part"]) / "result.json", _plain(_measure(job)))
            cache.finish(job)
            checkpoint.remove(job["folder"])


def failings(result: dict, bounds: dict[str, float]) -> list[str]:
    """Which ratios of a result.json lie below their bounds or cannot be told, as "name 0.41 (expected at least 0.70)".

    None where nothing was measured: with one camera, or one image of each, there is nothing to be styled for.
    """
    found = []
    for name, bound in bounds.items() if result["images"] else ():
        ratio = result["ratios"][name]
        if bound is not None and (ratio is None or ratio < bound):
            value = "cannot be told" if ratio is None else f"{ratio:.2f}"
            found.append(f"{RATIOS[name]} {value} (expected at least {bound:.2f})")
    return found


def gate(job: dict) -> None:
    """ValueError where styles are below their bounds and good ones are required, with the numbers. After `measure`."""
    failed = failings(json.loads((Path(job["folder"]) / "result.json").read_text()), job["gate"]["bounds"])
    if failed and job["gate"]["required"]:
        raise ValueError(refusal(job["label"], failed))


def refusal(label: str, failed: list[str]) -> str:
    return (
        f"{label}: too poor to adapt with: {', '.join(failed)}\n"
        "train the generator longer (gan.steps), move a bound (gan.bounds), or go on all the same with gan.require_quality=false"
    )


@stage_work
def _measure(job: dict) -> dict:
    """What result.json says, with arrays."""
    settings, inputs = job["settings"], {role: Path(folder) for role, folder in job["inputs"].items()}
    torch.manual_seed(sampling.generator(settings["seed"], "weights").initial_seed())
    store = ImageStore(inputs["target"] / "train")
    lessons, rows = halves(store.camera_labels, settings["seed"], settings["images"])
    if store.num_cameras < 2 or len(rows) < 2:
        few = f"{len(store)} training images under {store.num_cameras} cameras"
        note = f"styles are not measured: the target has {few}; expected at least two cameras, and some images of each"
        return {"cameras": store.camera_names, "images": 0, "ratios": dict.fromkeys(RATIOS), "notes": [note]}
    classifier = _camera_classifier(job, store, lessons)
    judge = trained_method(inputs["judge"]).to(distributed.device()).eval()
    seen = judging.look(store, rows, np.load(inputs["styles"] / "styled.npy", mmap_mode="r"), classifier, judge)
    result = judging.of_images(seen, store.camera_labels[rows])
    true = judging.look_at_truth(store, rows, settings["draw"], judge) if "draw" in settings else None
    if true is not None:
        result |= judging.of_truth(seen, true, store.camera_labels[rows])
    result |= judging.of_gap(seen, store, rows, true, judge, settings["seed"])
    result |= judging.of_persons(inputs, store, judge, settings["images"])
    ratios = {name: result.pop(f"ratio/{name}", None) for name in RATIOS}
    return {"cameras": store.camera_names, "images": len(rows), "ratios": ratios, **result}


def halves(cameras: np.ndarray, seed: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for the classifier to learn from, and others, `most` at most, to measure: half of every camera's images each."""
    order = torch.randperm(len(cameras), generator=sampling.generator(seed, "halves")).numpy()
    order = order[np.argsort(cameras[order], kind="stable")]
    turn = np.concatenate([np.arange(n) for n in np.bincount(cameras)])  # of an image among its camera's
    lessons, rest = order[turn % 2 == 0], order[turn % 2 == 1]
    rest = rest[np.argsort(turn[turn % 2 == 1], kind="stable")][:most]  # of every camera alike
    return np.sort(lessons), np.sort(rest)


def _camera_classifier(job: dict, store: ImageStore, rows: np.ndarray):
    """A Baseline that tells cameras in the place of persons; it sees real images of these rows alone."""
    settings, device = job["settings"], distributed.device()
    block, lessons = settings["method"], style_measures.CameraStore(store, rows)
    # A small network has few images. An even number: oneDNN's backward of 8 channels crashes on some odd ones.
    block = block | {"batch": min(block["batch"], max(2, len(lessons) // 2 * 2))}
    method = new_method(settings | {"method": block}, store.num_cameras).to(device)
    steps = num_steps(block, len(lessons) // block["batch"])
    learner = Learner(method, partial(build, block["optimiser"]), partial(build, block["schedule"]), steps)
    batches = method_batches(method.streams(lessons, settings["seed"]), seed=settings["seed"], device=device)
    loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job), **RHYTHM)
    return method.eval()


def _plain(value):
    """Arrays as lists, NaN as None: JSON knows neither."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list):
        return [_plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return None if value != value else value
