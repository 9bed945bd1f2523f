"""The plan's hashes: what may change, and a stage stays what it was."""

from pathlib import Path

import pytest

from pipelines import graph, options

PAIR = ["source=market", "target=duke"]


def stages_of(*more: str) -> dict[str, str]:
    return {stage.label: stage.hash for stage in graph.plan(options.compose([*PAIR, *more]))}


@pytest.mark.parametrize("option", ["ema=0.9", "precision=bf16", "legacy_decay=true"])
def test_an_option_of_the_generator_changes_it_once_it_is_on(option):
    before, after = stages_of(), stages_of(f"gan.training.{option}")
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {"generator", "styles", "measures", "hhl"}


def test_an_option_that_is_off_leaves_the_generator_that_it_was_before_there_was_the_option():
    settings = options.compose(PAIR)
    whole = {stage.label: stage for stage in graph.plan(settings)}["generator"]
    without = {k: v for k, v in settings["gan"]["training"].items() if k not in ("ema", "precision", "legacy_decay")}
    plan = graph.plan(settings | {"gan": settings["gan"] | {"training": without}})
    assert {stage.label: stage for stage in plan}["generator"].hash == whole.hash


def test_the_upper_bound_is_hhl_with_true_styles_and_no_other_stage_of_the_run_changes():
    settings = options.compose([*PAIR, "hhl.beta=0.3", "gan.steps=9"])
    data = graph.data_stages(settings)
    plan, bound = graph.plan(settings, data=data), graph.upper_bound(settings, data)
    new = [stage for stage in bound if stage.hash not in {one.hash for one in plan}]
    assert [stage.label for stage in new] == ["styles redrawn", "hhl"]
    assert new[-1].about["variant"] == "hhl.styles=redrawn hhl.beta=0.3"
    chosen = options.compose([*PAIR, "hhl.beta=0.3", "hhl.styles=redrawn"])
    (same,) = [stage for stage in graph.plan(chosen) if stage.name == "hhl"]
    assert same.hash == bound[-1].hash


@pytest.mark.parametrize("option", ["methods=[arn]", "hhl.styles=jitter", "hhl.styles=redrawn", "n_t=0"])
def test_no_upper_bound_where_hhl_takes_no_styles_of_a_generator(option):
    settings = options.compose([*PAIR, option])
    assert graph.upper_bound(settings, graph.data_stages(settings)) == []


def test_no_upper_bound_of_real_images(world):
    root = Path(world.target.paths[0]).parents[1]
    settings = options.compose(["source=market", "target=duke", f"target.root={root}"])
    assert graph.upper_bound(settings, graph.data_stages(settings)) == []
