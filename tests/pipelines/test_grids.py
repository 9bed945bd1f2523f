"""reproduce.py: a table of cells, resumed and shared, on worlds and trainings as small as they come."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines import cache, command, grids, options, reproduce
from pipelines.measuring import RATIOS

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["data.world.train_persons=30", "data.world.test_persons=6", "cluster.cpus_per_worker=1"]
SMALL += ["pretrain.steps=2", "baseline.steps=2"]


def run(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    line = [sys.executable, str(ROOT / "pipelines" / "reproduce.py"), *SMALL, f"work_dir={work_dir}", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=600)


@pytest.mark.slow
def test_a_small_grid(tmp_path):
    rows = ("rows=[chance,source_only,bn_target]", "seeds=[0,1]")
    limited = run(tmp_path, *rows, "max_minutes=0.0001")
    assert limited.returncode == 0 and "left 3 of them" in limited.stdout, limited.stdout + limited.stderr
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
def fails(capsys, monkeypatch, tmp_path):
    def check(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *SMALL, f"work_dir={tmp_path / 'work'}", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.many_main(reproduce.story, "reproduce", reproduce.INSTEAD, cluster="inline")
        printed = capsys.readouterr()
        assert stop.value.code == 2 and len(printed.err.strip().splitlines()) <= 3, printed.err
        assert not (tmp_path / "work").exists()
        return printed.err

    return check


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("seeds=[]", "seeds is []; expected whole numbers"),
        ("seeds=3", "seeds is 3; expected a list such as seeds=[3]"),
        ("vary=[sed]", "vary is ['sed']; expected some of seed, data.seed, gan.seed"),
        ("directions=[market]", "expected such as directions=[market-duke"),
        ("directions=[market-duk]", "unknown target 'duk'"),
        ("rows=[hhhl]", "unknown 'hhhl'; grid=controls has chance"),
        ("grid=contrls", "unknown grid 'contrls'"),
        ("max_minutes=0", "max_minutes is 0; expected a positive number"),
        ("max_minutes=soon", "max_minutes is soon; expected a positive number"),
        ("vary=[[seed]]", "expected some of seed"),
        ("source=market", "give directions=[market-duke]"),
        ("seed=3", "seed=3: seeds=[0, 1, 2] sets it, since vary=['seed']"),
        ("hhl.betta=1", "unknown option 'hhl.betta' (did you mean 'hhl.beta'?)"),
    ],
)
def test_bad_input(fails, argument, expected):
    assert expected in fails(argument)


def test_rows_that_need_the_truth_are_left_out_on_data_from_disk_by_name(world):
    own = options.composed("reproduce", ["rows=[source_only,redrawn]", "seeds=[0]", "directions=[market-duke]"])
    roots = [f"{role}.root={world.folder / name}" for role, name in (("source", "market"), ("target", "duke"))]
    cells, left_out = grids.cells(own, lambda more: options.compose([*roots, *more]), options.changed, 1)
    assert [cell.row for cell in cells] == ["source_only"] and left_out == ["redrawn"]


def test_every_row_of_every_grid_plans():
    for path in (Path(options.CONF) / "grid").glob("*.yaml"):
        own = options.composed("reproduce", [f"grid={path.stem}", "seeds=[0]"])
        cells, _ = grids.cells(own, options.compose, options.changed, 1)
        assert len({cell.stage.hash for cell in cells}) == len(cells) == 2 * len(own["grid"]["rows"])
        named = {name for row, others in own["grid"]["compare"].items() for name in (row, *others)}
        assert named <= set(own["grid"]["rows"])


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
    lines = grids.table(own | {"given": ["hhl.beta=0.3"]}, cells).splitlines()
    assert "hhl.beta=0.3" in lines[0]
    assert lines[3].split() == ["source", "only", "50.0", "+-", "0.0", "50.0", "+-", "0.0"]
    assert lines[4].split() == ["HHL", "50.0", "(1)", "50.0", "(1)"]
    path = tmp_path / "styles.csv"
    assert grids.write_measures(path, cells) == []
    measured = next(stage for cell in cells for stage in cell.graph if stage.name == "measures")
    measured.folder(tmp_path).mkdir(parents=True)
    ratios = dict.fromkeys(RATIOS) | {"camera": 1.0, "identity": 0.5}
    cache.write_json(measured.folder(tmp_path) / "result.json", {"ratios": ratios})
    assert grids.write_measures(path, cells) == [path]
    header, line = path.read_text().splitlines()
    assert header.startswith("target,data,recipe,seed,data_seed,gan_seed,camera,original,")
    assert line == "duke,synthetic,quick,0,0,0,1.000000,,,,,,0.500000,,"
