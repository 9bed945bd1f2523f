"""results.csv and the table: views of the folders."""

import copy
import csv
import json

import pytest

from pipelines import options, results
from pipelines.measuring import RATIOS

PAIR = ["source=market", "target=duke"]

METRICS = {"rank1": 0.5, "rank5": 0.6, "rank10": 0.7, "rank20": 0.8, "mAP": 0.4, "mAP_trapezoid": 0.375}
ABOUT = {"source": "market", "target": "duke", "data": "disk", "recipe": "paper", "variant": "default"}


def folder(work_dir, method, name, **about):
    path = work_dir / "cache" / method / name
    path.mkdir(parents=True)
    seeds = {"method": method, "seed": 0, "data_seed": "", "gan_seed": ""}
    (path / "stage.json").write_text(json.dumps({"hash": name, "about": {**ABOUT, **seeds, **about}}))
    (path / "result.json").write_text(json.dumps({"target": METRICS, "source": METRICS, "seconds": 12.34}))


def test_one_row_per_finished_method_in_the_documented_columns(tmp_path):
    folder(tmp_path, "hhl", "b2")
    folder(tmp_path, "baseline", "a1")
    folder(tmp_path, "hhl", "c3.part")  # unfinished
    (tmp_path / "cache" / "data" / "d4").mkdir(parents=True)
    (tmp_path / "cache" / "data" / "d4" / "result.json").write_text(json.dumps({"splits": {}}))
    (tmp_path / "cache" / "data" / "d4" / "stage.json").write_text(json.dumps({"hash": "d4", "about": {}}))
    path = results.write_csv(tmp_path, {"b2": "run-of-b2"})
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["settings"] for row in rows] == ["a1", "b2"] and rows[1]["mlflow_run_id"] == "run-of-b2"
    assert rows[0] | {"mlflow_run_id": ""} == {
        "source": "market", "target": "duke", "data": "disk", "recipe": "paper", "method": "baseline", "variant": "default",
        "seed": "0", "data_seed": "", "gan_seed": "", "rank1": "0.500000", "rank5": "0.600000", "rank10": "0.700000",
        "rank20": "0.800000", "mAP": "0.400000", "mAP_trapezoid": "0.375000", "seconds": "12.340", "settings": "a1",
        "mlflow_run_id": "",
    }  # fmt: skip


def settings(source: str, target: str) -> dict:
    return {"source": {"name": source}, "target": {"name": target}, "recipe": "paper", "seed": 0}


def test_published_figures_stand_beside_real_data_only():
    found = {"hhl": {"target": METRICS}}
    real = results.table(found, settings("market", "duke"), "disk", whole=True)
    assert "46.9" in real and "27.2" in real and "50.0" in real and "37.5" in real
    for data in ("synthetic", "synthetic->disk"):
        assert "46.9" not in results.table(found, settings("market", "duke"), data)
    assert "published" not in results.table(found, settings("market", "msmt17"), "disk", whole=True)
    assert "published" not in results.table(found, settings("market", "duke"), "disk", whole=False), "a part of a set"


def composed(*more: str) -> dict:
    return options.compose(["source=market", "target=duke", *more])


def method(mAP: float, rank1: float) -> dict:
    return {"target": {"mAP": mAP, "rank1": rank1}}


def test_the_share_of_the_possible_gain_and_what_is_told_of_it():
    found, bound = {"baseline": method(0.2, 0.3), "hhl": method(0.35, 0.6)}, method(0.4, 0.5)
    shares = results.share_of_gain(found, bound)
    assert shares == pytest.approx(
        {"true_styles/mAP": 0.4, "true_styles/rank1": 0.5, "share_of_gain/mAP": 0.75, "share_of_gain/rank1": 1.5}
    )
    text = results.of_styles([], shares, composed())
    assert text == "\nHHL with true styles: mAP 40.0, rank-1 50.0; the generator's reach 75 % of that gain in mAP"
    alone = {"true_styles/mAP": 0.4, "true_styles/rank1": 0.5}
    assert results.share_of_gain({"hhl": found["hhl"]}, bound) == alone, "without a baseline there is no gain"
    assert results.share_of_gain(found | {"baseline": method(0.39, 0.49)}, bound) == alone, (
        "a gain of one point is noise"
    )
    assert "gain" not in results.of_styles([], alone, composed())


def test_measures_are_told_as_far_as_they_are_known():
    ratios = dict.fromkeys(RATIOS) | {"camera": 0.971, "kid": 0.5, "truth": 0.3, "colour": 0.8}
    assert results.of_styles([{"ratios": ratios}], {}, composed()).splitlines()[1:] == [
        "style quality on the target (1: as good as real images):",
        "  classified as wanted camera 0.97, colour gap closed 0.80, KID gap closed 0.50",
        "  gap to true image closed 0.30",
    ]


def test_the_camera_gap_stands_beside_the_published_one_under_its_own_name():
    one = {"ratios": dict.fromkeys(RATIOS), "gap": {"crop": 0.0512, "flip": 0.03, "style": 0.4, "truth": None}}
    real = composed("data=disk", "data.root=/datasets")
    head, columns, measured, published = results.of_styles([one], {}, real, whole=True).splitlines()[2:]
    assert head.startswith("camera gap (squared feature distance")
    assert columns.split() == ["cropped", "flipped", "camera-styled", "true", "camera"]
    assert measured.split()[1:] == ["disk", "data,", "recipe", "quick", "0.051", "0.030", "0.400", "-"]
    assert published.strip().startswith("published: real sets")
    assert published.split()[-4:] == "0.059 0.044 0.614 -".split()
    assert len(measured) == len(published) == len(columns)
    elsewhere = copy.deepcopy(real)
    elsewhere["target"]["name"] = "another"
    for settings, whole in ((composed(), True), (real, False), (elsewhere, True)):
        assert "published" not in results.of_styles([one], {}, settings, whole)


@pytest.mark.parametrize(("recipe", "told"), [("quick", True), ("paper", False)])
def test_the_banner_tells_of_networks_that_are_not_the_papers(recipe, told):
    text = results.banner(options.compose([*PAIR, f"recipe={recipe}"]), [])
    assert f"market -> duke: synthetic data, recipe {recipe}" in text and " pixels, backbone " in text
    assert ("not the papers' networks" in text) == told


@pytest.mark.parametrize(
    "changed", [{"backbone": {"_target_": "a.narrow_resnet"}}, {"gan": {"generator": {"_target_": "a.Other"}}}]
)
def test_one_network_of_ones_own_is_enough(changed):
    settings = options.compose([*PAIR, "recipe=paper"])
    assert "not the papers' networks" in results.banner(settings | {k: settings[k] | v for k, v in changed.items()}, [])


@pytest.mark.parametrize(("recipe", "told"), [("quick", True), ("paper", False)])
def test_the_banner_tells_that_the_quick_recipe_measures_nothing_on_real_images(recipe, told, tmp_path):
    roots = [f"{role}.root={tmp_path}" for role in ("source", "target")]
    text = results.banner(options.compose([*PAIR, f"recipe={recipe}", *roots]), [])
    assert "disk data" in text and ("no measure of the methods" in text) == told
