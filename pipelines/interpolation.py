"""Feature transfer's picture: a person of few images, given the deviations of others' images, as the method's decoder shows it.

matplotlib through sheets.
"""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from pipelines.sheets import QUERY, Sheet
from pipelines.training import trained_method
from reid_da.feature_transfer import transferred
from reid_da.images import ImageStore
from reid_da.methods.ftl_options import under_represented

PARTS = (Fraction(1, 3), Fraction(2, 3), Fraction(1))  # of a deviation that are shown


class Shown(NamedTuple):
    """Images as (..., H, W, 3) uint8: of R regular samples and of U under-represented persons."""

    regular: np.ndarray  # (R,) real
    decoded: np.ndarray  # (R,) what the decoder makes of their g
    persons: np.ndarray  # (U,) real, the first of each
    centres: np.ndarray  # (U,) their decoded centres
    mixed: np.ndarray  # (U, R, len(PARTS)), decoded c_u + t Q Q^T (g_r - c_r)


def visual_interpolation(method: Path, data: Path, rows: int = 6, columns: int = 4) -> plt.Figure:
    """Under-represented persons (rows) with deviations of regular persons' images (columns) put onto their centres.

    Left: a real image of the person, and the decoded centre, from which t of a deviation goes. Above the columns of a deviation:
    the regular image that it is of, real (framed) and decoded.

    Args:
        method: folder of a finished stage of FTL. data: of the data set that it was trained on.
    """
    shown = decoded_transfers(trained_method(method).eval(), ImageStore(data / "train"), rows, columns)
    parts = len(PARTS)
    sheet = Sheet(1 + len(shown.persons), 2 + parts * len(shown.regular), shown.persons.shape[1:3])
    sheet.label(0, "regular: real, decoded")
    for c in range(len(shown.regular)):
        sheet.show(0, 2 + parts * c, shown.regular[c], QUERY)
        sheet.show(0, 3 + parts * c, shown.decoded[c])
    for r in range(len(shown.persons)):
        sheet.label(1 + r, "few images")
        sheet.show(1 + r, 0, shown.persons[r], QUERY)
        sheet.show(1 + r, 1, shown.centres[r])
        for c in range(parts * len(shown.regular)):
            sheet.show(1 + r, 2 + c, shown.mixed[r, c // parts, c % parts])
    for c, title in enumerate(["real", "centre\nt = 0", *[f"t = {t}" for t in PARTS] * len(shown.regular)]):
        sheet.title(c, title)
    return sheet.figure


@torch.no_grad()
def decoded_transfers(method, store: ImageStore, rows: int, columns: int) -> Shown:
    """The picture's images. Centres are those of the trained encoder, Q is that of the last stage 1.

    Persons are spread evenly over each kind; of a regular one that image is taken whose deviation along Q is largest.

    Args:
        method: reid_da.methods.ftl.FTL, in evaluation mode. store: the training images, of which these persons' are looked at.
        rows, columns: under-represented and regular persons, fewer where there are fewer.
    """
    few = under_represented(store.labels, method.under)
    persons, regular = _spread(np.flatnonzero(few), rows), _spread(np.flatnonzero(~few), columns)
    centres = torch.stack([method.with_flips(store, _of(store, person)).mean((0, 1)) for person in persons]).float()
    chosen, features, deviations = [], [], []
    for person in regular:
        own = method.with_flips(store, _of(store, person))
        away = (own[:, 0] - own.mean((0, 1))).float()
        largest = int((away @ method.directions).norm(dim=1).argmax())
        chosen.append(_of(store, person)[largest])
        features.append(own[largest, 0].float())
        deviations.append(away[largest])
    mixed = [[_mixed(method, c, float(part) * d) for d in deviations for part in PARTS] for c in centres]
    shape = (len(persons), len(regular), len(PARTS), *store.images.shape[1:])
    first = [_of(store, person)[0] for person in persons]
    decoded = (_pixels(method.decoder(g)) for g in (torch.stack(features), centres))
    features, centres = decoded
    return Shown(store.images[chosen], features, store.images[first], centres, np.stack(mixed).reshape(shape))


def _mixed(method, centre: torch.Tensor, deviation: torch.Tensor) -> np.ndarray:
    return _pixels(method.decoder(transferred(centre[None], deviation[None], method.directions)))[0]


def _pixels(images: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _spread(numbers: np.ndarray, count: int) -> np.ndarray:
    return numbers[np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)]


def _of(store: ImageStore, person: int) -> np.ndarray:
    return np.flatnonzero(store.labels == person)
