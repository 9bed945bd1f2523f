"""reproduce.py: a table of cells, resumed and shared, on worlds and trainings as small as they come."""

import copy
import csv
import json
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
from mlflow import MlflowClient

from pipelines import cache, charts, command, grid_views, grids, options, reproduce
from pipelines.cache import Stage
from pipelines.measuring import RATIOS

SMALL = ["data.world.train_persons=30", "data.world.test_persons=6", "cluster.cpus_per_worker=1"]
SMALL += ["pretrain.steps=2", "baseline.steps=2"]


def run(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    return forked.run("reproduce", *SMALL, f"work_dir={work_dir}", *arguments)


@pytest.mark.slow
def test_a_small_grid(tmp_path):
    rows = ("rows=[chance,source_only,bn_target]", "seeds=[0,1]")
    limited = run(tmp_path, *rows, "max_minutes=0.0001")
    assert limited.returncode == 0 and "left 11 of 12" in limited.stdout, limited.stdout + limited.stderr
    assert "market -> duke, 0: source_only, bn_target; duke -> market, 0: chance, source_only" in limited.stdout
    done = run(tmp_path, *rows)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "left" not in done.stdout and done.stderr.count("data market") == 1, "reused once, not for every cell"
    assert "seed in 0, 1; data.seed 0, gan.seed 0" in done.stdout
    lines = {line[:40].strip(): line for line in done.stdout.splitlines()}
    assert lines["source only"].count("+-") == lines["chance"].count("+-") == 4
    with open(next(tmp_path.glob("controls-*.csv")), newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 3 * 2 * 2 and {row["row"] for row in found} == {"chance", "source_only", "bn_target"}
    assert [row["seed"] for row in found] == ["0"] * 6 + ["1"] * 6
    with open(tmp_path / "results.csv", newline="") as file:
        every = {row["settings"]: row for row in csv.DictReader(file)}
    for row in found:
        assert {k: v for k, v in row.items() if k != "row"} == every[row["settings"]]
    assert all("baseline.bn=target" in row["variant"] for row in found if row["row"] == "bn_target")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("reid-da").experiment_id
    runs = client.search_runs([experiment])
    assert {one.info.status for one in runs} == {"FINISHED"}
    (grid,) = [one for one in runs if one.data.tags["stage"] == "grid"]
    values = [float(row["mAP"]) for row in found if (row["row"], row["source"]) == ("source_only", "market")]
    assert grid.data.metrics["market-duke/source_only/mAP"] == pytest.approx(sum(values) / 2, abs=1e-6)
    files = [file.path for file in client.list_artifacts(grid.info.run_id)]
    assert sorted(Path(file).suffix for file in files) == ["", ".csv", ".csv", ".json", ".txt"]
    assert len(client.list_artifacts(grid.info.run_id, "figures")) == 1


@pytest.fixture
def fails(refused):
    return partial(
        refused, partial(command.many_main, reproduce.story, "reproduce", reproduce.INSTEAD, cluster="inline"), *SMALL
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("seeds=[]", "seeds is []; expected whole numbers"),
        ("seeds=3", "seeds is 3; expected a list such as seeds=[3]"),
        ("rows=null", "rows is null; expected a list such as rows=[hhl]"),
        ("vary=[sed]", "vary is ['sed']; expected some of seed, data.seed, gan.seed"),
        ("directions=[market]", "expected such as directions=[market-duke"),
        ("directions=[market-duk]", "unknown target 'duk'"),
        ("rows=[hhhl]", "unknown 'hhhl'; grid=controls has chance"),
        ("grid=contrls", "unknown grid 'contrls'"),
        ("max_minutes=0", "max_minutes is 0; expected a positive number"),
        ("seeds=[true]", "seeds is [True]; expected whole numbers"),
        ("max_minutes=true", "max_minutes is True; expected a positive number"),
        ("max_minutes=soon", "max_minutes is soon; expected a positive number"),
        ("vary=[[seed]]", "expected some of seed"),
        ("source=market", "give directions=[market-duke]"),
        ("seed=3", "seed=3: seeds=[0, 1, 2] sets it, since vary=['seed']"),
        ("hhl.betta=1", "unknown option 'hhl.betta' (did you mean 'hhl.beta'?)"),
        ("~hhl", "~hhl: options cannot be taken away"),
        (
            "force=[hhl] max_minutes=5",
            "force=['hhl'] with max_minutes=5: the command that is to go on would begin anew",
        ),
    ],
)
def test_bad_input(fails, argument, expected):
    assert expected in fails(*argument.split())


@pytest.mark.slow
def test_rows_that_need_the_truth_are_left_out_on_data_from_disk_by_name(world):
    own = options.composed("reproduce", ["rows=[source_only,redrawn]", "seeds=[0]", "directions=[market-duke]"])
    roots = [f"{role}.root={world.folder / name}" for role, name in (("source", "market"), ("target", "duke"))]
    cells, left_out = grids.cells(own, lambda more: options.compose([*roots, *more]), options.changed, 1)
    assert [cell.row for cell in cells] == ["source_only"] and left_out == ["redrawn"]


@pytest.mark.slow
def test_a_row_may_have_data_of_its_own_if_they_are_drawn(world):
    own = options.composed("reproduce", ["grid=identity_losses", "rows=[baseline_softmax,tail_softmax]", "seeds=[0]"])
    whole, tail = grids.cells(own, options.compose, options.changed, 1)[0]
    assert whole.stage.inputs["source"].hash != tail.stage.inputs["source"].hash, "half of its persons have few images"
    assert whole.stage.inputs["start"].hash != tail.stage.inputs["start"].hash
    roots = [f"{role}.root={world.folder / name}" for role, name in (("source", "market"), ("target", "duke"))]
    cells, left_out = grids.cells(own, lambda more: options.compose([*roots, *more]), options.changed, 1)
    assert [cell.row for cell in cells] == ["baseline_softmax"] and left_out == ["tail_softmax"]


def test_scores_are_of_the_target_or_the_source(tmp_path):
    own = options.composed("reproduce", ["grid=identity_losses", "rows=[baseline_softmax]", "seeds=[0]"])
    (cell,), _ = grids.cells(own, lambda more: options.compose([f"work_dir={tmp_path}", *more]), options.changed, 1)
    folder = cell.stage.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"target": {"mAP": 0.2, "rank1": 0.3}, "source": {"mAP": 0.7}}))
    found = {
        metric: grids.scores([cell], metric)["market-duke"]["baseline_softmax"][0] for metric in ("mAP", "source/mAP")
    }
    assert found == {"mAP": 0.2, "source/mAP": 0.7}
    told = grid_views.table(own, [cell])
    assert "source mAP" in told and "20.0" in told and "30.0" in told and "70.0" in told


GRIDS = sorted(path.stem for path in (Path(options.CONF) / "grid").glob("*.yaml"))
TWINS = {  # rows that a recipe makes the same trainings
    ("hhl_table2", "quick"): {"hhl_trained": "hhl"},
    ("hhl_table2", "paper"): {"hhl_frozen": "hhl"},
    ("arn", "paper"): {"slow": "arn"},
    ("arn_target", "paper"): {"frozen": "arn", "frozen_source": "source_terms"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "recipe"), sorted({*((name, "quick") for name in GRIDS), *TWINS}))
def test_every_row_of_every_grid_plans(name, recipe):
    own = options.composed("reproduce", [f"grid={name}", "seeds=[0]"])
    cells, _ = grids.cells(own, lambda more: options.compose([f"recipe={recipe}", *more]), options.changed, 1)
    assert len(cells) == len(own["directions"]) * len(own["grid"]["rows"])
    twins = TWINS.get((name, recipe), {})
    assert grids.twins(cells) == twins
    assert len({cell.stage.hash for cell in cells}) == len(cells) - len(twins) * len(own["directions"])


@pytest.mark.slow
def test_a_row_of_the_same_trainings_as_another_is_told_below_the_table():
    own = options.composed("reproduce", ["grid=hhl_table2", "rows=[hhl_trained,hhl]", "seeds=[0]"]) | {"given": []}
    cells, _ = grids.cells(own, options.compose, options.changed, 1)
    names = grids.labels(own)
    told = f"{names['hhl_trained']}: the same trainings as {names['hhl']}"
    assert told in grid_views.table(own, cells).splitlines()


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_compares_its_rows_and_quotes_percent(name):
    grid = options.composed("reproduce", [f"grid={name}"])["grid"]
    assert grid["name"] == name
    assert {row for one, others in grid["compare"].items() for row in (one, *others)} <= set(grid["rows"])
    quoted = [found for row in grid["rows"].values() for found in row.get("published", {}).items()]
    assert {direction for direction, _ in quoted} <= {"duke-market", "market-duke"}
    assert all(set(values) <= {"mAP", "rank1"} and min(values.values()) > 1 for _, values in quoted)


@pytest.mark.slow
def test_styles_are_measured_with_the_cells_that_train_on_them_by_a_judge_that_knows_the_source():
    own = options.composed("reproduce", ["seeds=[0,1]", "rows=[source_only,jitter,L_T,hhl]"])
    cells, _ = grids.cells(own, options.compose, options.changed, 1)
    for cell in cells:
        names = [stage.name for stage in cell.graph]
        assert (cell.row == "hhl") == ("measures" in names) and names[-1] == cell.stage.name
        if cell.row == "hhl":
            assert names.index("measures") == len(names) - 2, "before the method adapts"
            measures = cell.graph[-2]
            assert measures.inputs["styles"] is cell.stage.inputs["styles"] or measures.inputs["styles"] in cell.graph
            assert measures.inputs["judge"].inputs["source"].hash != measures.inputs["target"].hash


def test_shares_of_a_gain_are_paired_by_seed():
    by_row = {"a": {0: 0.2, 1: 0.2, 2: 0.3}, "b": {0: 0.3, 1: 0.5, 2: 0.1}, "c": {0: 0.4, 1: 0.6, 2: 0.3, 3: 0.9}}
    assert grids.shares(by_row, "b", "a", "c") == pytest.approx({0: 0.5, 1: 0.75}), (
        "in seed 2 there is no gain to share"
    )
    assert grids.shares(by_row, "b", "a", "nothing") == {}


def test_differences_are_paired_by_seed():
    own = {"grid": {"name": "g", "rows": dict.fromkeys("abc"), "compare": {"a": ["b", "c"]}}, "rows": []}
    by_row = {"a": {0: 0.5, 1: 0.7, 2: 0.9}, "b": {0: 0.4, 2: 0.5}}
    found = grids.differences(own, by_row)
    assert found["a", "b"] == pytest.approx([0.1, 0.4]) and found["a", "c"] == [], "c is not finished"
    assert grids.statistics_of([0.1, 0.4]) == pytest.approx((0.25, 0.3 / 2**0.5))


def test_the_table_says_where_cells_are_missing_and_measures_stand_in_a_csv(tmp_path):
    own = options.composed("reproduce", ["rows=[source_only,hhl]", "seeds=[0,1]", "directions=[market-duke]"])
    cells, _ = grids.cells(
        own | {"given": ["hhl.beta=0.3"]},
        lambda more: options.compose([*more, f"work_dir={tmp_path}"]),
        options.changed,
        1,
    )
    metrics = dict.fromkeys(("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid"), 0.5)
    for cell in cells[:3]:
        cell.stage.folder(tmp_path).mkdir(parents=True)
        cache.write_json(cell.stage.folder(tmp_path) / "result.json", {"target": metrics, "seconds": 1})
    lines = grid_views.table(own | {"given": ["hhl.beta=0.3"]}, cells).splitlines()
    assert "hhl.beta=0.3" in lines[0]
    assert lines[3].split() == ["source", "only", "50.0", "+-", "0.0", "50.0", "+-", "0.0"]
    assert lines[4].split() == ["HHL", "50.0", "(1)", "50.0", "(1)"]
    path = tmp_path / "styles.csv"
    assert grid_views.write_measures(path, cells) == []
    measured = next(stage for cell in cells for stage in cell.graph if stage.name == "measures")
    measured.folder(tmp_path).mkdir(parents=True)
    ratios = dict.fromkeys(RATIOS) | {"camera": 1.0, "identity": 0.5}
    cache.write_json(measured.folder(tmp_path) / "result.json", {"ratios": ratios})
    assert grid_views.write_measures(path, cells) == [path]
    header, line = path.read_text().splitlines()
    assert header.startswith("source,target,data,recipe,variant,seed,data_seed,gan_seed,camera,original,")
    assert line == "market,duke,synthetic,quick,default,0,0,0,1.000000,,,,,,0.500000,,"
    unjudged = cells[0].stage.folder(tmp_path) / "result.json"
    cache.write_json(unjudged, {"target": metrics, "source": None, "seconds": 1})
    assert grids.scores(cells[:1], "source/mAP") == {} and grids.scores(cells[:1], "mAP") != {}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """own settings and cells of a grid with published figures in one direction, all cells finished with the same scores."""
    tmp_path = tmp_path_factory.mktemp("compared")
    own = options.composed("reproduce", ["rows=[source_only,L_T,hhl]", "seeds=[0,1]"]) | {"given": []}
    rows, own["grid"]["published_of"] = own["grid"]["rows"], ["the real sets, ResNet-50", "a remark"]
    rows["source_only"]["published"] = {"duke-market": {"rank1": 44.6, "mAP": 20.6}}
    rows["hhl"]["published"] = {"duke-market": {"rank1": 62.2}}
    cells, _ = grids.cells(
        own, lambda more: options.compose([*more, f"work_dir={tmp_path}"]), options.changed, num_workers=1
    )
    names = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid")
    metrics = dict(zip(names, (0.5, 0.6, 0.7, 0.8, 0.4, 0.375), strict=True))
    for cell in cells:
        cell.stage.folder(tmp_path).mkdir(parents=True)
        cache.write_json(cell.stage.folder(tmp_path) / "result.json", {"target": metrics, "seconds": 1})
    return own, cells


def test_published_figures_stand_apart_from_what_was_measured(compared):
    own, cells = compared
    lines = grid_views.table(own, cells).splitlines()
    assert lines[0].startswith("controls: measured on synthetic data, recipe quick; seed in 0, 1;")
    assert lines[1].startswith("published: the real sets, ResNet-50; a remark")
    blocks = {line.split("  ")[0]: number for number, line in enumerate(lines) if "PUBLISHED" in line}
    assert list(blocks) == ["market -> duke", "duke -> market"]
    head, names, source_only, l_t, hhl = lines[blocks["duke -> market"] :][:5]
    assert head.split("|")[1].strip() == "MEASURED, synthetic data, recipe quick"
    assert names.split() == ["mAP", "rank-1", "|", "mAP", "mAP", "trap.", "rank-1"]
    assert len({line.index("|") for line in (head, names, source_only, l_t, hhl)}) == 1
    assert source_only.split("|")[0].split() == ["source", "only", "20.6", "44.6"]
    assert source_only.split("|")[1].split() == "40.0 +- 0.0 37.5 +- 0.0 50.0 +- 0.0".split()
    assert l_t.split("|")[0].split()[-2:] == ["-", "-"] and hhl.split("|")[0].split() == ["HHL", "-", "62.2"]
    assert lines[blocks["market -> duke"] + 2].split("|")[0].split() == ["source", "only", "-", "-"]
    assert lines[-3:][0] == "mAP, differences paired by seed:" and lines[-1].split()[-3:] == ["+0.0", "+-", "0.0"]


def test_published_figures_in_the_csv_and_among_the_metrics(compared, tmp_path):
    own, cells = compared
    grid_views.write_csv(tmp_path / "grid.csv", own, cells, {})
    with open(tmp_path / "grid.csv", newline="") as file:
        found = {(row["source"], row["row"], row["seed"]): row for row in csv.DictReader(file)}
    columns = [[row[f"published_{name}"] for name in ("mAP", "rank1")] for row in found.values()]
    assert len(found) == 12 and columns.count(["", ""]) == 8
    for seed in "01":
        row = found["duke", "source_only", seed]
        assert (float(row["published_mAP"]), float(row["published_rank1"])) == (0.206, 0.446)
        assert float(row["mAP_trapezoid"]) == 0.375
        assert [found["duke", "hhl", seed][f"published_{name}"] for name in ("mAP", "rank1")] == ["", "0.6220"]
    numbers = grid_views.numbers(own, cells)
    assert numbers["duke-market/source_only/published_mAP"] == pytest.approx(0.206)
    assert numbers["duke-market/source_only/mAP_trapezoid"] == 0.375 and numbers["duke-market/hhl/mAP"] == 0.4
    assert len([name for name in numbers if "published" in name]) == 3


def test_published_figures_are_diamonds_beside_bars_by_trapezoids(compared):
    figure = charts.controls(*grid_views.bars(*compared))
    without, axis = figure.axes
    (diamonds,) = [line for line in axis.lines if line.get_marker() == "D"]
    assert diamonds.get_xydata().tolist() == [[pytest.approx(20.6), 2]] and diamonds.get_markerfacecolor() == "white"
    assert not [line for line in without.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert axis.patches[0].get_width() == pytest.approx(37.5) and "by trapezoids" in axis.get_xlabel()
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["measured: synthetic data, recipe quick", "published: the real sets, ResNet-50"]


def test_a_grid_without_published_figures_is_shown_as_ever(compared, tmp_path):
    own, cells = copy.deepcopy(compared[0]), compared[1]
    for row in own["grid"]["rows"].values():
        row.pop("published", None)
    lines = grid_views.table(own, cells).splitlines()
    assert lines[0].startswith("controls: synthetic data, recipe quick") and not [x for x in lines if "|" in x]
    assert lines[1].split() == ["market", "->", "duke", "duke", "->", "market"]
    grid_views.write_csv(tmp_path / "grid.csv", own, cells, {})
    assert (tmp_path / "grid.csv").read_text().splitlines()[0].endswith("mlflow_run_id")
    assert not [name for name in grid_views.numbers(own, cells) if "published" in name or "trapezoid" in name]
    figure = charts.controls(*grid_views.bars(own, cells))
    assert figure.legends == [] and figure.axes[0].get_xlabel() == "mAP on the target (%)"


class Clock:
    """Time that passes as stages are made, and no other way: 60 s for the data, 10 s for a method."""

    def __init__(self, work_dir: Path):
        self.now, self.work_dir, self.launches = 0.0, work_dir, []
        self.active, self.diverges, self.left = [], "", []

    def monotonic(self) -> float:
        return self.now

    def make(self, wanted: list[Stage], settings, launch, track) -> None:
        missing = [stage for stage in wanted if not stage.finished(self.work_dir)]
        self.launches.append([stage.label for stage in missing])
        for stage in missing:
            if stage.label == self.diverges:
                self.active = [stage]
                raise FloatingPointError("step 1: loss/source is nan")
            self.now += {"data": 60}.get(stage.name, 10)
            stage.folder(self.work_dir).mkdir(parents=True)

    def say(self, line: str) -> None:
        pass

    def leave(self, stages: list[Stage], status: str) -> None:
        self.left += [(stage.label, status) for stage in stages]


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """timed(max_minutes): what reproduce makes launch by launch, and what it leaves, in one work_dir."""
    rows = ["rows=[chance,source_only,bn_target]", "seeds=[0]", "directions=[market-duke]"]
    own = options.composed("reproduce", rows) | {"given": []}
    cells, _ = grids.cells(own, lambda more: options.compose([*more, f"work_dir={tmp_path}"]), options.changed, 1)

    def run(max_minutes: float | None, diverges: str = "") -> tuple[list, list]:
        clock = Clock(tmp_path)
        clock.diverges = diverges
        monkeypatch.setattr("pipelines.reproduce.time", clock)
        monkeypatch.setattr("pipelines.stages.make", clock.make)
        left, failed = reproduce._make(
            own | {"max_minutes": max_minutes}, cells, {"work_dir": tmp_path, "force": []}, None, clock
        )
        assert {label for label, status in clock.left if status == "FAILED"} == ({diverges} if diverges else set())
        if diverges:
            return clock.launches, [(cell.row, str(error)) for cell, error in failed]
        return clock.launches, [cell.row for cell in left]

    return run


def test_a_limit_ends_between_rows_and_the_same_command_goes_on(timed):
    """The first cell takes 130 s with the data, and that is what each is expected to take; the second 20 s, the third 10 s."""
    first = ["data market", "data duke", "chance"]
    assert timed(1) == ([first], ["source_only", "bn_target"])
    assert timed(0.1) == ([[], ["pretrain", "baseline"]], ["bn_target"])
    assert timed(0.1) == ([[], [], ["baseline"]], [])
    assert timed(0.1) == ([[], [], []], [])


def test_a_row_that_diverges_leaves_the_others(timed):
    """bn_target is made from what source_only is, and comes to nothing with it."""
    launches, failed = timed(None, diverges="baseline")
    assert failed == [(row, "step 1: loss/source is nan") for row in ("source_only", "bn_target")]
    assert launches[0][:3] == ["data market", "data duke", "chance"] and launches[1] == []
    assert all("chance" not in made for made in launches[1:]), "made once"
    assert timed(None)[0] == [["baseline", "baseline"]], "the same command goes on"


def test_without_a_limit_rows_of_a_direction_and_seed_are_launched_together(timed):
    (launch,), left = timed(None)
    assert launch == ["data market", "data duke", "chance", "pretrain", "baseline", "baseline"] and left == []


def test_the_camera_gap_stands_below_the_styles_measures():
    def measured(seed):
        gap = {"crop": 0.01 * seed, "flip": 0.02, "style": 0.2, "truth": None}
        return SimpleNamespace(
            direction="market-duke", measures=lambda: {seed: {"ratios": dict.fromkeys(RATIOS, 0.5), "gap": gap}}
        )

    lines = grid_views._styles([measured(1), measured(3)], ["market-duke"])
    assert lines[-3:] == [
        ("to its cropped copy", "0.020 +- 0.014"),
        ("to its flipped copy", "0.020"),
        ("to its camera-styled copy", "0.200"),
    ]
    assert lines[-4][0].startswith("camera gap (squared feature distance")


def test_a_grid_of_which_no_row_is_left_says_so(world):
    own = options.composed("reproduce", ["rows=[redrawn]", "seeds=[0]", "directions=[market-duke]"])
    roots = [f"{role}.root={world.folder / name}" for role, name in (("source", "market"), ("target", "duke"))]
    with pytest.raises(ValueError, match="no row is left: redrawn need drawn data"):
        grids.cells(own, lambda more: options.compose([*roots, *more]), options.changed, 1)


def test_seeds_of_the_generator_alone_need_a_row_that_has_one():
    given = ["seeds=[0,1]", "vary=[gan.seed]", "directions=[market-duke]"]
    own = options.composed("reproduce", [*given, "rows=[source_only]"])
    with pytest.raises(ValueError, match=r"vary=\['gan.seed'\] changes nothing here: .* same training 2 times"):
        grids.cells(own, options.compose, options.changed, 1)
    own = options.composed("reproduce", [*given, "rows=[source_only,hhl]"])
    cells, _ = grids.cells(own, options.compose, options.changed, 1)
    assert [len({cell.stage.hash for cell in cells if cell.row == row}) for row in ("source_only", "hhl")] == [1, 2]


def test_the_share_of_a_gain_stands_below_the_table():
    own = options.composed("reproduce", ["rows=[source_only,hhl,redrawn]", "seeds=[0,1]"])
    found = {"source_only": {0: 0.2, 1: 0.2}, "hhl": {0: 0.3, 1: 0.35}, "redrawn": {0: 0.4, 1: 0.4}}
    head, line = grid_views._shares(own, {"market-duke": found}, ["market-duke"])
    assert head == ("share of the gain from source only to HHL with true styles that is reached (mAP, percent):",)
    assert line == ("HHL", "62 +- 18")
    fewer = options.composed("reproduce", ["rows=[hhl,redrawn]", "seeds=[0,1]"])
    assert grid_views._shares(fewer, {"market-duke": found}, ["market-duke"]) == []
