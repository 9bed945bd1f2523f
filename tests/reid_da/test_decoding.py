"""Stores: what was decoded is what Pillow decodes, and what could not be is named or counted."""

import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from reid_da import decoding
from reid_da.images import ImageStore
from reid_da.records import UNLABELLED, Record

FILES = [  # name, Pillow's mode, (width, height)
    ("0007_c3s1_000451_03.jpg", "RGB", (64, 128)),
    ("0002_c1s1_000001_01.jpg", "L", (40, 97)),
    ("0007_c1s1_000002_01.png", "RGBA", (33, 70)),
    ("0011_c6s1_000003_01.png", "P", (20, 20)),
    ("0002_c3s1_000004_01.jpg", "RGB", (200, 130)),
]


def write(folder, files=FILES):
    """The files, of noise, and their records in the order given."""
    rng, records = np.random.default_rng(0), []
    for name, mode, (width, height) in files:
        noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        noise.convert(mode).save(folder / name)
        person, camera = name.split("_c")[0], name.split("_c")[1][0]
        records.append(Record(str(folder / name), int(person), int(camera)))
    return records


def create(folder, records, **options):
    return decoding.create(folder, records, **{"height": 32, "width": 16, "resample": "bilinear"} | options)


def truncated(folder):
    """The records of FILES, the second file cut in the middle."""
    records = write(folder)
    content = (folder / FILES[1][0]).read_bytes()
    (folder / FILES[1][0]).write_bytes(content[: len(content) // 2])
    return records


def png_with_a_short_header():
    """Well-formed to the checksum, but its IHDR lacks a byte: Pillow raises a plain ValueError."""
    header = b"IHDR" + struct.pack(">IIBBBB", 8, 8, 8, 2, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 12) + header + struct.pack(">I", zlib.crc32(header))


def png_with_a_broken_chunk(path):
    """The header of its second data chunk zeroed: Pillow raises SyntaxError."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    content[second - 4 : second + 4] = bytes(8)
    return bytes(content)


@pytest.mark.parametrize("resample, theirs", [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_pixels_are_those_that_pillow_decodes(tmp_path, resample, theirs):
    records = write(tmp_path)
    store = create(tmp_path / "store", records, resample=resample)
    assert store.images.shape == (5, 32, 16, 3) and store.images.dtype == np.uint8
    for picture, record in zip(store.images, records, strict=True):
        expected = Image.open(record.path).convert("RGB").resize((16, 32), theirs)
        np.testing.assert_array_equal(picture, np.asarray(expected))


def test_a_store_opens_as_it_was_made(tmp_path):
    records = write(tmp_path)
    made, opened = create(tmp_path / "store", records), ImageStore(str(tmp_path / "store"))
    for store in (made, opened):
        assert len(store) == 5
        assert store.persons.tolist() == [7, 2, 7, 11, 2] and store.cameras.tolist() == [3, 1, 1, 6, 3]
        assert store.sizes.tolist() == [[64, 128], [40, 97], [33, 70], [20, 20], [200, 130]], "not the original sizes"
        assert store.paths == [record.path for record in records]
        assert store.skipped == []
        assert (store.num_persons, store.num_cameras) == (3, 3)
        assert store.labels.tolist() == [1, 0, 1, 2, 0]
        assert store.camera_labels.tolist() == [1, 0, 0, 2, 1] and store.camera_names.tolist() == [1, 3, 6]
    np.testing.assert_array_equal(made.images, opened.images)
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"images.npy", "records.json"}


def test_pixels_on_disk_cannot_be_changed_through_a_store(tmp_path):
    store = create(tmp_path / "store", write(tmp_path))
    assert isinstance(store.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0
    rows = np.array([0])
    store.take(rows)["images"].zero_()
    assert store.take(rows)["images"].any()


def test_take_gives_rows_in_the_order_asked_for(tmp_path):
    store = create(tmp_path / "store", write(tmp_path))
    taken = store.take(np.array([3, 0, 3]))
    assert taken["images"].dtype == torch.uint8 and taken["images"].shape == (3, 32, 16, 3)
    np.testing.assert_array_equal(taken["images"], store.images[[3, 0, 3]])
    assert taken["labels"].tolist() == [2, 1, 2] and taken["cameras"].tolist() == [2, 1, 2]
    assert taken["sizes"].tolist() == [[20, 20], [64, 128], [20, 20]]
    assert all(taken[name].dtype == torch.int64 for name in ("labels", "cameras", "sizes"))


def test_identities_are_numbered_once_and_not_for_each_batch(tmp_path):
    store = create(tmp_path / "store", write(tmp_path))
    assert store.labels is store.labels and store.camera_labels is store.camera_labels


@pytest.mark.parametrize(
    ("persons", "labels", "count"),
    [([UNLABELLED] * 3, [-1, -1, -1], 0), ([9, UNLABELLED, 4], [1, -1, 0], 2), ([0, 7, 0], [-1, 0, -1], 1)],
)
def test_who_is_nobody_is_no_person(tmp_path, persons, labels, count):
    files = [(f"{i}_c{i + 1}.png", "RGB", (8, 8)) for i in range(3)]
    records = [replace(record, person=person) for record, person in zip(write(tmp_path, files), persons, strict=True)]
    store = create(tmp_path / "store", records)
    assert store.num_persons == count and store.labels.dtype == np.int64
    assert store.labels.tolist() == store.take(np.arange(3))["labels"].tolist() == labels


def test_many_images_keep_their_order_and_tell_their_progress(tmp_path):
    for shade in range(256):
        Image.new("L", (4, 4), shade).save(tmp_path / f"{shade}.png")
    records = [Record(str(tmp_path / f"{i * 7 % 256}.png"), i + 1, 1) for i in range(600)]
    calls = []
    store = create(tmp_path / "store", records, height=2, width=2, progress=lambda *call: calls.append(call))
    assert store.images[:, 1, 1, 0].tolist() == [i * 7 % 256 for i in range(600)]
    assert store.persons.tolist() == list(range(1, 601))
    assert calls == [(256, 600), (512, 600), (600, 600)]


def test_a_truncated_jpeg_is_named(tmp_path):
    records = truncated(tmp_path)
    with pytest.raises(ValueError, match=r"0002_c1s1_000001_01.jpg cannot be read .*data.skip_unreadable=true"):
        create(tmp_path / "store", records)
    with pytest.raises(FileNotFoundError):
        ImageStore(tmp_path / "store")


def test_all_unreadable_files_of_a_call_are_counted_and_some_named(tmp_path):
    records = write(tmp_path, [(f"{n:04}_c1.jpg", "RGB", (8, 16)) for n in range(1, 8)])
    for record in records[1:6]:
        with open(record.path, "w") as file:
            file.write("no picture")
    with pytest.raises(ValueError) as error:
        create(tmp_path / "store", records)
    told = str(error.value)
    assert (
        told.count("cannot be read (cannot identify image file it)") == 3
        and "... (5 of the 7 images looked at); mend" in told
    )


def test_a_truncated_jpeg_is_left_out_and_counted_on_demand(tmp_path):
    records = truncated(tmp_path)
    store = create(tmp_path / "store", records, skip_unreadable=True)
    assert store.skipped == [records[1].path] == ImageStore(tmp_path / "store").skipped
    assert len(store) == len(store.persons) == len(store.sizes) == len(store.paths) == 4
    assert store.persons.tolist() == [7, 7, 11, 2] and store.sizes[1].tolist() == [33, 70]
    whole = create(tmp_path / "whole", [records[i] for i in (0, 2, 3, 4)])
    np.testing.assert_array_equal(store.images, whole.images)
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"images.npy", "records.json"}


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "short header", "broken chunk"])
def test_whatever_pillow_raises_the_file_is_named(tmp_path, kind):
    path = tmp_path / "0001_c1.png"
    contents = {"empty": b"", "text": b"no image", "short header": png_with_a_short_header()}
    if kind != "missing":
        path.write_bytes(contents[kind] if kind in contents else png_with_a_broken_chunk(path))
    records = [*write(tmp_path), Record(str(path), 1, 1)]
    with pytest.raises(ValueError, match="0001_c1.png cannot be read"):
        create(tmp_path / "store", records)
    assert create(tmp_path / "store", records, skip_unreadable=True).skipped == [str(path)]


def test_a_store_with_nothing_left_is_empty(tmp_path):
    store = create(tmp_path / "store", [Record(str(tmp_path / "missing.jpg"), 1, 1)], skip_unreadable=True)
    assert len(store) == 0 and store.images.shape == (0, 32, 16, 3) and store.sizes.shape == (0, 2)


def test_a_store_holds_plain_data(tmp_path):
    create(tmp_path / "store", write(tmp_path))
    np.load(tmp_path / "store" / "images.npy", allow_pickle=False)
    assert set(json.loads((tmp_path / "store" / "records.json").read_text())) == {
        "paths",
        "persons",
        "cameras",
        "sizes",
        "skipped",
    }


def test_sixteen_bits_are_read_by_their_upper_eight_and_more_are_refused(tmp_path):
    values = np.arange(64 * 32, dtype=np.uint16).reshape(64, 32) * 30
    Image.fromarray(values).save(tmp_path / "ir.png")
    pixels, size = decoding.decode(str(tmp_path / "ir.png"), 64, 32, "bilinear")
    assert size == (32, 64) and (pixels == (values >> 8).astype(np.uint8)[..., None]).all()
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "ir.tif")
    with pytest.raises(ValueError, match=r"32 bits a channel \(mode F\), expected 8 or 16"):
        decoding.decode(str(tmp_path / "ir.tif"), 64, 32, "bilinear")


def test_a_picture_is_turned_as_its_camera_was(tmp_path):
    lying = np.zeros((32, 64, 3), dtype=np.uint8)
    lying[:, :32] = 255  # orientation 6: the left side is the top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(lying).save(tmp_path / "a.png", exif=exif)
    pixels, size = decoding.decode(str(tmp_path / "a.png"), 64, 32, "bilinear")
    assert size == (32, 64) and (pixels[:32] == 255).all() and (pixels[32:] == 0).all()


def test_gaps_in_many_images_are_closed(tmp_path, monkeypatch):
    """Chunks that are whole, too, move up behind one that is not."""
    monkeypatch.setattr(decoding, "CHUNK", 4)
    for i in range(18):
        Image.new("L", (4, 4), 10 * i).save(tmp_path / f"{i}.png")
    for i in (5, 13):
        (tmp_path / f"{i}.png").write_text("no picture")
    records = [Record(str(tmp_path / f"{i}.png"), i + 1, 1) for i in range(18)]
    store = decoding.create(tmp_path / "store", records, height=2, width=2, resample="bilinear", skip_unreadable=True)
    assert store.images[:, 1, 1, 0].tolist() == [10 * i for i in range(18) if i not in (5, 13)]
    assert store.persons.tolist() == [i + 1 for i in range(18) if i not in (5, 13)]


def test_an_array_has_its_room_on_the_disk_before_it_is_written(tmp_path):
    """Else a disk that others fill meanwhile would end the process with a bus error."""
    decoding.allocate(tmp_path / "a.npy", (1000, 1000))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000
    assert not np.load(tmp_path / "a.npy").any()
