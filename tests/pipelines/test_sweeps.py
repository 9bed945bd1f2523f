"""Sweeps as plain values: the points of a space, the stages of a trial, and what is told of rows. Nothing is trained."""

import json
import shlex
from pathlib import Path

import pytest

from pipelines import budget, cache, graph, options, space, sweeps

BASE = ["source=market", "target=duke"]
RANGE = {"from": 0.1, "to": 2.0}


def block(**changed) -> dict:
    """conf/sweep.yaml's block as sweep.py hands it on, with some values changed."""
    own = options.composed("sweep", [])["sweep"]
    own["space"] = options.space(own["space"], [])
    return own | {"known_methods": options.method_names()} | changed


@pytest.fixture(scope="module")
def base() -> dict:
    return options.compose([*BASE, "methods=[hhl]"])


def trial(own: dict, point: dict, base: dict, num_workers: int = 1) -> sweeps.Trial:
    return sweeps.trial(own, point, base, options.changed, num_workers)


def trials(own: dict, base: dict) -> list[sweeps.Trial]:
    return [trial(own, point, base) for point in space.points(own)]


# -- the space


def test_options_have_full_names_and_the_command_line_replaces_and_adds():
    shipped = {"beta": [0.2, 0.5], "n_t": [4, 8]}
    assert options.space(shipped, []) == {"hhl.beta": [0.2, 0.5], "hhl.n_t": [4, 8]}
    given = [
        "sweep.space.n_t=[0]",
        "sweep.space.hhl.margin={from: 0.1, to: 1, log: true}",
        "sweep.space.hhl.beta=[1.0]",
    ]
    wanted = options.space(shipped, given)
    assert wanted == {"hhl.beta": [1.0], "hhl.n_t": [0], "hhl.margin": {"from": 0.1, "to": 1, "log": True}}
    assert list(wanted) == ["hhl.beta", "hhl.n_t", "hhl.margin"], "in the order of their first naming"
    assert shipped == {"beta": [0.2, 0.5], "n_t": [4, 8]}


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("sweep.space.hhl.styles=[copies,'jitter']", ["copies", "jitter"]),
        ("sweep.space.arn.target_terms=[true,false]", [True, False]),
        ("sweep.space.hhl.jitter=[[0.1,0.1,0.1,0.1],[0.2,0.2,0.2,0.2]]", [[0.1] * 4, [0.2] * 4]),
        ("sweep.space.backbone.weights=[null,/a/b.pth]", [None, "/a/b.pth"]),
        ("sweep.space.hhl.optimiser.weight_decay=[5.0e-4,0]", [5e-4, 0]),
    ],
)
def test_values_of_every_kind_are_read(argument, values):
    option = argument.removeprefix("sweep.space.").partition("=")[0]
    assert options.space({}, [argument]) == {option: values}


@pytest.mark.parametrize("argument", ["beta", "beta=[0.1", "beta={from: 0.1", "=[1]", "hhl..beta=[1]", "beta=[1]]"])
def test_a_space_that_cannot_be_read_is_refused(argument):
    with pytest.raises(ValueError) as error:
        options.space({}, [f"sweep.space.{argument}"])
    assert f"sweep.space.{argument}: expected values such as 'sweep.space.beta=[0.1,0.5]'" in str(error.value)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"metric": "rank"}, "sweep.metric is rank; expected one of mAP, style_retrieval"),
        ({"search": "grd"}, "sweep.search is grd; expected one of grid, random, tpe"),
        ({"seeds": 3}, "sweep.seeds is 3; expected whole numbers such as sweep.seeds=[0,1,2]"),
        ({"seeds": []}, "sweep.seeds is []; expected whole numbers"),
        ({"seeds": [0, 1.5]}, "sweep.seeds is [0, 1.5]; expected whole numbers"),
        ({"seeds": [-1]}, "sweep.seeds is [-1]; expected whole numbers"),
        ({"seeds": [True]}, "sweep.seeds is [True]; expected whole numbers"),
        ({"num_trials": 0}, "sweep.num_trials is 0 and sweep.seed 0; expected whole numbers from 1"),
        ({"num_trials": "many"}, "sweep.num_trials is many"),
        ({"seed": -1}, "sweep.seed -1; expected whole numbers from 1 and from 0 on"),
        ({"max_concurrent": 0}, "sweep.max_concurrent is 0; expected auto, or a whole number"),
        ({"max_concurrent": "all"}, "sweep.max_concurrent is all; expected auto"),
        ({"early_stopping": 1}, "sweep.early_stopping is 1; expected true or false"),
        ({"space": {}}, "sweep.space is empty; expected such as 'sweep.space.beta=[0.1,0.5]'"),
        ({"space": {"seed": [0, 1]}}, "sweep.space.seed: seeds are not searched; give sweep.seeds=[0,1,2]"),
        ({"space": {"hhl.beta": 0.5}}, "sweep.space.hhl.beta is 0.5; expected a list of values such as [0.1,0.5]"),
        ({"space": {"hhl.beta": []}}, "sweep.space.hhl.beta is []; expected a list of values"),
        ({"space": {"hhl.beta": None}}, "sweep.space.hhl.beta is None; expected a list of values"),
        (
            {"space": {"hhl.beta": [0.1, 0.5, 0.1]}},
            "sweep.space.hhl.beta is [0.1, 0.5, 0.1]; expected every value once",
        ),
        ({"space": {"hhl.beta": RANGE}}, "sweep.space.hhl.beta is a range, and sweep.search=grid takes values"),
        *(
            ({"search": "tpe", "space": {"hhl.beta": values}}, "sweep.space.hhl.beta is {'from'")
            for values in (
                {"from": 0.1},
                {"from": 2.0, "to": 0.1},
                {"from": 1, "to": 1},
                {"from": "a", "to": "b"},
                {"from": False, "to": True},
                {"from": 0.0, "to": 1.0, "log": True},
                {"from": 0.1, "to": 1.0, "step": 0.1},
                {"from": float("nan"), "to": 1.0},
            )
        ),
    ],
)
def test_what_no_sweep_can_be_made_of_is_refused(changed, expected):
    with pytest.raises(ValueError) as error:
        space.check(block(**changed))
    assert expected in str(error.value) and ("expected" in str(error.value) or "give" in str(error.value))


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_ranges_are_for_those_that_draw(search):
    space.check(block(search=search, space={"hhl.beta": RANGE | {"log": True}, "hhl.n_t": {"from": 0, "to": 32}}))


@pytest.mark.parametrize(("name", "count"), [("beta", 11), ("n_t", 9), ("beta_n_t", 12), ("papers", 99)])
def test_every_shipped_space_plans(name, count, base):
    """Its corners as trials; all of its points could be told apart."""
    own = options.composed("sweep", [f"sweep={name}"])["sweep"]
    own |= {"space": options.space(own["space"], []), "known_methods": options.method_names()}
    space.check(own)
    points = space.points(own)
    assert len(points) == len({json.dumps(point) for point in points}) == count
    assert all(trial(own, point, base).method == "hhl" for point in (points[0], points[-1]))
    assert {path.stem for path in (options.CONF / "sweep").glob("*.yaml")} == {"beta", "n_t", "beta_n_t", "papers"}


# -- its points


def test_a_grid_is_the_product_in_order():
    wanted = {"hhl.n_t": [8, 0], "hhl.beta": [0.5, 0.1, 0.3]}
    points = space.points(block(space=wanted))
    assert [list(point.values()) for point in points] == [[8, 0.5], [8, 0.1], [8, 0.3], [0, 0.5], [0, 0.1], [0, 0.3]]
    assert all(list(point) == list(wanted) for point in points)


SPACE = {
    "hhl.beta": {"from": 0.05, "to": 2.0, "log": True},
    "hhl.margin": {"from": 0.0, "to": 1.0},
    "hhl.n_t": {"from": 0, "to": 4},
    "hhl.persons": {"from": 1, "to": 64, "log": True},
    "hhl.styles": ["copies", "jitter"],
}


def test_random_points_are_within_their_ranges_and_distinct():
    points = space.points(block(search="random", num_trials=200, space=SPACE))
    assert len(points) == len({json.dumps(point) for point in points}) == 200
    of = {option: [point[option] for point in points] for option in SPACE}
    assert all(0.05 <= value <= 2 for value in of["hhl.beta"]) and all(0 <= value <= 1 for value in of["hhl.margin"])
    assert set(of["hhl.n_t"]) == {0, 1, 2, 3, 4} and {type(value) for value in of["hhl.n_t"]} == {int}
    assert {type(value) for value in of["hhl.persons"]} == {int} and set(of["hhl.styles"]) == {"copies", "jitter"}
    assert min(of["hhl.persons"]) == 1 and max(of["hhl.persons"]) <= 64
    middle = (0.05 * 2) ** 0.5  # of a range on a logarithmic scale
    assert 70 < sum(value < middle for value in of["hhl.beta"]) < 130
    assert 70 < sum(value < 8 for value in of["hhl.persons"]) < 130


def test_random_points_are_drawn_from_the_sweep_s_own_seed():
    drawn = [
        space.points(block(search="random", num_trials=n, seed=s, space=SPACE))
        for n, s in ((5, 0), (5, 0), (8, 0), (5, 1))
    ]
    assert drawn[0] == drawn[1] == drawn[2][:5], "more trials go on from fewer"
    assert all(point not in drawn[0] for point in drawn[3])
    assert drawn[0] == space.points(block(search="random", num_trials=5, space=SPACE, seeds=[7, 8]))


def test_a_space_may_be_drawn_whole_and_no_further():
    wanted = {"hhl.n_t": {"from": 0, "to": 2}, "hhl.styles": ["copies", "jitter"]}
    assert len(space.points(block(search="random", num_trials=6, space=wanted))) == 6
    with pytest.raises(ValueError, match="sweep.num_trials is 7; the space has 6 points, expected no more trials"):
        space.points(block(search="random", num_trials=7, space=wanted))


def test_tpe_begins_with_the_papers_values_where_the_space_has_them():
    tpe = {"search": "tpe"}
    assert space.points(block(**tpe)) is None
    assert space.first(block(**tpe, space={"hhl.beta": [0.1, 0.5], "hhl.n_t": {"from": 0, "to": 32}})) == space.PAPERS
    assert space.first(block(**tpe, space={"hhl.beta": RANGE, "hhl.n_t": [4, 8]})) == {"hhl.beta": 0.5}
    assert space.first(block(**tpe, space={"hhl.beta": {"from": 0.6, "to": 2.0}, "hhl.margin": [0.3]})) == {}
    assert space.first(block(**tpe, space={"hhl.beta": {"from": 0.5, "to": 2.0}, "hhl.margin": RANGE})) == {
        "hhl.beta": 0.5
    }


def test_corners_are_the_ends_of_every_option():
    own = block(search="tpe", space={"hhl.beta": RANGE, "hhl.n_t": [0, 4, 16], "hhl.margin": [0.3]})
    assert space.corners(own) == [
        {"hhl.beta": 0.1, "hhl.n_t": 0, "hhl.margin": 0.3},
        {"hhl.beta": 2.0, "hhl.n_t": 16, "hhl.margin": 0.3},
    ]


@pytest.mark.parametrize(
    ("searched", "method"),
    [
        (["hhl.beta", "hhl.n_t"], "hhl"),
        (["arn.weight_rec", "arn.optimiser.lr.encoders"], "arn"),
        (["arn.weight_rec", "gan.steps"], "arn"),
        (["gan.steps"], "hhl"),
        (["backbone.width", "pretrain.steps"], "hhl"),
        (["baseline.dropout"], "baseline"),
    ],
)
def test_the_method_is_the_one_whose_options_are_searched(searched, method):
    assert space.method_of(block(space=dict.fromkeys(searched, [1]))) == method


def test_options_of_two_methods_are_refused():
    with pytest.raises(ValueError, match="sweep.space has options of arn and hhl; a sweep trains one method"):
        space.method_of(block(space={"hhl.beta": [1], "arn.weight_rec": [1]}))


# -- its trials


def hashes(one: sweeps.Trial, *names: str) -> dict[str, set[str]]:
    return {name: {stage.hash for plan in one.graphs for stage in plan if stage.name == name} for name in names}


def test_trials_share_what_their_options_do_not_touch(base):
    every = trials(block(space={"hhl.beta": [0.1, 0.5], "hhl.n_t": [0, 4, 8]}), base)
    with_styles = [one for one in every if one.point["hhl.n_t"]]
    for name in ("data", "pretrain", "generator"):
        assert len({frozenset(hashes(one, name)[name]) for one in every}) == 1, name
    assert len({frozenset(hashes(one, "styles")["styles"]) for one in with_styles}) == 1
    assert [len(hashes(one, "styles")["styles"]) for one in every] == [0, 1, 1] * 2, "n_t 0 takes none"
    for name in ("hhl", "style_retrieval"):
        assert len(set.union(*(hashes(one, name)[name] for one in every))) == len(every)


def test_a_graph_ends_with_the_method_and_its_style_retrieval(base):
    for own in (block(), block(space={"arn.weight_rec": [0.1]}, seeds=[0, 1]), block(space={"hhl.styles": ["copies"]})):
        one = trials(own, base)[0]
        assert len(one.graphs) == len(own["seeds"])
        for plan in one.graphs:
            assert [stage.name for stage in plan[-2:]] == [one.method, "style_retrieval"]
            assert plan[-1].inputs["method"] is plan[-2] or plan[-1].inputs["method"].hash == plan[-2].hash
            assert {"generator", "target"} < set(plan[-1].inputs)
            places = {stage.hash: place for place, stage in enumerate(plan)}
            assert len(places) == len(plan), "no stage is there twice"
            assert all(places[i.hash] < places[stage.hash] for stage in plan for i in stage.inputs.values()), (
                "inputs first"
            )


def test_a_trial_s_stages_are_its_own_or_shared(base):
    one = trial(block(seeds=[0, 1]), {"hhl.beta": 0.3, "hhl.n_t": 4}, base)
    own, shared = ({stage.hash for stage in stages} for stages in (one.own(), one.shared()))
    assert own.isdisjoint(shared) and own | shared == {stage.hash for plan in one.graphs for stage in plan}
    assert [stage.name for stage in one.own()] == ["hhl", "style_retrieval"] * 2
    assert {stage.name for stage in one.shared()} == {"data", "generator", "styles", "measures", "pretrain"}
    assert [stage.settings["seed"] for stage in one.trained()] == [0, 1]
    assert {stage.name for stage in one.trained()} == {"hhl"}


def test_what_a_method_starts_from_is_shared_though_it_is_a_method_too(base):
    own = block(space={"hhl.start": ["baseline"]})
    (one,) = trials(own, base)
    assert {"baseline", "pretrain"} < {stage.name for stage in one.shared()}
    own = block(space={"baseline.bn": ["target"]})
    (one,) = trials(own, base)
    assert [stage.name for stage in one.own()] == ["baseline", "style_retrieval"]
    assert [stage.settings["method"]["bn"] for stage in one.shared() if stage.name == "baseline"] == ["source"]


def test_a_trial_s_stages_are_those_of_run_py(base):
    one = trial(block(), {"hhl.beta": 0.3, "hhl.n_t": 4}, base)
    plan = graph.plan(options.compose([*BASE, "methods=[hhl]", "beta=0.3", "n_t=4"]))
    assert {stage.hash for stage in plan} == {stage.hash for stage in one.graphs[0][:-1]}
    assert one.settings[0]["variants"]["hhl"] == "hhl.beta=0.3 hhl.n_t=4"


def test_a_key_is_of_the_point_the_seeds_and_all_that_comes_before(base):
    other = options.compose([*BASE, "methods=[hhl]", "data.seed=1"])
    elsewhere = options.compose([*BASE, "methods=[hhl]", "work_dir=/elsewhere", "cluster.cpus_per_worker=1"])
    point = {"hhl.beta": 0.3, "hhl.n_t": 4}
    usual = trial(block(), point, base)
    assert usual.key == trial(block(), point, base).key == trial(block(), point, elsewhere).key and len(usual.key) == 16
    keys = {usual.key}
    for own, where, at in (
        (block(), base, point | {"hhl.n_t": 8}),
        (block(seeds=[1]), base, point),
        (block(seeds=[0, 1]), base, point),
        (block(), other, point),
    ):
        keys.add(trial(own, at, where).key)
    assert len(keys) == 5
    assert usual.name == "hhl.beta=0.3 hhl.n_t=4"


def test_a_sweep_is_found_again_by_its_search_and_trials(base):
    def key(**changed) -> str:
        own = block(space={"hhl.beta": [0.1, 0.5]}, **changed)
        return sweeps.key(own, trials(own, base))

    assert key() == key(max_concurrent=3) == key(num_trials=5, seed=9), "a grid draws nothing"
    random = {"search": "random", "num_trials": 2}
    found = {key(), key(metric="style_retrieval"), key(early_stopping=True), key(seeds=[0, 1]), key(**random)}
    assert len(found | {key(**random, seed=1)}) == 6


def test_options_and_values_that_do_not_exist_are_refused(base):
    for option, value, expected in (
        ("hhl.betta", 0.1, "unknown option 'hhl.betta' .did you mean 'hhl.beta'"),
        ("hhl.n_t", 2.5, "hhl.n_t is 2.5; expected a whole number"),
        ("hhl.styles", 3, "hhl.styles is 3; expected"),
        ("hhl.beta", -1.0, "hhl.beta is -1.0 .*expected both at least 0"),
        ("hhl.steps", 0, "hhl.steps is 0; expected at least 1"),
    ):
        with pytest.raises(ValueError, match=expected):
            trial(block(space={option: [value]}), {option: value}, base)
    with pytest.raises(ValueError, match="hhl.n_t is 5.*2"):
        trial(block(), {"hhl.beta": 0.1, "hhl.n_t": 5}, base, num_workers=2)


def test_data_that_all_trials_have_is_planned_once(base):
    own, data = block(), graph.data_stages(base)
    assert not sweeps.changes_data(own) and sweeps.changes_data(block(space={"data.seed": [0, 1]}))
    assert sweeps.changes_data(block(space={"images.height": [32, 64]}))
    for point in space.points(own)[:2]:
        given = sweeps.trial(own, point, base, options.changed, 1, data)
        assert given.key == trial(own, point, base).key
        assert {id(stage) for stage in given.graphs[0] if stage.name == "data"} == {
            id(stage) for stage in data.values()
        }


@pytest.mark.parametrize(
    ("point", "given", "seeds"),
    [
        ({"hhl.beta": 0.3, "hhl.n_t": 4}, [], [0]),
        ({"hhl.beta": 1e-05, "hhl.n_t": 0}, ["hhl.steps=12", "data.world.train_persons=30"], [0, 1]),
        ({"hhl.beta": 2.0}, ["recipe=paper", "gan.seed=3"], [4, 5]),
        ({"hhl.freeze_embedding": True, "hhl.styles": "copies"}, [], [0]),
        ({"hhl.styles": "jitter", "hhl.jitter": [0.1, 0.2, 0.3, 0.4]}, [], [0]),
        ({"arn.target_terms": False, "arn.weight_rec": 0.25}, ["arn.margin=1.5"], [2]),
        ({"hhl.steps": None, "hhl.epochs": 3}, [], [0]),
        ({"gan.steps": 20}, [], [0]),
    ],
)
def test_the_command_line_makes_the_trial_again(point, given, seeds):
    own = block(space={option: [value] for option, value in point.items()}, seeds=seeds)
    one = trial(own, point, options.compose([*BASE, *given]))
    line = sweeps.command_line({"point": point, "mAP": 0.5}, [*BASE, *given], own)
    command, program, *arguments = shlex.split(line)
    assert (command, program) == ("python", "pipelines/run.py")
    assert graph.plan(options.compose(arguments))[-1].hash == one.trained()[0].hash


# -- what is told of it


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


def finish(stage: cache.Stage, work_dir: Path, result: dict) -> None:
    stage.folder(work_dir).mkdir(parents=True)
    cache.write_json(stage.folder(work_dir) / "result.json", result)


@pytest.fixture
def small(tmp_path):
    """A trial of two seeds in an empty work_dir, and the sweep's folder."""
    settings = options.compose([*BASE, "methods=[hhl]", f"work_dir={tmp_path}"])
    return trial(block(seeds=[0, 1]), {"hhl.beta": 0.3, "hhl.n_t": 4}, settings), tmp_path / "sweeps" / "key"


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


def test_images_in_a_step(base):
    assert budget.images_a_step(base["baseline"], 8) == 64
    assert budget.images_a_step(base["hhl"], 8) == 64 + 8 * 4 + 8 * (1 + 8)
    assert budget.images_a_step(base["hhl"] | {"n_t": 0}, 8) == 64 + 8 * 4
    assert budget.images_a_step(base["hhl"] | {"losses": "L_T"}, 8) == 64 + 8 * 4
    assert budget.images_a_step(base["hhl"] | {"losses": "L_D"}, 8) == 64 + 8 * 4 + 8
    assert budget.images_a_step(base["hhl"] | {"losses": "L_C"}, 8) == 64 + 8 * (1 + 8)
    assert budget.images_a_step(base["arn"], 8) == 16 * 4 + 32
    assert budget.images_a_step(base["chance"], 8) == 0


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


def test_force_forgets_the_trials_own_stages_of_its_kinds(small, tmp_path):
    one, folder = small
    for stage in {stage.hash: stage for plan in one.graphs for stage in plan}.values():
        finish(stage, tmp_path, {})
    folder.mkdir(parents=True)
    for seed in (0, 1):
        cache.write_json(folder / f"{one.key}-{seed}.json", {"scores": {"0.33": 0.1}, "stopped": 4})
    sweeps.forget([one], one.settings[0] | {"force": ["pretrain", "hhl"]}, folder, print)
    assert not list(folder.iterdir()), "who was stopped is trained again"
    left = {stage.name for plan in one.graphs for stage in plan if stage.finished(tmp_path)}
    assert left == {"data", "generator", "styles", "measures", "pretrain"}, (
        "what was measured goes too; pretrain is not the trials' own"
    )


def test_the_headline_tells_data_recipe_seeds_and_what_is_maximised(base):
    told = sweeps.headline(block(seeds=[0, 1], metric="style_retrieval"), base)
    assert told == (
        "grid over hhl.beta x hhl.n_t: market -> duke, synthetic data, recipe quick, seed 0, 1; by style_retrieval"
    )
    assert not sweeps.on_real_data(base)


# -- what was found wrong once


@pytest.mark.parametrize(
    "option", ["recipe", "methods", "work_dir", "force", "target", "source.root", "cluster.num_workers"]
)
def test_an_option_that_belongs_to_no_training_is_not_searched(option):
    with pytest.raises(
        ValueError, match=f"sweep.space.{option}: not searched; give {option.partition('.')[0]} on the command"
    ):
        space.check(block(space={option: [1, 2]}))


def test_a_seed_counts_once():
    with pytest.raises(ValueError, match=r"sweep.seeds is \[0, 0\]; expected every seed once"):
        space.check(block(seeds=[0, 0]))


@pytest.mark.parametrize("more", [["gan.steps=null"], ["gan.batch=15"], ["gan.steps=0"]])
def test_the_generators_options_are_checked_where_style_retrieval_alone_needs_it(more):
    settings = options.compose([*BASE, "methods=[arn]", *more])
    with pytest.raises(ValueError, match="gan"):
        trial(block(space={"arn.margin": [1.0]}), {"arn.margin": 1.0}, settings, num_workers=2)


def test_whole_numbers_are_floats_where_the_option_is_one(base):
    wanted = {"hhl.beta": {"from": 0, "to": 2}, "hhl.n_t": {"from": 0, "to": 2}, "hhl.margin": [1, 0.3]}
    typed = space.typed(wanted, base)
    assert repr(typed["hhl.beta"]) == "{'from': 0.0, 'to': 2.0}" and repr(typed["hhl.margin"]) == "[1.0, 0.3]"
    assert repr(typed["hhl.n_t"]) == "{'from': 0, 'to': 2}"
    a, b = (trial(block(), {"hhl.beta": value, "hhl.n_t": 4}, base) for value in (1, 1.0))
    assert a.trained()[0].hash == b.trained()[0].hash


def test_the_command_line_of_a_value_that_is_a_block(base):
    point = {"hhl.optimiser.lr": {"base": 0.01, "new": 0.1}}
    own = block(space={"hhl.optimiser.lr": [point["hhl.optimiser.lr"]]})
    words = shlex.split(sweeps.command_line({"point": point}, BASE, own))[2:]
    assert graph.plan(options.compose(words))[-1].hash == trial(own, point, base).trained()[0].hash


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


def test_what_learns_nothing_is_not_swept(base):
    with pytest.raises(ValueError, match="histogram learns nothing"):
        trial(block(space={"histogram.bins": [2]}), {"histogram.bins": 2}, base)


def test_disk_is_asked_for_and_refused_with_the_numbers(base, monkeypatch):
    one = trial(block(), {"hhl.beta": 0.5, "hhl.n_t": 4}, base)
    assert 12 * 1_000_000 < budget.disk(one, 12, 1) < 60 * 1_000_000
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: budget.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ValueError, match=r"the trials need about 0.0 GB in .*, which has 0.0 GB free"):
        budget.check_disk(one, 12, 1)
