"""Sheets of images: data under its cameras, styles, ranked lists. matplotlib only."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pipelines.data_stage import camera_names
from reid_da import retrieval
from reid_da.decoding import decode
from reid_da.images import ImageStore
from reid_da.records import Dataset, Record, is_person

SHEET = (128, 64)  # pixels of a crop on a sheet of files
PLAIN = {"parse_math": False}  # a camera's name may have a $
RIGHT, WRONG, QUERY = "#2a9d3a", "#d1372c", "#333333"


def contact_sheet(data: Path, rows: int = 8) -> plt.Figure:
    """Test persons (rows) under the cameras (columns) of a data set; an empty cell: not seen there. Without them any crops."""
    stores = [ImageStore(data / split) for split in ("query", "gallery")]
    stores = stores if any(map(len, stores)) else [ImageStore(data / "train")]
    records = [
        Record((s, row), *who)
        for s, one in enumerate(stores)
        for row, who in enumerate(zip(one.persons, one.cameras, strict=True))
    ]
    return _sheet(
        records, lambda place: stores[place[0]].images[place[1]], stores[0].images.shape[1:3], rows, camera_names(data)
    )


def crops_by_camera(dataset: Dataset, left_out: set[str], rows: int = 8) -> plt.Figure:
    """Training images by camera (columns), from their files: a person a row who was seen by many, or any where none is told.

    Where there are no training images, those of query and gallery.

    left_out: paths that cannot be read.
    """
    every = dataset.train or (*dataset.query, *dataset.gallery)
    records = [record for record in every if record.path not in left_out]
    return _sheet(records, lambda path: decode(path, *SHEET, "bicubic")[0], SHEET, rows, dataset.camera_names)


def _sheet(records: list[Record], picture: Callable, size: tuple[int, int], rows: int, names: dict) -> plt.Figure:
    """A row per person, those seen by most cameras first; of images whose persons nobody tells, some of each camera.

    picture: picture(record.path) -> (H, W, 3) uint8. names: of the cameras, as `_title` takes them.
    """
    cameras = sorted({int(record.camera) for record in records})
    seen: dict[int, dict[int, object]] = {}
    for record in records:
        if is_person(record.person):
            seen.setdefault(int(record.person), {}).setdefault(int(record.camera), record.path)
    chosen = sorted(seen, key=lambda person: (-len(seen[person]), person))[:rows]
    cells = [seen[person] for person in chosen]
    if not chosen:
        of_camera = {camera: [record.path for record in records if record.camera == camera] for camera in cameras}
        spread = {c: _some(paths, rows) for c, paths in of_camera.items()}
        longest = max(map(len, spread.values()), default=0)
        cells = [{c: paths[i] for c, paths in spread.items() if i < len(paths)} for i in range(longest)]
    sheet = Sheet(max(1, len(cells)), max(1, len(cameras)), size)
    for r, places in enumerate(cells):
        for c, camera in enumerate(cameras):
            if camera in places:
                sheet.show(r, c, picture(places[camera]))
        if chosen:
            sheet.label(r, f"person {chosen[r]}")
    for c, camera in enumerate(cameras):
        sheet.title(c, _title(camera, names))
    return sheet.figure


def _some(paths: list, count: int) -> list:
    """So many of them from first to last, each once."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).astype(int))]


def style_grid(styles: Path, data: Path, rows: int = 8) -> plt.Figure:
    """Training images (left) in every camera's style; a framed cell is the image's own camera."""
    store, styled = ImageStore(data / "train"), np.load(styles / "styled.npy", mmap_mode="r")
    chosen, names = np.linspace(0, len(store) - 1, rows).astype(int), camera_names(data)
    sheet = Sheet(rows, 1 + styled.shape[1], store.images.shape[1:3])
    for r, row in enumerate(chosen):
        sheet.show(r, 0, store.images[row])
        for k in range(store.num_cameras):
            sheet.show(r, k + 1, styled[row, k], QUERY if store.camera_labels[row] == k else None)
    for c, title in enumerate(["real", *(f"as {_title(camera, names)}" for camera in store.camera_names)]):
        sheet.title(c, title)
    return sheet.figure


def styles_beside_truth(styles: Path, truth: Path, data: Path, images: int = 4) -> plt.Figure:
    """Training images (left) in every camera's style: the generator's above, what the camera would really have shown below."""
    store = ImageStore(data / "train")
    kinds = {
        "styled": np.load(styles / "styled.npy", mmap_mode="r"),
        "true": np.load(truth / "styled.npy", mmap_mode="r"),
    }
    chosen = np.linspace(0, len(store) - 1, images).astype(int)
    sheet = Sheet(2 * images, 1 + store.num_cameras, store.images.shape[1:3])
    for r, row in enumerate(chosen):
        for below, (kind, styled) in enumerate(kinds.items()):
            line = 2 * r + below
            sheet.show(line, 0, store.images[row])
            sheet.label(line, kind)
            for k in range(store.num_cameras):
                sheet.show(line, k + 1, styled[row, k], QUERY if store.camera_labels[row] == k else None)
    for c, title in enumerate(["real", *(f"as camera {camera}" for camera in store.camera_names)]):
        sheet.title(c, title)
    return sheet.figure


def ranked_lists(method: Path, data: Path, queries: int = 8, best: int = 10) -> plt.Figure:
    """Queries (left) and their nearest gallery images by the protocol, framed green where the person is right, red where wrong."""
    query, gallery = ImageStore(data / "query"), ImageStore(data / "gallery")
    same_camera = json.loads((method / "stage.json").read_text())["settings"].get("same_camera", False)
    chosen = np.linspace(0, len(query) - 1, queries).astype(int)
    counts = np.unique(gallery.persons[gallery.persons > 0], return_counts=True)[1]
    most = int(counts.max(initial=0))  # of one person: they may not count
    nearest = _nearest(method, chosen, min(len(gallery), best + most))
    sheet = Sheet(queries, 1 + best, query.images.shape[1:3])
    for r, row in enumerate(chosen):
        sheet.show(r, 0, query.images[row], QUERY)
        sheet.label(r, f"person {query.persons[row]}")
        same = [
            (gallery.persons[n] == query.persons[row], gallery.cameras[n] == query.cameras[row]) for n in nearest[r]
        ]
        who = zip(nearest[r], same, strict=True)
        counted = [(n, person) for n, (person, camera) in who if same_camera or not (person and camera)]
        for k, (n, right) in enumerate(counted[:best]):
            sheet.show(r, k + 1, gallery.images[n], RIGHT if right else WRONG)
    for c, title in enumerate(["query", *(f"rank {k + 1}" for k in range(best))]):
        sheet.title(c, title)
    return sheet.figure


def answers(
    found: list[dict], picture: Callable, store: ImageStore, names: dict[int, str], queries: int = 12, best: int = 10
) -> plt.Figure:
    """Queries (left) and the crops nearest to each, with distance and camera. found: of searching.Answers.of; picture: its own."""
    shown = found[:queries]
    columns = min(best, max(len(one["nearest"]) for one in shown))
    sheet = Sheet(len(shown), 1 + columns, store.images.shape[1:3])
    for r, one in enumerate(shown):
        sheet.show(r, 0, picture(one["query"]), QUERY)
        for c, crop in enumerate(one["nearest"][:columns], start=1):
            sheet.show(r, c, store.images[crop["row"]])
            sheet.note(r, c, f"{crop['distance']:.2f}  {names.get(crop['camera'], 'c' + str(crop['camera']))}")
    for c in range(1 + columns):
        sheet.title(c, f"rank {c}" if c else "query")
    return sheet.figure


def _nearest(method: Path, queries: np.ndarray, count: int) -> np.ndarray:
    """(len(queries), count) gallery rows, the nearest first: as a re-ranking has kept them, or by the features."""
    if (method / "nearest.npy").exists():
        return np.load(method / "nearest.npy", mmap_mode="r")[queries, :count]
    features = [np.load(method / f"{split}_features.npy") for split in ("query", "gallery")]
    return retrieval.nearest(retrieval.index(features[1]), features[0][queries], count)[1].numpy()


def _title(camera: int, names: dict[int, str]) -> str:
    return f"camera {camera}" + (f"\n{names[camera]}" if camera in names else "")


class Sheet:
    """Images in rows and columns on one pair of axes, in inches: a pair for each image takes seconds to make and to lay out."""

    LEFT, TOP, WIDE, GAP = 0.28, 0.34, 0.7, 0.08  # margins for labels and titles, a column's width, of which free

    def __init__(self, rows: int, columns: int, size: tuple[int, int]):
        self.high = (self.WIDE - self.GAP) * size[0] / size[1] + self.GAP
        width, height = self.LEFT + columns * self.WIDE, self.TOP + rows * self.high
        self.figure = plt.figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def show(self, row: int, column: int, image: np.ndarray, frame: str | None = None) -> None:
        """The pixels as they are, in a frame of that colour."""
        x, y = self.LEFT + column * self.WIDE, self.TOP + row * self.high
        wide, high = self.WIDE - self.GAP, self.high - self.GAP
        self.axes.imshow(image, extent=(x, x + wide, y + high, y), interpolation="nearest", aspect="auto")
        if frame:
            edge = {"fill": False, "edgecolor": frame, "linewidth": 2.5}
            self.axes.add_patch(plt.Rectangle((x, y), wide, high, **edge))

    def note(self, row: int, column: int, text: str) -> None:
        """Small words on the lower edge of an image."""
        x, y = self.LEFT + column * self.WIDE, self.TOP + (row + 1) * self.high - self.GAP
        paper = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8}
        self.axes.text(x + 0.02, y - 0.03, text, ha="left", va="bottom", fontsize=5, bbox=paper, **PLAIN)

    def title(self, column: int, text: str) -> None:
        x = self.LEFT + column * self.WIDE + (self.WIDE - self.GAP) / 2
        self.axes.text(x, self.TOP - 0.05, text, ha="center", va="bottom", fontsize=7, **PLAIN)

    def label(self, row: int, text: str) -> None:
        y = self.TOP + row * self.high + (self.high - self.GAP) / 2
        self.axes.text(self.LEFT - 0.05, y, text, ha="right", va="center", rotation=90, fontsize=7, **PLAIN)
