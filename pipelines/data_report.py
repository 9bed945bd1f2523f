"""What a check of a data set tells, as lines, and what must be mended."""

from dataclasses import replace
from pathlib import Path

from reid_da import inspection
from reid_da.records import SPLITS, UNLABELLED, Dataset
from reid_da.survey import Survey

SHOWN = 3  # files named of many
NOT_JUDGED = "no query and gallery images of known persons"  # what a data set has on which no method is judged


def counts(dataset: Dataset, same_camera: bool = False) -> list[str]:
    """Images, persons and cameras of each split, and of each camera in it; how many queries count; names of cameras."""
    found = dataset.counts()
    cameras = sorted({record.camera for split in SPLITS for record in getattr(dataset, split)})
    width = max([7, *(len(str(camera)) + 1 for camera in cameras)])
    each = "".join(f"{f'c{camera}':>{width}}" for camera in cameras)
    lines = [f"{'':10}{'images':>9}{'persons':>9}{'cameras':>9}   images of camera{each}"]
    for split in SPLITS:
        by_camera = inspection.by_camera(getattr(dataset, split))
        each = "".join(f"{by_camera[c].images if c in by_camera else '-':>{width}}" for c in cameras)
        one = found[split]
        lines.append(f"{split:10}{one.images:9,}{one.persons:9,}{one.cameras:9}{'':19}{each}")
    if (valid := inspection.queries(dataset, same_camera)).total:
        lines.append(f"valid queries: {valid.valid:,} of {valid.total:,}")
    if dataset.camera_names:
        lines.append("cameras: " + ", ".join(f"c{c} is {name}" for c, name in sorted(dataset.camera_names.items())))
    return lines


def remarks(dataset: Dataset, same_camera: bool = False) -> list[str]:
    """What the counts give reason to say: queries that do not count, persons of one camera, persons on both sides."""
    lines, valid = [], inspection.queries(dataset, same_camera)
    if valid.total and valid.valid < valid.total:
        lines.append(str(valid))
    if once := inspection.seen_once(dataset.train):
        lines.append(f"{once} of {dataset.counts()['train'].persons} training persons are seen by one camera only")
    if both := inspection.in_training_and_test(dataset):
        lines.append(f"{both} persons are in training and in test: scores on them are not of people never seen")
    return lines


def as_target(name: str, judged: bool, cameras: int) -> list[str]:
    """What a target leaves out of a run, and why: it names no persons, or has one camera. Told before anything is computed.

    judged: whether it has query and gallery images. cameras: of its training images.
    """
    lines = []
    if not judged:
        lines.append(
            f"{name}: {NOT_JUDGED}: methods adapt to it and are not judged on it (no target scores, CMC curve, ranked lists "
            "or upper bound)"
        )
    if cameras == 1:
        lines.append(
            f"{name}: one camera, or none known, so there are no camera differences to learn: no generator is trained, and where "
            "HHL would take its styles, a crop's copies are the crop itself (hhl.styles=copies)"
        )
    return lines


def of_files(found: Survey) -> list[str]:
    """What the files themselves tell: sizes, and the same picture in two splits."""
    lines = [f"sizes, width x height: {found.size_range()}"]
    if found.twins:
        pairs = [" = ".join("/".join(Path(path).parts[-2:]) for path in pair) for pair in found.twins]
        lines.append(f"{len(pairs)} files are in two splits: {_some(pairs)}")
    return lines


def pointless(dataset: Dataset, name: str, role: str, same_camera: bool = False) -> list[str]:
    """What no run can come to anything with, a line each: found, expected, what helps. role: source, target, or judging alone."""
    lines, valid = [], inspection.queries(dataset, same_camera)
    if role == "source" and (persons := dataset.counts()["train"].persons) < 2:
        lines.append(
            f"{name}: {len(dataset.train)} training images of {persons} persons; a source needs images of two persons and more, "
            "with their names: a set without persons can be the target"
        )
    elif role == "source" and (nameless := sum(record.person == UNLABELLED for record in dataset.train)):
        lines.append(
            f"{name}: {nameless} of {len(dataset.train)} training images tell no person; a source must be labelled throughout: "
            "leave them out of it"
        )
    elif role == "target" and not dataset.train:
        lines.append(
            f"{name}: no training images, so there is nothing to adapt to; expected crops in train. A trained model is judged on "
            "such a set by pipelines/evaluate.py"
        )
    if valid.total and not valid.valid:
        lines.append(
            f"{name}: {valid}; expected a gallery image of the person by another camera: put such persons into query and gallery, "
            "leave both empty, or count matches by the query's own camera too with same_camera=true"
        )
    return lines


def without(dataset: Dataset, paths: set[str]) -> Dataset:
    """The data set without these images, which are left out since they cannot be read."""
    left = {split: tuple(one for one in getattr(dataset, split) if one.path not in paths) for split in SPLITS}
    return replace(dataset, **left)


def emptied(dataset: Dataset, left: Dataset) -> list[str]:
    """Splits and training cameras of which `left` (see `without`) has nothing, where a run counts on them: a line that says so."""
    wrong = [
        f"all {len(images)} images of {split}"
        for split in SPLITS
        if (images := getattr(dataset, split)) and not getattr(left, split)
    ]
    if left.train:
        lost = {record.camera for record in dataset.train} - {record.camera for record in left.train}
        wrong += [f"all training images of camera {camera}" for camera in sorted(lost)]
    if not wrong:
        return []
    return [
        f"{dataset.name}: {', '.join(wrong)} are unreadable, so that leaving them out leaves nothing there; expected some that can "
        "be read: mend them, or take these folders or lines out of the data set"
    ]


def unreadable(found: Survey, name: str, skip: bool, listed: Path) -> list[str]:
    """What a run would end at, unless such files are to be left out. listed: the file in which all are named, if many are."""
    if not found.unreadable or skip:
        return []
    named = [f"{path} ({why})" for path, why in found.unreadable]
    if len(named) > SHOWN:
        listed.write_text("".join(f"{one}\n" for one in named))
    return [
        f"{name}: {len(named)} images cannot be read: {_some(named)}{f' (all in {listed})' * (len(named) > SHOWN)}; mend or "
        "remove them, or leave such files out with data.skip_unreadable=true"
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
