"""What a sweep's trials cost: images, time and room. Nothing is trained."""

import json

import pytest
from sweeping import BASE, block, finish, trial

from pipelines import budget, options


def test_images_in_a_step(base):
    assert budget.images_a_step(base["baseline"], 8) == 64
    assert budget.images_a_step(base["hhl"], 8) == 64 + 8 * 4 + 8 * (1 + 8)
    assert budget.images_a_step(base["hhl"] | {"n_t": 0}, 8) == 64 + 8 * 4
    assert budget.images_a_step(base["hhl"] | {"losses": "L_T"}, 8) == 64 + 8 * 4
    assert budget.images_a_step(base["hhl"] | {"losses": "L_D"}, 8) == 64 + 8 * 4 + 8
    assert budget.images_a_step(base["hhl"] | {"losses": "L_C"}, 8) == 64 + 8 * (1 + 8)
    assert budget.images_a_step(base["arn"], 8) == 16 * 4 + 32
    assert budget.images_a_step(base["chance"], 8) == 0


@pytest.mark.slow
def test_how_long_a_trial_may_take_goes_by_what_it_starts_from(small, tmp_path):
    """pretrain took 190 s for 300 steps of 64 images."""
    one, _ = small
    hhl = one.trained()[0]
    pretrain, target = hhl.inputs["start"], hhl.inputs["target"]
    finish(target, tmp_path, {"splits": {"train": {"cameras": 8}}})
    pretrain.folder(tmp_path).mkdir(parents=True)
    lines = [{"step": step, "seconds_per_step": seconds} for step, seconds in ((100, 0.5), (300, 0.7))]
    (pretrain.folder(tmp_path) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    images = 64 + 8 * 4 + 4 * 9
    assert budget.training_seconds(one, tmp_path) == pytest.approx(190 * images / 64 * 2), "two seeds"
    for more in (["hhl.start=null"], ["hhl.steps=null", "hhl.epochs=3"]):
        settings = options.compose([*BASE, "methods=[hhl]", f"work_dir={tmp_path}", *more])
        assert budget.training_seconds(trial(block(), one.point, settings), tmp_path) is None


def test_disk_is_asked_for_and_refused_with_the_numbers(base, monkeypatch):
    one = trial(block(), {"hhl.beta": 0.5, "hhl.n_t": 4}, base)
    assert 12 * 1_000_000 < budget.disk(one, 12, 1) < 60 * 1_000_000
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: budget.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ValueError, match=r"the trials need about [1-5]\d MB in .*, which has 0 MB free"):
        budget.check_disk(one, 12, 1)
    assert budget.check_disk(one, 0, 1) == 0, "none is left to be made"


@pytest.mark.parametrize("made", [False, True])
def test_room_is_asked_for_where_the_work_is_to_be(base, tmp_path, monkeypatch, made):
    folder, asked = tmp_path / "work", []
    if made:
        folder.mkdir()
    one = trial(block(), {"hhl.beta": 0.5, "hhl.n_t": 4}, base | {"work_dir": str(folder)})
    usage = budget.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda path: asked.append(path) or usage)
    budget.check_disk(one, 1, 1)
    assert asked == [folder if made else tmp_path]
