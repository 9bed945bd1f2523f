"""The trained stages' work, from a plain job (cache.job) to the files in its .part folder: the generator and the methods.

Runs in every worker of the training group, or in the command's own process.
"""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipelines import cache, evaluating, identity
from pipelines.build import build, resolve
from pipelines.device import stage_work
from pipelines.files import load_weights, reporter, save_array, save_weights
from pipelines.generator_pictures import drawing
from pipelines.local_copies import nearby
from reid_da import checkpoint, distributed, loop, sampling
from reid_da.adabn import reestimate
from reid_da.augment import normalise, random_area_crop
from reid_da.batches import method_batches, translation_batches
from reid_da.images import ImageStore
from reid_da.learner import Learner
from reid_da.retrieval import clusters, embed
from reid_da.transfer import Ahead


@stage_work
def train(job: dict, watch: Callable | None = None) -> None:
    """One trained stage, on every rank of the group; a finished one is passed over, an unfinished one goes on.

    Args:
        watch: watch(job, method) gives what is called as the loop's report, beside the folder's metrics.jsonl; where it ends
            the training, the stage stays unfinished, with a checkpoint.
    """
    with cache.writing(job) if distributed.rank() == 0 else nullcontext():
        if distributed.broadcast(Path(job["folder"]).is_dir()):
            return
        job = distributed.agreed(partial(nearby, job))  # one node's disk may be full
        torch.manual_seed(sampling.generator(job["settings"]["seed"], "weights").initial_seed())
        whole = _generator(job) if job["name"] == "generator" else _method(job, watch)
        if whole and distributed.rank() == 0:
            cache.finish(job)
            checkpoint.remove(job["folder"])  # not before: killed in between, a .part without it would start again
        distributed.broadcast(None)  # nobody goes on before the folder is in place


def _generator(job: dict) -> bool:
    settings, device = job["settings"], distributed.device()
    store = ImageStore(Path(job["inputs"]["target"]) / "train")
    height, width = store.images.shape[1:3]
    generator = build(settings["generator"], store.num_cameras)
    if hasattr(generator, "measure"):  # the colour-affine one starts from the cameras' colour statistics
        generator.measure(store.images, torch.from_numpy(store.camera_labels))
    generator.to(device)
    discriminator = build(settings["discriminator"], store.num_cameras, height, width).to(device)
    steps = num_steps(settings, len(store) // settings["batch"])
    ranks = {"average_gradients": distributed.average_gradients, "finite_everywhere": distributed.finite_everywhere}
    learner = build(settings["training"], generator, discriminator, steps=steps, **ranks)
    given = {"seed": settings["seed"], "device": device, "part": settings["crop"], "resident": _how(job)["resident"]}
    batches = _ahead(translation_batches(store, settings["batch"], **given), steps)
    rhythm = _rhythm(steps)
    draw = drawing(learner.averaged, store, Path(job["part"]), rhythm["report_every"])
    loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job, draw), **rhythm)
    if distributed.rank() == 0:
        save_weights(Path(job["part"]) / "generator.pt", learner.averaged)
    return True


def _method(job: dict, watch: Callable | None) -> bool:
    settings, device = job["settings"], distributed.device()
    block = settings["method"]
    labelled = ImageStore(Path(job["inputs"][block.get("labels", "source")]) / "train")
    method = new_method(settings, labelled.num_persons)
    if "trained" in job["inputs"]:
        method.load_state_dict(load_weights(Path(job["inputs"]["trained"]) / "model.pt"))
    if "start" in job["inputs"]:
        method.start_from(load_weights(Path(job["inputs"]["start"]) / "model.pt"))
    layout = torch.channels_last if _how(job)["channels_last"] else torch.contiguous_format
    method = distributed.global_batchnorm(method).to(device, memory_format=layout)
    if "optimiser" in block and not _fit(method, labelled, job, watch(job, method) if watch else None):
        return False
    trained = time.perf_counter()
    # each image is looked at once from here on: compiling for it would cost more than it gives
    with torch.compiler.set_stance("force_eager") if _how(job)["compile"] else nullcontext():
        if block.get("bn") == "target":
            reestimate(method, ImageStore(Path(job["inputs"]["target"]) / "train"), device=device)
        if job["name"] != "pretrain":
            result = {role: evaluating.scores(method, job, role) for role in ("target", "source")}
            result["seconds"] = training_seconds(Path(job["part"])) + time.perf_counter() - trained
    if distributed.rank() == 0:
        save_weights(Path(job["part"]) / "model.pt", method)
        if job["name"] != "pretrain":
            cache.write_json(Path(job["part"]) / "result.json", result)
    return True


def _fit(method, labelled: ImageStore, job: dict, report: Callable | None) -> bool:
    settings, inputs, device = job["settings"], job["inputs"], distributed.device()
    block, seed = settings["method"], settings["seed"]
    wanted = {"target": ImageStore(Path(inputs["target"]) / "train")} if "target" in needs(block) else {}
    if "styles" in inputs:
        wanted["styles"] = np.load(Path(inputs["styles"]) / "styled.npy", mmap_mode="r")
    if "clusters" in inputs:
        wanted["clusters"] = _clusters(job, wanted["target"])
    images_per_step = block.get("batch") or block["persons"] * block["images_per_person"]
    steps = num_steps(block, len(labelled) // images_per_step)
    done = int(getattr(method.classifier, "steps", 0))  # of a training that it goes on from
    identity.check_warm_up(settings.get("identity_loss", {}), job["name"], done + steps)
    if "steps" in needs(block):
        wanted["steps"] = steps
    functions = partial(build, block["optimiser"]), partial(build, block["schedule"])
    learner = Learner(method, *functions, steps, precision=settings.get("precision", "float32"))
    how = _how(job)
    if how["compile"]:
        for part in method.children():  # not the method: its draws are of the CPU
            part.compile()
    given = {"seed": seed, "device": device, "resident": how["resident"], "channels_last": how["channels_last"]}
    augment = partial(random_area_crop, erasing=block.get("random_erasing", 0.0))
    batches = _ahead(method_batches(method.streams(labelled, seed, **wanted), augment=augment, **given), steps)
    return loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job, report), **_rhythm(steps))


def _how(job: dict) -> dict[str, bool]:
    """What changes a training's speed and nothing but its rounding."""
    return {"channels_last": True, "compile": False, "resident": False} | job.get("how", {})


def _ahead(batches: Callable[[int], dict], steps: int) -> Callable[[int], dict]:
    """Batches prepared one step ahead where that costs the network nothing: on a GPU."""
    device = distributed.device()
    return batches if device == "cpu" else Ahead(batches, steps, device)


def _clusters(job: dict, target: ImageStore) -> np.ndarray:
    """n_t clusters of the target's images by the baseline's features; computed once, so that a resumed run has the same."""
    path = Path(job["part"]) / "clusters.npy"

    def computed() -> np.ndarray:
        if not path.exists():
            baseline = trained_method(Path(job["inputs"]["clusters"])).to(distributed.device())
            features = embed(baseline, target, normalise, device=distributed.device())
            save_array(path, clusters(features, job["settings"]["method"]["n_t"], seed=job["settings"]["seed"]))
        return np.load(path)

    return distributed.of_first(computed)


# Of a method's block, but not its constructor's.
TRAINING = ("steps", "epochs", "start", "optimiser", "schedule", "labels", "bn", "jitter", "random_erasing")


def new_method(settings: dict, num_persons: int):
    """The method of a stage's settings on its backbone, with their initial weights, for that many persons."""
    backbone = build({k: v for k, v in settings["backbone"].items() if k != "weights_file"})
    block = {k: v for k, v in settings["method"].items() if k not in TRAINING}
    return build(block, backbone, num_persons=num_persons, **identity.keywords(settings.get("identity_loss", {})))


def trained_method(folder: Path):
    """The trained method of a finished stage's folder (stage.json, model.pt), on the CPU and in training mode.

    The backbone's initial weights, which are overwritten, are neither read nor downloaded.

    Raises:
        ValueError: the stage has learned no persons (chance, histogram).
    """
    stage, weights = json.loads((folder / "stage.json").read_text()), load_weights(folder / "model.pt")
    if "classifier.weight" not in weights:
        raise ValueError(f"{folder} is {stage['name']}'s, which learns nothing; expected a trained method's folder")
    backbone = {key: None if key == "weights" else value for key, value in stage["settings"]["backbone"].items()}
    method = new_method(stage["settings"] | {"backbone": backbone}, len(weights["classifier.weight"]))
    method.load_state_dict(weights)
    return method


def needs(block: dict) -> tuple[str, ...]:
    """What the method's training takes beside the source with these options: of "target", "styles", "clusters" and "steps"."""
    options = {k: v for k, v in block.items() if k != "_target_"}
    return resolve(block["_target_"]).inputs(**options)


def num_steps(block: dict, steps_per_epoch: int) -> int:
    """`steps`, or `epochs` times the steps of one epoch."""
    return block["steps"] if block["steps"] is not None else block["epochs"] * steps_per_epoch


def training_seconds(part: Path) -> float:
    """Time of all training steps, those before a restart included."""
    seconds, last = 0.0, 0
    for line in (part / "metrics.jsonl").read_text().splitlines() if (part / "metrics.jsonl").exists() else []:
        entry = json.loads(line)
        seconds, last = seconds + entry["seconds_per_step"] * (entry["step"] - last), entry["step"]
    return seconds


def _rhythm(steps: int) -> dict[str, int]:
    """Reports 30 to 100 times a training; checkpoints ten times, but at least every 1000 steps."""
    return {"report_every": min(100, max(1, steps // 30)), "checkpoint_every": min(1000, max(10, steps // 10))}
