"""What a data set is once read: records of images, in three splits. Made by `reid_da.datasets`, used by all the rest.

Conventions, those of Market-1501 (Zheng et al., ICCV 2015), on which every reader agrees:

- A person is the integer of the file name. Three of them are no persons: JUNK (-1), a crop too poor to be judged, which
  readers drop and count, so that no record carries it; DISTRACTOR (0), a crop of a passer-by or of no person at
  all, which stays in the gallery, where it can only be a wrong answer; and UNLABELLED (-2), a crop of which nobody has
  told whom it shows, which only training may hold. Training and query hold neither of the others.
- A camera is the number in the file name, which counts from 1 (one's own may be 0) and may leave gaps. Who needs 0..n-1
  maps it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

UNLABELLED = -2
JUNK = -1
DISTRACTOR = 0
SPLITS = ("train", "query", "gallery")


def is_person(person):
    """Whether the number, or each of an array's, is somebody's."""
    return person > DISTRACTOR


@dataclass(frozen=True, slots=True)
class Record:
    """One image: where it lies, whom it shows and which camera took it."""

    path: str
    person: int
    camera: int


class Counts(NamedTuple):
    """Sizes of a split; `persons` leaves DISTRACTOR and UNLABELLED out, who are nobody; `images` and `cameras` count all."""

    images: int
    persons: int
    cameras: int


@dataclass(frozen=True)
class Dataset:
    """A data set as read from disk; records are sorted by path.

    `num_junk` counts the images dropped as JUNK, and `unmatched` lists (sorted) the paths that were passed over because
    no pattern matched their name and no list names them, so that nothing is skipped unseen. `lists` are the files, if
    any, that tell whom and where the images show: with another text in them it is another data set. `camera_names` has the
    names of those cameras, by number, that have one. `remarks` are lines that a user should read, of what the reader left alone.
    """

    name: str
    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    num_junk: int = 0
    unmatched: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    camera_names: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """Of all splits together."""
        return sum(len(getattr(self, split)) for split in SPLITS)

    def counts(self) -> dict[str, Counts]:
        """Number of images, persons (without DISTRACTOR, UNLABELLED) and cameras of each split, by the split's name."""
        return {split: _counts(getattr(self, split)) for split in SPLITS}


def _counts(records: tuple[Record, ...]) -> Counts:
    persons = {record.person for record in records if is_person(record.person)}
    return Counts(len(records), len(persons), len({record.camera for record in records}))


def differences(dataset: Dataset, published: dict[str, tuple[int, int]]) -> list[str]:
    """One line for every split whose size is not the published one; empty if the data set is whole.

    Args:
        published: split -> (images, persons) with persons counted as in `Counts`, such as `market1501.PUBLISHED`.

    Returns:
        Lines such as "train: 414 images of 50 persons; published 12936 of 751".
    """
    lines = []
    for split, counts in dataset.counts().items():
        images, persons = published[split]
        if (counts.images, counts.persons) != (images, persons):
            found = f"{counts.images} images of {counts.persons} persons"
            lines.append(f"{split}: {found}; published {images} of {persons}")
    return lines
