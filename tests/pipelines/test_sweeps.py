"""What a sweep tells of finished, stopped and forgotten trials. Nothing is trained."""

import pytest
from sweeping import block, finish, trial

from pipelines import cache, options, sweep_report, sweeps


def test_the_rank_correlation():
    def rows(*pairs):
        return [{"mAP": a, "style_retrieval": b} for a, b in pairs]

    assert sweeps.correlation(rows((0.1, 0.5), (0.2, 0.6), (0.9, 0.61))) == pytest.approx(1)
    assert sweeps.correlation(rows((0.1, 0.9), (0.2, 0.6), (0.9, 0.1))) == pytest.approx(-1)
    assert sweeps.correlation(rows((0.1, 0.1), (0.2, 0.3), (0.3, 0.2))) == pytest.approx(0.5)
    assert sweeps.correlation(rows((0.1, 0.5), (0.2, 0.6))) is None
    assert sweeps.correlation(rows((0.1, 0.5), (0.2, 0.5), (0.3, 0.5))) is None
    assert sweeps.correlation(rows((0.1, 0.5), (0.1, 0.6), (0.1, 0.7))) is None
    stopped = [{"mAP": 0.3, "stopped": 4.0}, {"style_retrieval": 0.3}]
    assert sweeps.correlation(rows((0.1, 0.5), (0.2, 0.6)) + stopped) is None
    assert sweeps.correlation(rows((0.1, 0.5), (0.2, 0.6), (0.3, 0.7)) + stopped) == pytest.approx(1)


def test_the_best_is_of_those_that_came_to_their_end():
    rows = [{"mAP": 0.3, "rank1": 0.1}, {"mAP": 0.9, "stopped": 4.0}, {"mAP": 0.4}, {"rank1": 1.0}]
    assert sweeps.best(rows, "mAP") is rows[2] and sweeps.best(rows, "rank1") is rows[3]
    assert sweeps.best(rows[1:2], "mAP") is None and sweeps.best([], "mAP") is None


@pytest.mark.parametrize(("search", "tried", "told"), [("tpe", 5, True), ("tpe", 3, False), ("random", 5, False)])
def test_points_that_tpe_proposed_again_are_counted(search, tried, told):
    own = block(search=search, num_trials=tried, space={"hhl.n_t": [0, 4, 8]})
    rows = [{"point": {"hhl.n_t": n_t}, "mAP": 0.1 * n_t} for n_t in (8, 4)]
    errors = [({"hhl.n_t": 0}, "RuntimeError: no room")]
    spent = dict.fromkeys(("shared", "trials", "training", "beyond", "views"), 0.0)
    base = options.compose(["source=market", "target=duke"])
    text = sweep_report.text(own, base, rows, rows[0], errors, spent, 1)
    assert ("2 of the 5 trials were of points tried before" in text) == told == ("tried before" in text)


def test_a_summary_has_means_and_deviations_over_the_seeds(small, tmp_path):
    one, folder = small
    metrics = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid")
    for plan, value in zip(one.graphs, (0.2, 0.6), strict=True):
        assert sweeps.summary(one, "mAP", folder) is None
        finish(
            plan[-2], tmp_path, {"target": dict.fromkeys(metrics, value), "source": {"mAP": 1.0}, "seconds": 10 * value}
        )
        assert sweeps.summary(one, "mAP", folder) is None
        finish(plan[-1], tmp_path, {"style_retrieval": value / 2, "style_rank1": 0.1, "images": 5})
    found = sweeps.summary(one, "mAP", folder)
    deviation = 0.4 / 2**0.5
    assert found == pytest.approx(
        {
            **dict.fromkeys(metrics, 0.4),
            **dict.fromkeys((f"{name}_deviation" for name in metrics), deviation),
            **{"style_retrieval": 0.2, "style_retrieval_deviation": deviation / 2, "seconds": 8.0},
        }
    )


def test_a_target_with_one_camera_has_no_style_retrieval(small, tmp_path):
    one, folder = small
    for plan in one.graphs:
        finish(plan[-2], tmp_path, {"target": {"mAP": 0.5}, "seconds": 1.0})
        finish(plan[-1], tmp_path, {"style_retrieval": None, "style_rank1": None, "images": 0})
    assert sweeps.summary(one, "mAP", folder) == {"mAP": 0.5, "mAP_deviation": 0.0, "seconds": 2.0}


def test_a_summary_of_what_has_stopped_itself(small, tmp_path):
    """The last score stands for the trial; a seed that was not stopped, or came to its end before, does not count."""
    one, folder = small
    folder.mkdir(parents=True)
    cache.write_json(folder / f"{one.key}-0.json", {"scores": {"0.33": 0.9, "0.67": 0.8}})
    finish(one.graphs[0][-2], tmp_path, {"target": {"mAP": 0.5}, "seconds": 1.0})
    assert sweeps.summary(one, "mAP", folder) is None
    cache.write_json(folder / f"{one.key}-1.json", {"scores": {"0.33": 0.3, "0.67": 0.2}, "stopped": 8})
    assert sweeps.summary(one, "mAP", folder) == {"mAP": 0.2, "stopped": 8}
    assert sweeps.summary(one, "style_retrieval", folder) == {"style_retrieval": 0.2, "stopped": 8}
    cache.write_json(folder / "other-0.json", {"scores": {"0.33": 0.1}, "stopped": 4})
    assert sweeps.summary(one, "mAP", folder) == {"mAP": 0.2, "stopped": 8}
    # run.py has gone on with it meanwhile
    finish(one.graphs[1][-2], tmp_path, {"target": {"mAP": 0.5}, "seconds": 1.0})
    assert sweeps.summary(one, "mAP", folder) is None, "style retrieval is to be measured"
    for plan in one.graphs:
        finish(plan[-1], tmp_path, {"style_retrieval": 0.3, "style_rank1": 0.1, "images": 5})
    assert sweeps.summary(one, "mAP", folder)["mAP"] == 0.5


def test_what_was_trained_to_its_end_later_is_no_longer_stopped(small, tmp_path):
    one, folder = small
    folder.mkdir(parents=True)
    for seed in (0, 1):
        cache.write_json(folder / f"{one.key}-{seed}.json", {"scores": {"0.33": 0.1}, "stopped": 4})
    assert sweeps.summary(one, "mAP", folder) == {"mAP": 0.1, "stopped": 4}
    for plan in one.graphs:
        finish(plan[-2], tmp_path, {"target": {"mAP": 0.5}, "seconds": 1.0})
        finish(plan[-1], tmp_path, {"style_retrieval": 0.5})
    assert sweeps.summary(one, "mAP", folder)["mAP"] == 0.5


def test_force_forgets_its_kinds_of_stage_and_what_is_made_from_them(small, tmp_path):
    one, folder = small
    for stage in {stage.hash: stage for plan in one.graphs for stage in plan}.values():
        finish(stage, tmp_path, {})
    folder.mkdir(parents=True)
    for seed in (0, 1):
        cache.write_json(folder / f"{one.key}-{seed}.json", {"scores": {"0.33": 0.1}, "stopped": 4})
    sweeps.forget([one], one.settings[0] | {"force": ["pretrain", "hhl"]}, folder, print)
    assert not list(folder.iterdir()), "who was stopped is trained again"
    left = {stage.name for plan in one.graphs for stage in plan if stage.finished(tmp_path)}
    assert left == {"data", "generator", "styles"}, "what is made from pretrain, and what was measured, goes too"


def test_the_headline_tells_data_recipe_seeds_and_what_is_maximised(base):
    told = sweeps.headline(block(seeds=[0, 1], metric="style_retrieval"), base)
    assert told == (
        "grid over hhl.beta x hhl.n_t: market -> duke, synthetic data, recipe quick, seed 0, 1; by style_retrieval"
    )
    one = trial(block(), {"hhl.beta": 0.3, "hhl.n_t": 4}, base)
    assert not sweeps.on_real_data(one), "drawn"


def test_points_that_are_all_one_training_are_refused(base):
    alike = [trial(block(), {"arcface.margin": margin, "hhl.n_t": 4}, base) for margin in (0.1, 0.3)]
    with pytest.raises(ValueError, match="all 2 points of sweep.space are the same training: arcface.margin"):
        sweeps.check_distinct(alike)
    other = trial(block(), {"hhl.beta": 0.3, "hhl.n_t": 0}, base)
    sweeps.check_distinct([*alike, other])
    sweeps.check_distinct(alike[:1])
