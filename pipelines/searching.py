"""Which crops of a data set are nearest to a query's, by a saved model.

`plan` says which stages, `embed_split` is the work of the one that is search's own: the features of all crops, made once.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from pipelines import cache, evaluating
from pipelines.cache import Given, Stage
from pipelines.data_stage import SPLITS, camera_names
from pipelines.device import stage_work
from pipelines.files import reporter, save_array
from pipelines.graph import VERSIONS
from pipelines.scoring import check_model
from pipelines.training import trained_method
from reid_da import distributed, retrieval
from reid_da.augment import normalise
from reid_da.datasets.folders import CROPS
from reid_da.decoding import DAMAGED, decode
from reid_da.images import ImageStore
from reid_da.records import is_person

CHUNK = 256  # queries in memory together


def check(own: dict) -> None:
    """Refuse options of conf/search.yaml that are none."""
    check_model(own)
    if not own["query"] or not isinstance(own["query"], str):
        raise ValueError("which crop? give query=/path of an image, or of a folder of images")
    if own["among"] not in (None, "gallery", "train"):
        raise ValueError(f"among is {own['among']}; expected gallery or train")
    if isinstance(own["k"], bool) or not isinstance(own["k"], int) or own["k"] < 1:
        raise ValueError(f"k is {own['k']}; expected a whole number, 1 or more")
    if own["cameras"] is not None and (not isinstance(own["cameras"], list) or not own["cameras"]):
        raise ValueError(f"cameras is {own['cameras']}; expected a list such as cameras=[3,7], or null for all")


def queries(path: str) -> list[str]:
    """The image files that the path names, sorted; itself, or those in the folder and below it.

    Raises:
        ValueError: there is none.
    """
    place = os.path.abspath(os.path.expanduser(path))
    if os.path.isfile(place):
        return [place]
    found = [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
    if images := sorted(one for one in found if one.lower().endswith(CROPS)):
        return images
    there = "holds no image" if os.path.isdir(place) else "is not there"
    raise ValueError(f"query={path} {there}; expected an image, or a folder of images ({', '.join(CROPS)})")


def plan(model: Given, data: Stage, own: dict) -> list[Stage]:
    """The data, and the model's features of its crops that are searched.

    Args:
        model: see saved.find. data: the target's data stage, at the model's size. own: conf/search.yaml's values.
    Raises:
        ValueError: the data set has no such crops.
    """
    judged, name = data.about["judged"], data.about["dataset"]
    split = own["among"] or ("gallery" if judged else "train")
    if split == "gallery" and not judged:
        raise ValueError(f"among=gallery: {name} has no gallery; expected among=train")
    if split == "train" and not data.about["images"]:
        raise ValueError(f"among=train: {name} has no training crops; expected among=gallery")
    inputs = {"model": model, "target": data}
    return [data, Stage("features", f"features of {name}", {"split": split}, inputs, VERSIONS["features"])]


@stage_work
def embed_split(job: dict) -> None:
    """One features stage; a finished one is passed over. features.npy: (N, D) float32, a row for each crop of the split."""
    first = distributed.rank() == 0
    with cache.writing(job) if first else nullcontext():
        if distributed.broadcast(Path(job["folder"]).is_dir()):
            return
        method = trained_method(Path(job["inputs"]["model"])).to(distributed.device())
        store = ImageStore(Path(job["inputs"]["target"]) / job["settings"]["split"])
        progress = partial(reporter(job), total=len(store), phase="embedding")
        found = evaluating.features_of(method, store, np.arange(len(store)), progress)
        if first:
            save_array(Path(job["part"]) / "features.npy", found.numpy())
            cache.finish(job)
        distributed.broadcast(None)  # nobody goes on before the folder is in place


def rows(features: Stage, work_dir: Path, cameras: list[int | str] | None) -> np.ndarray:
    """The rows, of the split that a features stage is of, of those cameras' crops: numbers or names; None: all cameras.

    Raises:
        ValueError: a camera that has no crop there.
    """
    data = features.inputs["target"].folder(work_dir)
    store, names = ImageStore(data / features.settings["split"]), camera_names(data)
    there = {int(number): names.get(int(number)) for number in store.camera_names}
    if cameras is None:
        return np.arange(len(store))
    numbers = {str(number): number for number in there} | {name: number for number, name in there.items() if name}
    if unknown := [camera for camera in cameras if str(camera) not in numbers]:
        known = ", ".join(f"{number} ({name})" if name else str(number) for number, name in there.items())
        raise ValueError(f"cameras has {unknown[0]}, of which there is no crop; expected some of {known}")
    return np.flatnonzero(np.isin(store.cameras, [numbers[str(camera)] for camera in cameras]))


class Answers:
    """The nearest crops of queries, by a finished features stage.

    Args:
        features: that stage. work_dir: absolute. rows: of the crops that are searched (see `rows`).
    """

    def __init__(self, features: Stage, work_dir: Path, rows: np.ndarray):
        model, data = (features.inputs[role].folder(work_dir) for role in ("model", "target"))
        split = features.settings["split"]
        self.store, self.names, self.resample = ImageStore(data / split), camera_names(data), SPLITS[split]
        self.method = trained_method(model).to(distributed.device())
        self.rows = rows
        self.index = retrieval.index(np.load(features.folder(work_dir) / "features.npy", mmap_mode="r")[self.rows])

    def of(self, paths: Sequence[str], k: int) -> Iterator[dict]:
        """For each image file "query", its path, and "nearest", the k nearest crops, fewer where there are no more.

        Each has "rank" from 1, "distance" (Euclidean, of L2-normalised features: 0 to 2), "camera", "camera_name" and "person"
        (null where nobody tells), "path" and "row" in the store. The query itself, by its path, is none of them.

        Raises:
            ValueError: a file that cannot be read.
        """
        for start in range(0, len(paths), CHUNK):
            some = paths[start : start + CHUNK]
            pictures = _Pictures(np.stack([self.picture(path) for path in some]))
            features = retrieval.embed(self.method, pictures, normalise, device=distributed.device())
            found = retrieval.nearest(self.index, features, min(k + 1, len(self.rows)))
            for path, distances, rows in zip(some, *(one.tolist() for one in found), strict=True):
                yield {"query": path, "nearest": self._told(path, distances, self.rows[rows].tolist())[:k]}

    def picture(self, path: str) -> np.ndarray:
        """(H, W, 3) uint8: the file as the model takes it, by the filter of the crops that are searched."""
        try:
            return decode(path, *self.store.images.shape[1:3], self.resample)[0]
        except DAMAGED as error:
            raise ValueError(f"query {path} cannot be read: {error}; expected an image") from error

    def _told(self, query: str, distances: list[float], rows: list[int]) -> list[dict]:
        own = os.path.realpath(query)
        others = [
            (d, row) for d, row in zip(distances, rows, strict=True) if os.path.realpath(self.store.paths[row]) != own
        ]
        return [
            {"rank": rank, "distance": round(distance, 4), **self._crop(row)}
            for rank, (distance, row) in enumerate(others, start=1)
        ]

    def _crop(self, row: int) -> dict:
        camera, person = int(self.store.cameras[row]), int(self.store.persons[row])
        return {
            "camera": camera,
            "camera_name": self.names.get(camera),
            "person": person if is_person(person) else None,
            "path": self.store.paths[row],
            "row": row,
        }


class _Pictures:
    """What retrieval.embed takes for a store."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)


def lines(answer: dict) -> list[str]:
    """An answer for the screen: the query, and a line for each crop."""
    told = [answer["query"]]
    for crop in answer["nearest"]:
        named = f" ({crop['camera_name']})" if crop["camera_name"] else ""
        person = f"person {crop['person']}" if crop["person"] is not None else ""
        told.append(
            f"{crop['rank']:4}  {crop['distance']:.3f}  camera {crop['camera']}{named}  {person:12} {crop['path']}"
        )
    return told
