"""A sweep's trials as plain values: their stages, keys and command lines. Nothing is trained."""

import shlex

import pytest
from sweeping import BASE, block, trial, trials

from pipelines import graph, options, space, sweeps


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_what_learns_nothing_is_not_swept(base):
    with pytest.raises(ValueError, match="histogram learns nothing"):
        trial(block(space={"histogram.bins": [2]}), {"histogram.bins": 2}, base)


@pytest.mark.slow
@pytest.mark.parametrize("more", [["gan.steps=null"], ["gan.batch=15"], ["gan.steps=0"]])
def test_the_generators_options_are_checked_where_style_retrieval_alone_needs_it(more):
    settings = options.compose([*BASE, "methods=[arn]", *more])
    with pytest.raises(ValueError, match="gan"):
        trial(block(space={"arn.margin": [1.0]}), {"arn.margin": 1.0}, settings, num_workers=2)


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


@pytest.mark.slow
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


def test_the_command_line_of_a_value_that_is_a_block(base):
    point = {"hhl.optimiser.lr": {"base": 0.01, "new": 0.1}}
    own = block(space={"hhl.optimiser.lr": [point["hhl.optimiser.lr"]]})
    words = shlex.split(sweeps.command_line({"point": point}, BASE, own))[2:]
    assert graph.plan(options.compose(words))[-1].hash == trial(own, point, base).trained()[0].hash
