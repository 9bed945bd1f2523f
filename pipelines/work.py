"""What each stage does, from a plain job (cache.job) to the files in its .part folder. Knows no ray, no mlflow, no hydra.

Runs in a worker of the training group (train), in an actor (style_shard) or in the command's own process (make_data).
"""

import io
import json
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from gan.translate import translate
from pipelines import cache
from pipelines.build import build, resolve
from reid_da import checkpoint, distributed, images, loop, sampling
from reid_da.augment import normalise
from reid_da.batches import method_batches, translation_batches
from reid_da.images import ImageStore
from reid_da.learner import Learner
from reid_da.ranking import evaluate
from reid_da.retrieval import embed

SPLITS = {"train": "bilinear", "query": "bicubic", "gallery": "bicubic"}  # HHL's filters
SHARD = 512  # images in a shard of styles


# ---------------------------------------------------------------- data


def make_data(job: dict) -> None:
    """Draw the data set if it is a synthetic one, read it, and decode every split into an ImageStore."""
    settings, part, report = job["settings"], Path(job["part"]), reporter(job)
    root = settings.get("root") or str(part / "drawn")
    if "draw" in settings:
        draw = settings["draw"]
        os.makedirs(root, exist_ok=True)
        build(draw["world"], root=root, seed=draw["seed"], progress=partial(report, phase="drawing"), **sizes(draw))
    dataset = build(settings["reader"], root)
    total = sum(counts.images for counts in dataset.counts().values())
    done = 0
    summary = {"junk": dataset.num_junk, "unmatched": list(dataset.unmatched), "splits": {}}
    for split, resample in SPLITS.items():
        records = getattr(dataset, split)
        store = images.create(
            part / split,
            records,
            **settings["images"],
            resample=resample,
            skip_unreadable=settings["skip_unreadable"],
            progress=lambda n, _, done=done: report(done + n, total, phase="decoding"),
        )
        done += len(records)
        summary["splits"][split] = dict(zip(("images", "persons", "cameras"), dataset.counts()[split], strict=True))
        summary["splits"][split]["skipped"] = store.skipped
    cache.write_json(part / "result.json", summary)
    cache.finish(job)


def sizes(draw: dict) -> dict:
    return {key: value for key, value in draw.items() if key not in ("world", "seed")}


# ---------------------------------------------------------------- training


def train(job: dict, report: Callable | None = None) -> None:
    """One trained stage, on every rank of the group; a finished one is passed over, an unfinished one goes on.

    Args:
        report: called as the loop's report, beside the folder's metrics.jsonl.
    """
    if distributed.broadcast(Path(job["folder"]).is_dir()):
        return
    torch.set_num_threads(job["threads"])
    torch.manual_seed(sampling.generator(job["settings"]["seed"], "weights").initial_seed())
    _generator(job, report) if job["name"] == "generator" else _method(job, report)
    if distributed.rank() == 0:
        checkpoint.remove(job["part"])
        cache.finish(job)
    distributed.broadcast(None)  # nobody goes on before the folder is in place


def _generator(job: dict, report) -> None:
    settings, device = job["settings"], distributed.device()
    store = ImageStore(Path(job["inputs"]["target"]) / "train")
    height, width = store.images.shape[1:3]
    generator = build(settings["generator"], store.num_cameras)
    if hasattr(generator, "measure"):  # the colour-affine one starts from the cameras' colour statistics
        generator.measure(store.images, torch.from_numpy(store.camera_labels))
    generator.to(device)
    discriminator = build(settings["discriminator"], store.num_cameras, height, width).to(device)
    steps = num_steps(settings, len(store) // settings["batch"])
    average = distributed.average_gradients
    learner = build(settings["training"], generator, discriminator, steps=steps, average_gradients=average)
    batches = translation_batches(store, settings["batch"], seed=settings["seed"], device=device, part=settings["crop"])
    loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job, report), **_rhythm(steps))
    if distributed.rank() == 0:
        save_weights(Path(job["part"]) / "generator.pt", generator)


def _method(job: dict, report) -> None:
    settings, device = job["settings"], distributed.device()
    block = settings["method"]
    stores = {role: ImageStore(Path(job["inputs"][role]) / "train") for role in ("source", "target")}
    wanted = {"target": stores["target"]} if "target" in needs(block) else {}
    if "styles" in job["inputs"]:
        wanted["styles"] = np.load(Path(job["inputs"]["styles"]) / "styled.npy", mmap_mode="r")
    own = {k: v for k, v in block.items() if k not in TRAINING}
    backbone = build({k: v for k, v in settings["backbone"].items() if k != "weights_file"})
    method = build(own, backbone, num_persons=stores["source"].num_persons)
    if "start" in job["inputs"]:
        method.start_from(load_weights(Path(job["inputs"]["start"]) / "model.pt"))
    method = distributed.global_batchnorm(method).to(device)
    images_per_step = block.get("batch") or block["persons"] * block["images_per_person"]
    steps = num_steps(block, len(stores["source"]) // images_per_step)
    learner = Learner(method, partial(build, block["optimiser"]), partial(build, block["schedule"]), steps)
    batches = method_batches(
        method.streams(stores["source"], settings["seed"], **wanted), seed=settings["seed"], device=device
    )
    loop.fit(learner, batches, steps, folder=job["part"], report=reporter(job, report), **_rhythm(steps))
    trained = time.perf_counter()
    if job["name"] != "pretrain":
        result = {role: _evaluate(method, Path(job["inputs"][role]), job, role) for role in ("target", "source")}
        result["seconds"] = _training_seconds(Path(job["part"])) + time.perf_counter() - trained
    if distributed.rank() == 0:
        save_weights(Path(job["part"]) / "model.pt", method)
        if job["name"] != "pretrain":
            cache.write_json(Path(job["part"]) / "result.json", result)


TRAINING = ("steps", "epochs", "start", "optimiser", "schedule")  # of a method's block: not its constructor's


def needs(block: dict) -> tuple[str, ...]:
    """Inputs beside the source that the method's training takes with these options: of "target" and "styles"."""
    options = {k: v for k, v in block.items() if k != "_target_"}
    return resolve(block["_target_"]).inputs(**options)


def num_steps(block: dict, steps_per_epoch: int) -> int:
    """`steps`, or `epochs` times the steps of one epoch."""
    return block["steps"] if block["steps"] is not None else block["epochs"] * steps_per_epoch


def _training_seconds(part: Path) -> float:
    """Time of all training steps, those before a restart included."""
    seconds, last = 0.0, 0
    for line in (part / "metrics.jsonl").read_text().splitlines() if (part / "metrics.jsonl").exists() else []:
        entry = json.loads(line)
        seconds, last = seconds + entry["seconds_per_step"] * (entry["step"] - last), entry["step"]
    return seconds


def _rhythm(steps: int) -> dict[str, int]:
    """Reports 30 to 100 times a training; checkpoints ten times, but at least every 1000 steps."""
    return {"report_every": min(100, max(1, steps // 30)), "checkpoint_every": min(1000, max(10, steps // 10))}


def _evaluate(method, data: Path, job: dict, role: str) -> dict:
    """Embed query and gallery, each rank its part, and score them; rank 0 keeps the target's features for the views."""
    distributed.assert_equal(dict(method.named_buffers()))
    stores, features = {}, {}
    for split in ("query", "gallery"):
        store = stores[split] = ImageStore(data / split)
        rows = np.array_split(np.arange(len(store)), distributed.world())[distributed.rank()]
        features[split] = distributed.gather_uneven(
            embed(method, store, normalise, rows=rows, device=distributed.device())
        )
    sides = [(features[s], stores[s].persons, stores[s].cameras) for s in ("query", "gallery")]
    metrics = evaluate(*sides[0], *sides[1])
    if role == "target" and distributed.rank() == 0:
        for split, rows in features.items():
            save_array(Path(job["part"]) / f"{split}_features.npy", rows.cpu().numpy())
    return {
        **{f"rank{k}": float(metrics.cmc[k - 1]) for k in (1, 5, 10, 20)},
        "mAP": metrics.mAP,
        "mAP_trapezoid": metrics.mAP_trapezoid,
        "num_valid_queries": metrics.num_valid_queries,
        "cmc": [float(value) for value in metrics.cmc[:50]],
    }


# ---------------------------------------------------------------- styles


def style_shards(job: dict) -> list[dict]:
    """The job's shards that are not on disk yet: deterministic ranges of the target's training images."""
    count = len(ImageStore(Path(job["inputs"]["target"]) / "train"))
    shards = [{**job, "rows": [a, min(a + SHARD, count)], "count": count} for a in range(0, count, SHARD)]
    return [shard for shard in shards if not _shard_path(shard).exists()]


def style_shard(job: dict) -> None:
    """One shard: images rows[0]..rows[1] in every camera's style, written whole to its own file."""
    torch.set_num_threads(job["threads"])
    store = _store(str(Path(job["inputs"]["target"]) / "train"))
    device = distributed.device()
    generator = _trained_generator(job["inputs"]["generator"], store.num_cameras, device)
    first, last = job["rows"]
    styled = translate(generator, store.images[first:last], store.num_cameras).numpy()
    path = _shard_path(job)
    path.parent.mkdir(exist_ok=True)
    save_array(path, styled)
    done = sum(1 for _ in path.parent.glob("*.npy")) * SHARD
    reporter(job)(min(done, job["count"]), job["count"])


def merge_styles(job: dict) -> None:
    """All shards as one array styled.npy, (N, K, H, W, 3) uint8."""
    part = Path(job["part"])
    shards = sorted((part / "shards").glob("*.npy"))
    first = np.load(shards[0], mmap_mode="r")
    count = len(ImageStore(Path(job["inputs"]["target"]) / "train"))
    merged = images.allocate(part / "styled.npy", (count, *first.shape[1:]))
    place = 0
    for shard in shards:
        rows = np.load(shard)
        merged[place : place + len(rows)] = rows
        place += len(rows)
    assert place == count, (place, count)
    merged.flush()
    for shard in shards:
        shard.unlink()
    (part / "shards").rmdir()
    cache.finish(job)


def _shard_path(job: dict) -> Path:
    return Path(job["part"]) / "shards" / f"{job['rows'][0]:08d}.npy"


_store = lru_cache(maxsize=2)(ImageStore)  # an actor does many shards


@lru_cache(maxsize=1)
def _trained_generator(folder: str, num_cameras: int, device: str):
    block = json.loads((Path(folder) / "stage.json").read_text())["settings"]["generator"]
    generator = build(block, num_cameras)
    generator.load_state_dict(load_weights(Path(folder) / "generator.pt"))
    return generator.to(device).eval()


# ---------------------------------------------------------------- files


def reporter(job: dict, also: Callable | None = None) -> Callable:
    """report(done, total, floats, phase): a line in the part's metrics.jsonl, by rank 0, never twice for one step.

    After a restart the lines beyond the checkpoint are taken out again, so that the file reads as one undisturbed run.
    """
    path = Path(job["part"]) / "metrics.jsonl"
    state = {"started": False}

    def report(done: int, total: int, floats: dict | None = None, phase: str = "") -> None:
        if distributed.rank() == 0:
            if not state["started"]:
                _keep_before(path, done, phase)
                state["started"] = True
            with open(path, "a") as file:
                file.write(json.dumps({"step": done, "total": total, "phase": phase, **(floats or {})}) + "\n")
        if also:
            also(done, total, floats or {})

    return report


def _keep_before(path: Path, step: int, phase: str) -> None:
    if path.exists():
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if (entry := json.loads(line))["step"] < step and entry["phase"] == phase]
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)


def save_weights(path: Path, module: torch.nn.Module) -> None:
    """The module's state dict, on the CPU, as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in module.state_dict().items()}, buffer)
    write_whole(path, buffer)


def save_array(path: Path, array: np.ndarray) -> None:
    """The array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_whole(path, buffer)


def write_whole(path: Path, buffer: io.BytesIO) -> None:
    """Write through a temporary name. From memory: torch and numpy tell a full disk by errors of their own, Python by OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(buffer.getbuffer())
    os.replace(temporary, path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)
