"""CUHK03-NP: CUHK03 (Li et al., DeepReID, CVPR 2014) in the new protocol of Zhong et al. (Re-ranking Person
Re-identification with k-reciprocal Encoding, CVPR 2017).

    cuhk03-np/  detected/  labeled/        each with bounding_box_train/  query/  bounding_box_test/
"""

from reid_da.datasets import folders
from reid_da.records import Dataset

# The data set's name, which tells the boxes -> split -> (images, persons).
PUBLISHED = {
    "cuhk03np detected": {"train": (7365, 767), "query": (1400, 700), "gallery": (5332, 700)},
    "cuhk03np labeled": {"train": (7368, 767), "query": (1400, 700), "gallery": (5328, 700)},
}
BOXES = ("detected", "labeled")


def cuhk03np(root: str, boxes: str = "detected") -> Dataset:
    """CUHK03-NP as its archive unpacks: 2 cameras, names like 0001_c1_1.png (or jpg).

    Args:
        root: cuhk03-np itself, or the folder that holds it; never one of its two folders, which would not tell the boxes.
        boxes: "detected", as a pedestrian detector found the people, or "labeled", drawn by hand.

    Raises:
        ValueError: no such boxes; else see `folders.read`. Sizes other than PUBLISHED are no error: ask `records.differences`.
    """
    if boxes not in BOXES:
        raise ValueError(f"boxes is {boxes}; expected {' or '.join(BOXES)}")
    return folders.read(f"cuhk03np {boxes}", root, official="cuhk03-np", example="0001_c1_1.png", inside=boxes)
