"""DukeMTMC-reID (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017).

Its creators have withdrawn it: whether to use a copy is for its holder to settle; this only reads the layout.
"""

from reid_da.datasets import folders
from reid_da.records import Dataset

# split -> (images, persons). The gallery's 408 distractors carry ids of their own here, and count as persons.
PUBLISHED = {"train": (16522, 702), "query": (2228, 702), "gallery": (17661, 1110)}


def dukemtmc(root: str) -> Dataset:
    """DukeMTMC-reID as its archive unpacks: 8 cameras, names like 0001_c2_f0046182.jpg, images of any size.

    Args:
        root: DukeMTMC-reID itself, or the folder that holds it.

    Raises:
        ValueError: see `folders.read`. Sizes other than PUBLISHED are no error: ask `records.differences`.
    """
    return folders.read("dukemtmc", root, official="DukeMTMC-reID", example="0001_c2_f0046182.jpg")
