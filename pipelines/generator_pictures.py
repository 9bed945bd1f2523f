"""Pictures of a generator that is still in training: the same few images in every camera's style, ten times a training.

Written beside metrics.jsonl by the process that trains, for whoever looks on (MLflow's step slider, by tracking.py). PIL and
numpy only.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from gan.translate import translate
from pipelines.files import write_whole
from reid_da import distributed
from reid_da.images import ImageStore

FOLDER = "grids"
TIMES = 10  # in a training
ROWS = 6
HEIGHT = 128  # pixels that a person is at least high in the picture
GAP, HEAD, INK, PAPER = 6, 18, (40, 40, 40), (255, 255, 255)


def drawing(generator: nn.Module, store: ImageStore, part: Path, report_every: int) -> Callable:
    """What reporter calls after each report: rank 0 writes part/grids/<step>.png, at the first report of each tenth.

    The last is of the finished generator. A file is whole or not there. No random number is drawn and the generator is
    left as it was, so training does not feel it; a resumed training writes what an undisturbed one would.

    Args:
        generator: what will make the styles; it goes on changing under training. report_every: steps between reports.
    """
    rows = chosen_rows(store.camera_labels)

    def draw(done: int, total: int, floats: dict) -> None:
        before = (done - 1) // report_every * report_every  # of the report before
        if distributed.rank() == 0 and done * TIMES // total > before * TIMES // total:
            (part / FOLDER).mkdir(exist_ok=True)
            buffer = io.BytesIO()
            picture(generator, store, rows).save(buffer, "PNG")
            write_whole(part / FOLDER / f"{done:08d}.png", buffer)

    return draw


def chosen_rows(camera_labels: np.ndarray, count: int = ROWS) -> np.ndarray:
    """`count` rows, spread evenly over the cameras that occur and within each camera over its images; ascending by camera.

    Args:
        camera_labels: (N,) int. Fewer images of a camera than it has to give are taken more than once.
    """
    cameras = np.unique(camera_labels)
    asked = cameras[np.arange(count) * len(cameras) // count]
    rows = []
    for camera, share in zip(*np.unique(asked, return_counts=True), strict=True):
        own = np.flatnonzero(camera_labels == camera)
        rows += [own[(2 * i + 1) * len(own) // (2 * share)] for i in range(share)]
    return np.array(rows)


def picture(generator: nn.Module, store: ImageStore, rows: np.ndarray) -> Image.Image:
    """Rows of images: the real one, then its style for every camera; a frame marks the camera that took it."""
    training = generator.training
    styled = translate(generator.eval(), store.images[rows], store.num_cameras).numpy()
    generator.train(training)
    cells = np.concatenate([store.images[rows][:, None], styled], axis=1)
    scale = -(-HEIGHT // cells.shape[2])  # whole pixels, or they would blur
    cells = cells.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = (side + GAP for side in cells.shape[2:4])
    sheet = Image.new("RGB", (cells.shape[1] * width + GAP, len(rows) * height + GAP + HEAD), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, title in enumerate(["real", *(f"as {name}" for name in store.camera_names)]):
        middle = GAP + column * width + (width - GAP) // 2
        pen.text((middle, HEAD // 2 + GAP // 2), title, INK, font, anchor="mm")
        for r, row in enumerate(rows):
            x, y = GAP + column * width, HEAD + GAP + r * height
            if column == 1 + store.camera_labels[row]:
                pen.rectangle([x - 3, y - 3, x + width - GAP + 2, y + height - GAP + 2], outline=INK, width=2)
            sheet.paste(Image.fromarray(cells[r, column]), (x, y))
    return sheet
