"""Files that cannot be read, sizes, and the same file in two splits."""

from PIL import Image

from reid_da.records import Dataset, Record
from reid_da.survey import Survey, survey


def picture(path, size=(6, 9), colour=0):
    Image.new("RGB", size, (colour, 0, 0)).save(path)
    return str(path)


def test_every_file_is_read_and_what_is_wrong_is_kept(tmp_path):
    whole = picture(tmp_path / "whole ü.jpg", (40, 80), 200)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "whole ü.jpg").read_bytes()[:-120])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    gone = tmp_path / "gone.jpg"
    train = tuple(Record(str(path), 1, 1) for path in (whole, cut, text, gone))
    done = []
    found = survey(Dataset("tiny", train, (), ()), lambda n, total: done.append((n, total)))
    assert [path for path, _ in found.unreadable] == [str(cut), str(text), str(gone)]
    assert all(why for _, why in found.unreadable)
    assert found.sizes == {(40, 80): 1} and found.twins == []
    assert done == [(4, 4)]


def test_a_file_in_two_splits_is_found_by_its_bytes_and_one_twice_in_a_split_is_not_told(tmp_path):
    a, again, b = (picture(tmp_path / f"{name}.png", colour=colour) for name, colour in (("a", 1), ("c", 1), ("b", 2)))
    copy = picture(tmp_path / "copy.png", colour=1)
    sides = [tuple(Record(path, 1, 1) for path in paths) for paths in ((a, again), (b,), (copy,))]
    assert survey(Dataset("tiny", *sides)).twins == [(a, copy)]


def test_sizes_are_told_from_smallest_to_largest_with_the_middle_one():
    assert Survey().size_range() == "none"
    assert Survey(sizes={(64, 128): 9}).size_range() == "64x128"
    assert Survey(sizes={(10, 20): 3, (30, 60): 3, (5, 5): 1}).size_range() == "5x5 to 30x60, half of them up to 10x20"
