"""What tests of commands share, and those of sweeps as plain values."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from started import FEW_PERSONS, TWO_STEPS
from sweeping import BASE, block, trial

from pipelines import cluster, command, graph, options, stages


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a baseline that two steps have trained for duke; its work_dir is three above."""
    work_dir = tmp_path_factory.mktemp("trained") / "work"
    given = ["source=market", "target=duke", "cluster=inline", f"work_dir={work_dir}", *FEW_PERSONS, *TWO_STEPS]
    settings = options.compose(given)
    with cluster.connect(settings) as launch:
        stages.run(settings, launch, stages.Silent())
    (stage,) = [one for one in graph.plan(settings) if one.name == "baseline"]
    return stage.folder(work_dir)


@pytest.fixture
def tell(monkeypatch, capsys, tmp_path) -> Callable:
    """tell(check, *options): exit code, output and errors of check.py or its like in this process; work_dir is tmp_path/out."""

    def call(module, *given: str) -> tuple[int, str, str]:
        name = module.__name__.rpartition(".")[2]
        aside = [f"work_dir={tmp_path / 'out'}"] * (not any(one.startswith("work_dir=") for one in given))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "cluster=inline", *aside, *given])
        code = 0
        try:
            command.many_main(module.story, name, {}, cluster="inline")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def base() -> dict:
    return options.compose([*BASE, "methods=[hhl]"])


@pytest.fixture
def small(tmp_path):
    """A trial of two seeds in an empty work_dir, and the sweep's folder."""
    settings = options.compose([*BASE, "methods=[hhl]", f"work_dir={tmp_path}"])
    return trial(block(seeds=[0, 1]), {"hhl.beta": 0.3, "hhl.n_t": 4}, settings), tmp_path / "sweeps" / "key"
