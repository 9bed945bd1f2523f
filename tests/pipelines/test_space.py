"""A sweep's space as plain values: what is read and refused, and its points. Nothing is trained."""

import json
import math
import random

import pytest
from sweeping import RANGE, block, trial

from pipelines import options, space


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


@pytest.mark.slow
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
        ({"space": {"data.seed": [0, 1]}}, "sweep.space.data.seed: seeds are not searched; give data.seed=1 on the"),
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


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_ranges_are_for_those_that_draw(search):
    space.check(block(search=search, space={"hhl.beta": RANGE | {"log": True}, "hhl.n_t": {"from": 0, "to": 32}}))


def test_whole_numbers_are_floats_where_the_option_is_one(base):
    wanted = {"hhl.beta": {"from": 0, "to": 2}, "hhl.n_t": {"from": 0, "to": 2}, "hhl.margin": [1, 0.3]}
    typed = space.typed(wanted, base)
    assert repr(typed["hhl.beta"]) == "{'from': 0.0, 'to': 2.0}" and repr(typed["hhl.margin"]) == "[1.0, 0.3]"
    assert repr(typed["hhl.n_t"]) == "{'from': 0, 'to': 2}"
    a, b = (trial(block(), {"hhl.beta": value, "hhl.n_t": 4}, base) for value in (1, 1.0))
    assert a.trained()[0].hash == b.trained()[0].hash


@pytest.mark.slow
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


def test_whole_numbers_on_a_logarithmic_scale_come_as_often_as_what_is_rounded_to_them():
    draws = random.Random(0)
    drawn = [space._drawn({"from": 1, "to": 3, "log": True}, draws) for _ in range(20000)]
    for value, (low, high) in {1: (0.5, 1.5), 2: (1.5, 2.5), 3: (2.5, 3.5)}.items():
        assert drawn.count(value) / 20000 == pytest.approx(math.log(high / low) / math.log(7), abs=0.02)


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


def test_a_range_with_one_end_whole_is_of_all_numbers_between():
    own = {"search": "random", "num_trials": 20, "seed": 0, "space": {"hhl.margin": {"from": 0, "to": 0.5}}}
    values = [point["hhl.margin"] for point in space.points(own)]
    assert len(set(values)) == 20 and all(0 < value < 0.5 for value in values)
