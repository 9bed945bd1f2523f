"""The data stage: from the settings of `source` and `target` to where a data set lies or how it is drawn.

Its work is done in reading.py.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pipelines import data_report
from pipelines.build import build, resolve
from pipelines.cache import Stage
from pipelines.files import statuses
from reid_da.augment import IMAGENET_MEAN, IMAGENET_STD
from reid_da.datasets import synthetic
from reid_da.datasets.folders import CROPS
from reid_da.records import differences, is_person

SPLITS = {"train": "bilinear", "query": "bicubic", "gallery": "bicubic"}  # HHL's filters
PREPROCESSING = {  # of what every method sees; models tell it, and one that tells another is not evaluated
    "colour": "RGB",
    "resample": SPLITS["query"],
    "mean": list(IMAGENET_MEAN),  # of pixels / 255
    "std": list(IMAGENET_STD),
}


def data_stage(settings: dict, role: str, version: int, *, judging: bool = False) -> Stage:
    """The stage that reads or draws, and decodes, the data set in `role` ("source" or "target").

    judging: it is only to judge a trained model, and needs no training images.

    Raises:
        ValueError: the folder is missing or malformed (see the reader), or cannot be drawn.
    """
    block, data = settings[role], settings["data"]
    values = {"reader": block["reader"], "images": settings["images"]} | {"skip_unreadable": data["skip_unreadable"]}
    if block["name"] != block["layout"]:
        values["name"] = block["name"]  # a network of one's own: its rows and runs are its own, too
    root = data_root(settings, role)
    if root is None:
        world = {
            k: v for k, v in data["world"].items() if k != "long_tail" or v
        }  # without one it is the world of before
        draw = {"world": block["world"], "seed": data["seed"], **world}
        named = synthetic.can_redraw(block["world"]["world"])  # the files tell persons
        files = _drawn_files(settings, role)
        about = _about(settings, role) | _facts(named, named, [camera for _, camera in files])
        about |= {"images": len(files), "persons": data["world"]["train_persons"]}
        about["notes"] = _long_tail(block["name"], world)
        about["notes"] += _as_target(about) if role == "target" else _drawn_source(settings)
        return Stage("data", f"data {block['name']}", values | {"draw": draw}, version=version, about=about)
    dataset = build(block["reader"], root)
    wrong = unmatched(dataset, data["skip_unmatched"])
    wrong += data_report.pointless(dataset, block["name"], "judging" if judging else role, settings["same_camera"])
    if wrong:
        raise ValueError("\n".join(wrong))
    values |= {"root": root, "fingerprint": fingerprint(dataset)}
    labelled = all(is_person(record.person) for record in dataset.train)
    about = _about(settings, role) | _facts(bool(dataset.query), labelled, (one.camera for one in dataset.train))
    about |= {"images": len(dataset.train), "persons": len({one.person for one in dataset.train})}
    about["notes"] = notes(block["name"], dataset, block["reader"], settings["same_camera"])
    about["notes"] += _as_target(about) if role == "target" else []
    about["whole"] = not _differences(dataset, block["reader"])
    return Stage("data", f"data {block['name']}", values, version=version, about=about)


def _facts(judged: bool, labelled: bool, cameras: Iterable[int]) -> dict:
    """What runs ask of a data set: has it query and gallery, is every training image's person told, how many cameras took them?"""
    return {"judged": judged, "labelled": labelled, "cameras": len(set(cameras))}


def _long_tail(name: str, world: dict) -> list[str]:
    share = world.get("long_tail", 0)
    return [f"{name}: {100 * share:g} % of the training persons have two or three images (data.world.long_tail)"] * (
        share > 0
    )


def _drawn_source(settings: dict) -> list[str]:
    if data_root(settings, "target") is None:
        return []
    name = settings["source"]["name"]
    return [
        f"{name}: drawn people, no photographs, so what is learned from them is for trying things out: for a model to work with "
        "give a labelled set of photographs, source.root=/path, and recipe=paper"
    ]


def _as_target(about: dict) -> list[str]:
    return data_report.as_target(about["dataset"], about["judged"], about["cameras"])


def _drawn_files(settings: dict, role: str) -> list[tuple[str, int]]:
    block, data = settings[role], settings["data"]
    return synthetic.training_files(block["world"]["world"], seed=data["seed"], **data["world"])


def training_files(settings: dict, role: str) -> list[tuple[str, int]]:
    """Path and camera of every training image of the data set in `role`, before it is decoded; below its root if it is drawn.

    Raises:
        ValueError: the folder is missing or malformed (see the reader).
    """
    block, root = settings[role], data_root(settings, role)
    if root is None:
        return _drawn_files(settings, role)
    return [(record.path, record.camera) for record in build(block["reader"], root).train]


def data_root(settings: dict, role: str) -> str | None:
    """Absolute folder of the data set, or None when it is drawn."""
    block, data = settings[role], settings["data"]
    if block["root"]:
        return os.path.abspath(block["root"])
    if data["kind"] == "synthetic":
        if manifest := block["reader"].get("manifest"):  # a drawn world has none: the images would be somebody's own
            raise ValueError(
                f"{role}.reader.manifest is {manifest}; give the data set's folder too, with {role}.root=/path"
            )
        if not block["world"]:
            raise ValueError(f"{block['name']} cannot be drawn; give its folder with {role}.root=/path")
        return None
    if not data["root"]:
        raise ValueError(
            f"data=disk needs data.root=/path (it holds {block['folder']}) or {role}.root=/path/of/{block['name']}"
        )
    return os.path.abspath(Path(data["root"]) / block["folder"])


def origin(settings: dict) -> str:
    """ "synthetic", "disk" or, where they differ, "synthetic->disk"."""
    kinds = ["synthetic" if data_root(settings, role) is None else "disk" for role in ("source", "target")]
    return kinds[0] if kinds[0] == kinds[1] else "->".join(kinds)


def fingerprint(dataset) -> str:
    """Hash of every image's and list's path, size and time of change: what stands for the contents of data on disk."""
    digest = hashlib.sha256()
    images = (record.path for split in SPLITS for record in getattr(dataset, split))
    paths = [*images, *dataset.lists]
    for path, status in zip(paths, statuses(paths), strict=True):
        digest.update(json.dumps([path, status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()[:16]


def unmatched(dataset, skip: bool) -> list[str]:
    """Images of which nothing tells person and camera stop a run, unless they are to be left out: a line that says so."""
    images = [path for path in dataset.unmatched if path.lower().endswith(CROPS)]
    if not images or skip:
        return []
    return [
        f"{len(images)} images whose names match no pattern and stand in no list, {images[0]} first; expected names such as "
        "0002_c1s1_000451_03.jpg, a line in the data set's list, or a folder camera_<number> of one's own. Rename, list or "
        "move them, or leave them out with data.skip_unmatched=true"
    ]


def notes(name: str, dataset, block: dict, same_camera: bool = False) -> list[str]:
    """What a user should know of data on disk: sizes that are not the published ones, junk, files passed over, and what the
    counts give reason to say.
    """
    lines = [f"{name}, {line}" for line in _differences(dataset, block)]
    if dataset.num_junk:
        lines.append(f"{name}: {dataset.num_junk} junk images (person -1) left out")
    if count := len(dataset.unmatched):
        named = ", ".join(dataset.unmatched[:3]) + (", ..." if count > 3 else "")
        lines.append(f"{name}: {count} files that are no images of the data set left out: {named}")
    lines += [f"{name}: {line}" for line in dataset.remarks]
    return lines + [f"{name}: {line}" for line in data_report.remarks(dataset, same_camera)]


def _differences(dataset, block: dict) -> list[str]:
    """Against the counts that the reader's module states, if it states any: by the data set's name where it reads several."""
    published = getattr(sys.modules[resolve(block["_target_"]).__module__], "PUBLISHED", {})
    published = published.get(dataset.name, published)
    return differences(dataset, published) if published else []


def _about(settings: dict, role: str) -> dict:
    return {"dataset": settings[role]["name"], "data": "synthetic" if data_root(settings, role) is None else "disk"}


def camera_names(folder: Path) -> dict[int, str]:
    """The names of those cameras, by number, that have one, from the folder of a finished data stage."""
    found = json.loads((folder / "result.json").read_text()).get("camera_names", {})
    return {int(number): name for number, name in found.items()}


def world_options(draw: dict) -> dict:
    return {key: value for key, value in draw.items() if key not in ("world", "seed")}
