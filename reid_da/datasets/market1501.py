"""Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015)."""

from reid_da.datasets import folders
from reid_da.records import Dataset

# split -> (images, persons). The gallery's 19,732 files less 3,819 of junk; its 2,798 distractors are counted as
# images and not as a person.
PUBLISHED = {"train": (12936, 751), "query": (3368, 750), "gallery": (15913, 750)}


def market1501(root: str) -> Dataset:
    """Market-1501 as its archive unpacks: 6 cameras, names like 0002_c1s1_000451_03.jpg, junk -1, distractors 0000.

    Args:
        root: Market-1501-v15.09.15 itself, or the folder that holds it.

    Raises:
        ValueError: see `folders.read`. Sizes other than PUBLISHED are no error: ask `records.differences`.
    """
    return folders.read("market1501", root, official="Market-1501-v15.09.15", example="0002_c1s1_000451_03.jpg")
