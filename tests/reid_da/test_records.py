"""Counts of a data set, and how they differ from the published ones."""

import dataclasses

import pytest

from reid_da.records import DISTRACTOR, UNLABELLED, Counts, Dataset, Record, differences

TRAIN = (Record("a", 7, 1), Record("b", 7, 2), Record("c", 9, 2))
QUERY = (Record("d", 3, 4),)
GALLERY = (Record("e", 3, 5), Record("f", DISTRACTOR, 6), Record("g", DISTRACTOR, 6))
DATASET = Dataset("tiny", TRAIN, QUERY, GALLERY)


def test_counts_leave_the_distractor_out_of_the_persons_only():
    assert DATASET.counts() == {"train": Counts(3, 2, 2), "query": Counts(1, 1, 1), "gallery": Counts(3, 1, 2)}


def test_counts_leave_out_of_the_persons_whom_nobody_has_told():
    train = (Record("a", UNLABELLED, 0), Record("b", UNLABELLED, 3), Record("c", 5, 3))
    assert Dataset("tiny", train, (), ()).counts()["train"] == Counts(3, 1, 2)


def test_differences_name_each_split_that_differs():
    published = {"train": (3, 2), "query": (2, 1), "gallery": (3, 2)}
    assert differences(DATASET, published) == [
        "query: 1 images of 1 persons; published 2 of 1",
        "gallery: 3 images of 1 persons; published 3 of 2",
    ]
    assert differences(DATASET, {"train": (3, 2), "query": (1, 1), "gallery": (3, 1)}) == []


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TRAIN[0].person = 1
