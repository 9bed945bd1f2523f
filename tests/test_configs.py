"""Every file of conf/ composes, and every block is a constructor call that works."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import build, graph, options, training
from reid_da import sampling
from reid_da.learner import Learner

PAIR = ["source=market", "target=duke"]
CONF = Path(options.CONF)


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("group", ["data", "gan", "cluster", "recipe"])
def test_every_choice_composes(group):
    for choice in choices(group):
        settings = options.compose([*PAIR, f"{group}={choice}"])
        assert settings["methods"] and (choice == "folder" or settings["gan"]["generator"]["_target_"])


@pytest.mark.parametrize("name", choices("dataset"))
def test_every_data_set_is_source_and_target(name):
    other = next(choice for choice in choices("dataset") if choice != name)
    for role in ("source", "target"):
        roles = {"source": other, "target": other, role: name}
        settings = options.compose([f"{key}={value}" for key, value in roles.items()])
        assert settings[role]["name"] == name
        build.check(settings[role]["reader"])
        build.check(settings[role]["world"])


@pytest.mark.parametrize("recipe", choices("recipe"))
def test_the_plan_of_every_recipe(recipe):
    plan = graph.plan(options.compose([*PAIR, f"recipe={recipe}"]))
    names = [stage.name for stage in plan]
    assert names[:2] == ["data", "data"] and {"generator", "styles", "baseline", "hhl", "arn"} <= set(names)
    for place, stage in enumerate(plan):
        assert all(other in plan[:place] for other in stage.inputs.values()), "inputs come first"


def fake_batch(streams: dict[str, int], size: tuple[int, int], variants: dict[str, int]) -> dict:
    generator = sampling.generator("fake batch")
    batch = {"step": 0, "draw": sampling.draws(0, 0)}
    for name, labels in streams.items():
        count = len(labels)
        images = torch.randn(count, 3, *size, generator=generator)
        batch[name] = {
            "images": images,
            "labels": torch.tensor(labels),
            "cameras": torch.zeros(count, dtype=torch.long),
        }
    return batch


SMALL = {  # streams of a small batch: source labels below 751, a target image and its copies above
    "baseline": {"source": [0, 1, 2, 3]},
    "hhl": {"source": [0, 1, 2, 3], "triplet": [0, 0, 1, 1], "target": [751, 751, 752, 752]},
    "arn": {"source": [0, 0, 1, 1], "target": [0, 1, 2, 3]},
}


def step(recipe: str, method: str, overrides: list[str]) -> dict[str, float]:
    """Build the method as a run would and take one optimiser step on a small batch."""
    settings = options.compose([*PAIR, f"recipe={recipe}", *overrides])
    block = settings[method]
    torch.manual_seed(0)
    own = {key: value for key, value in block.items() if key not in training.TRAINING}
    built = build.build(own, build.build(settings["backbone"]), num_persons=751)
    optimiser, schedule = (partial(build.build, block[part]) for part in ("optimiser", "schedule"))
    learner = Learner(built, optimiser, schedule, 100)
    size = (settings["images"]["height"], settings["images"]["width"])
    before = [parameter.detach().clone() for group in learner.groups.values() for parameter in group]
    floats = learner.update(fake_batch(SMALL[method], size, {}) | {"step": 50})
    after = [parameter for group in learner.groups.values() for parameter in group]
    assert all(np.isfinite(value) for value in floats.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    return floats


@pytest.mark.parametrize("method", SMALL)
def test_every_method_steps_in_the_quick_recipe(method):
    step("quick", method, [])


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_every_method_steps_at_full_size_in_the_paper_recipe(method):
    step("paper", method, ["backbone.weights=null"])


@pytest.mark.slow
def test_the_papers_generator_steps_at_full_size():
    gan = options.compose([*PAIR, "recipe=paper"])["gan"]
    torch.manual_seed(0)
    generator, discriminator = build.build(gan["generator"], 6), build.build(gan["discriminator"], 6, 256, 128)
    assert sum(p.numel() for p in generator.parameters()) == 8_433_664
    assert sum(p.numel() for p in discriminator.parameters()) == pytest.approx(44.82e6, abs=5e3)
    learner = build.build(gan["training"], generator, discriminator, steps=10)
    images = torch.rand(2, 3, 256, 128, generator=sampling.generator("images")) * 2 - 1
    batch = {
        "images": images,
        "cameras": torch.tensor([0, 1]),
        "wanted": torch.tensor([1, 0]),
        "draw": sampling.draws(0, 0),
    }
    floats = learner.update(batch | {"step": gan["training"]["n_critic"] - 1})  # a step in which both networks move
    assert all(np.isfinite(value) for value in floats.values()) and "loss/G" in floats


def test_the_paper_recipe_is_the_published_one():
    settings = options.compose([*PAIR, "recipe=paper"])
    assert settings["images"] == {"height": 256, "width": 128} and settings["backbone"]["weights"] == "imagenet"
    hhl, gan = settings["hhl"], settings["gan"]
    assert (hhl["beta"], hhl["n_t"], hhl["batch"], hhl["persons"], hhl["images_per_person"]) == (0.5, 16, 128, 8, 8)
    assert hhl["freeze_embedding"] and hhl["optimiser"]["lr"] == {"base": 0.01, "new": 0.1} and hhl["epochs"] == 60
    assert (gan["steps"], gan["batch"], gan["training"]["n_critic"], gan["training"]["lr"]) == (220_000, 16, 5, 1e-4)
    assert settings["arn"]["optimiser"]["lr"] == {"shared": 1e-7, "encoders": 1e-3, "classifier": 2e-3}


def test_short_names_mean_hhls_options():
    settings = options.compose([*PAIR, "beta=0.3", "n_t=4"])
    assert (settings["hhl"]["beta"], settings["hhl"]["n_t"]) == (0.3, 4)


def test_variants_name_what_differs_from_the_recipe_and_never_seeds():
    settings = options.compose(
        [*PAIR, "hhl.beta=0.3", "gan.steps=5", "seed=7", "gan.seed=3", "data.seed=2", "work_dir=x"]
    )
    expected = dict.fromkeys(options.method_names(), "default") | {"hhl": "hhl.beta=0.3 gan.steps=5"}
    assert settings["variants"] == expected
    for without_generator in ("n_t=0", "hhl.styles=copies"):
        variants = options.compose([*PAIR, without_generator, "gan.steps=5"])["variants"]
        assert variants["hhl"] == options.long_name(without_generator)
