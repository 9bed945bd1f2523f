"""What is to be known of a data set before anything is computed from it: whom its cameras see, which queries have an answer.

Counts of records alone; no image is opened.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from reid_da.records import Counts, Dataset, Record, is_person


@dataclass(frozen=True)
class Queries:
    """How many queries count under the protocol (Market-1501's), and why the others fall out.

    valid: a gallery image of the person by another camera. own_camera: by the query's own camera alone, which the protocol
    leaves out. absent: none. valid + own_camera + absent = total.
    """

    total: int
    valid: int
    own_camera: int
    absent: int

    def __str__(self) -> str:
        if not self.total:
            return "no queries"
        reasons = []
        if self.own_camera:
            reasons.append(f"{self.own_camera} of {self.total} queries have no match in another camera")
        if self.absent:
            reasons.append(f"{self.absent} of {self.total} no match in the gallery")
        return "; ".join([f"{self.valid} of {self.total} queries are valid", *reasons])


def queries(dataset: Dataset, same_camera: bool = False) -> Queries:
    """Which of the data set's queries evaluation can use. same_camera: matches by the query's own camera count too."""
    cameras = defaultdict(set)
    for record in dataset.gallery:
        if is_person(record.person):
            cameras[record.person].add(record.camera)
    kinds = Counter()
    for record in dataset.query:
        seen = cameras.get(record.person, set())
        matching = seen if same_camera else seen - {record.camera}
        kinds["valid" if matching else "own_camera" if seen else "absent"] += 1
    return Queries(len(dataset.query), *(kinds[kind] for kind in ("valid", "own_camera", "absent")))


def by_camera(records: Sequence[Record]) -> dict[int, Counts]:
    """Camera -> its images and persons, by camera."""
    found = defaultdict(list)
    for record in records:
        found[record.camera].append(record.person)
    return {
        camera: Counts(len(persons), len({p for p in persons if is_person(p)}), 1)
        for camera, persons in sorted(found.items())
    }


def seen_once(records: Sequence[Record]) -> int:
    """Persons whom one camera alone has seen; of them no other camera's look can be learned, or found."""
    cameras = defaultdict(set)
    for record in records:
        if is_person(record.person):
            cameras[record.person].add(record.camera)
    return sum(len(seen) == 1 for seen in cameras.values())


def in_training_and_test(dataset: Dataset) -> int:
    """Persons of query or gallery who are in the training images too: scores on them are not of people never seen."""
    trained, tested = (
        {record.person for record in records if is_person(record.person)}
        for records in (dataset.train, (*dataset.query, *dataset.gallery))
    )
    return len(trained & tested)
