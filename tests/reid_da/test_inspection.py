"""Counts by hand: which queries are valid and why the others are not, whom one camera alone has seen."""

from reid_da import inspection
from reid_da.records import DISTRACTOR, Counts, Dataset, Record

A, B, C, D, E = 1, 2, 3, 4, 5
TRAIN = tuple(Record(f"t{n}", *one) for n, one in enumerate([(A, 1), (A, 1), (A, 3), (B, 1), (B, 1), (C, 12)]))
QUERY = tuple(Record(f"q{n}", *one) for n, one in enumerate([(C, 1), (C, 2), (D, 1), (E, 1), (E, 2)]))
GALLERY = tuple(Record(f"g{n}", *one) for n, one in enumerate([(C, 1), (D, 1), (D, 1), (DISTRACTOR, 2)]))
DATASET = Dataset("tiny", TRAIN, QUERY, GALLERY)


def test_a_query_is_valid_where_another_camera_has_its_person_in_the_gallery():
    """C by camera 2 alone; C by 1 and D have only their own camera's image; of E there is none."""
    assert inspection.queries(DATASET) == inspection.Queries(total=5, valid=1, own_camera=2, absent=2)


def test_why_queries_fall_out_is_said_with_counts():
    text = str(inspection.queries(DATASET))
    assert text == (
        "1 of 5 queries are valid; 2 of 5 queries have no match in another camera; 2 of 5 no match in the gallery"
    )
    assert str(inspection.Queries(3, 3, 0, 0)) == "3 of 3 queries are valid"
    assert str(inspection.Queries(0, 0, 0, 0)) == "no queries"


def test_by_camera_counts_images_and_persons():
    assert inspection.by_camera(TRAIN) == {1: Counts(4, 2, 1), 3: Counts(1, 1, 1), 12: Counts(1, 1, 1)}
    assert inspection.by_camera(GALLERY)[2] == Counts(1, 0, 1), "a distractor is nobody"


def test_persons_whom_one_camera_alone_has_seen():
    assert inspection.seen_once(TRAIN) == 2, "B and C"


def test_persons_in_training_and_in_test():
    assert inspection.in_training_and_test(DATASET) == 1, "C; the distractors are nobody"
