"""Published sizes, held against other figures of the sets' papers and pages than the readers' own."""

from reid_da.datasets import cuhk03np, dukemtmc, market1501, msmt17


def test_published_sizes_add_up():
    market, duke, msmt = (module.PUBLISHED for module in (market1501, dukemtmc, msmt17))
    assert market["train"] == (12_936, 1501 - 750) and market["query"] == (3_368, 750)
    assert market["gallery"] == (19_732 - 3_819, 750), "without junk"
    assert [duke[split][0] for split in ("train", "query")] == [16_522, 2_228]
    assert sum(images for images, _ in duke.values()) == 36_411
    assert (duke["train"][1], duke["query"][1], duke["gallery"][1]) == (1_404 - 702, 702, 702 + 408), "408 distractors"
    assert sum(images for images, _ in msmt.values()) == 126_441 and msmt["train"][1] + msmt["query"][1] == 4_101
    assert msmt["query"] == (11_659, msmt["gallery"][1]) and msmt["gallery"][0] == 82_161
    for boxes, images in (("labeled", 14_096), ("detected", 14_097)):
        sizes = cuhk03np.PUBLISHED[f"cuhk03np {boxes}"]
        assert sum(count for count, _ in sizes.values()) == images and sizes["query"] == (1_400, 700)
        assert (sizes["train"][1], sizes["gallery"][1]) == (1_467 - 700, 700)
