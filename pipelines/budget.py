"""What a sweep's trials may take of time and disk, before the first of them is made."""

import json
import shutil
from pathlib import Path

from pipelines import training
from pipelines.sweeps import Trial


def training_seconds(one: Trial, work_dir: Path) -> float | None:
    """How long a trial's trainings may take: the images a step and the time that the stage it starts from took for each of its own.

    None where it starts from nothing that has been timed, or lengths are told in epochs.
    """
    stage = one.trained()[0]
    before, block = stage.inputs.get("start"), stage.settings["method"]
    if before is None or not before.settings["method"]["steps"] or not block["steps"]:
        return None
    taken = training.training_seconds(before.folder(work_dir)) / before.settings["method"]["steps"]
    data = json.loads((stage.inputs["target"].folder(work_dir) / "result.json").read_text())["splits"]["train"]
    per_image = taken / images_a_step(before.settings["method"], data["cameras"])
    return per_image * images_a_step(block, data["cameras"]) * block["steps"] * len(one.settings)


def disk(one: Trial, count: int, at_once: int) -> int:
    """Bytes that the trials may take: a model each, and two checkpoints of weights and optimiser for those that run."""
    settings = one.trained()[0].settings
    backbone = {key: None if key == "weights" else value for key, value in settings["backbone"].items()}
    method = training.new_method(settings | {"backbone": backbone}, 1)
    weights = sum(4 * parameter.numel() for parameter in method.parameters())
    return (count * weights + at_once * 2 * 3 * weights) * len(one.settings)


def check_disk(one: Trial, count: int, at_once: int) -> int:
    """`disk` of the trials that are to be made; refuses a sweep for which the disk of work_dir has no room, with the numbers."""
    folder = Path(one.settings[0]["work_dir"]).absolute()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, disk(one, count, min(count, at_once))
    if needed > free:
        raise ValueError(
            f"the trials need about {_bytes(needed)} in {folder}, which has {_bytes(free)} free; make space, or sweep less"
        )
    return needed


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def images_a_step(block: dict, cameras: int) -> int:
    """Images that pass through the network in a step of the method with these settings."""
    losses = block.get("losses", "L_CD")
    pk = block.get("persons", 0) * block.get("images_per_person", 0) * (losses != "L_C")
    target = 0 if losses == "L_T" else block.get("n_t", 0) * (1 + cameras * (losses != "L_D"))
    return block.get("batch", 0) + pk + target + block.get("target_batch", 0)
