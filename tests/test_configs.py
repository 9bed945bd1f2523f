"""Every file of conf/ composes, and every block is a constructor call that works."""

import inspect
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.networks import Discriminator, Generator
from gan.stargan import StarGAN
from pipelines import build, graph, options, path_options, refusals, training
from reid_da import sampling
from reid_da.learner import Learner

PAIR = ["source=market", "target=duke"]
CONF = Path(options.CONF)
READY = "folder"  # of conf/gan/: no generator's options, but where ready styles lie


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("group", ["data", "gan", "cluster", "recipe"])
def test_every_choice_composes(group):
    for choice in choices(group):
        settings = options.compose([*PAIR, f"{group}={choice}"])
        assert settings["methods"] and (choice == READY or settings["gan"]["generator"]["_target_"])


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("dataset"))
def test_every_data_set_is_source_and_target(name):
    other = next(choice for choice in choices("dataset") if choice != name)
    for role in ("source", "target"):
        roles = {"source": other, "target": other, role: name}
        settings = options.compose([f"{key}={value}" for key, value in roles.items()])
        assert settings[role]["name"] == name
        build.check(settings[role]["reader"])
        build.check(settings[role]["world"])


def test_paths_are_absolute_and_a_user_s_home_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/a")
    given = {"target.root": "~/own crops", "data.stage_dir": "scratch", "backbone.weights": "../w.pth", "gan.root": "s"}
    settings = options.compose(
        ["source=market", "target=folder", "recipe=paper", "gan=folder", "target.reader.manifest=list.csv"]
        + [path_options.quoted(f"{option}={path}") for option, path in given.items()]
    )
    assert settings["work_dir"] == str(tmp_path / "outputs") and settings["gan"]["root"] == str(tmp_path / "s")
    assert settings["target"]["root"] == "/home/a/own crops" and settings["data"]["stage_dir"] == f"{tmp_path}/scratch"
    assert settings["backbone"]["weights"] == str(tmp_path.parent / "w.pth")
    assert settings["source"]["root"] is None and settings["target"]["reader"]["manifest"] == "list.csv"
    assert options.changed(settings, {"work_dir": "other"})["work_dir"] == str(tmp_path / "other")
    assert options.compose([*PAIR, "recipe=paper"])["backbone"]["weights"] == "imagenet"
    uri = options.compose([*PAIR, "tracking.uri=sqlite:///runs.db"])["tracking"]["uri"]
    assert uri == f"sqlite:///{tmp_path}/runs.db"
    for path in ("~/datasets", "2024", "True", "a\\b", "a\\'b\\", "a=b,[c]{d}", "it's"):
        found = options.compose([*PAIR, f"data.root={path}"])["data"]["root"]
        assert found == ("/home/a/datasets" if path == "~/datasets" else str(tmp_path / path))
    for uri in ("postgresql://u:p@h/db?sslmode=require", "http://h:5000", f"sqlite:///{tmp_path}/a=b.db"):
        assert options.compose([*PAIR, f"tracking.uri={uri}"])["tracking"]["uri"] == uri
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="work_dir is file, which is a file; expected a folder"):
        options.compose([*PAIR, "work_dir=file"])
    for sign in ("?", "%20"):
        with pytest.raises(ValueError, match="expected a folder without .*, which MLflow takes for a URI's"):
            options.compose([*PAIR, f"work_dir='a {sign} b'"])
    assert options.compose([*PAIR, "work_dir='50 % #1'"])["work_dir"] == str(tmp_path / "50 % #1")
    with pytest.raises(ValueError, match="work_dir is None; expected a value such as"):
        options.compose([*PAIR, "work_dir=null"])


def test_a_manifest_is_of_the_data_set_s_folder_or_of_this_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crops").mkdir()
    for name in ("here.csv", "both.csv", "crops/both.csv"):
        (tmp_path / name).touch()

    def chosen(path: str) -> str:
        own = ["source=market", "target=folder", "target.root=crops", f"target.reader.manifest={path}"]
        return options.compose(own)["target"]["reader"]["manifest"]

    assert chosen("both.csv") == "both.csv"
    assert chosen("here.csv") == str(tmp_path / "here.csv") and chosen("crops/both.csv") == f"{tmp_path}/crops/both.csv"


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
    "ftl": {"source": [0, 1, 2, 3]},
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


@cache
def plain_hashes(recipe: str) -> set[str]:
    return {stage.hash for stage in graph.plan(options.compose([*PAIR, f"recipe={recipe}"]))}


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("loss"))
@pytest.mark.parametrize("recipe", choices("recipe"))
def test_every_identity_loss_composes_plans_and_names_its_run(recipe, name):
    settings = options.compose([*PAIR, f"recipe={recipe}", f"identity_loss={name}"])
    plain = plain_hashes(recipe)
    plan = graph.plan(settings)
    changed = {stage.name for stage in plan} - {stage.name for stage in plan if stage.hash in plain}
    loss = {"baseline", "hhl", "arn"} | ({"measures"} if recipe == "paper" else set())  # whose judge is the baseline
    assert changed == (set() if name == "softmax" else loss)
    assert settings["variants"]["hhl"] == ("default" if name == "softmax" else f"identity_loss={name}")


def test_softmax_with_a_term_is_the_term():
    one, two = (options.compose([*PAIR, f"identity_loss={name}"]) for name in ("center", "softmax+center"))
    assert one["variants"] == two["variants"]
    assert [stage.hash for stage in graph.plan(one)] == [stage.hash for stage in graph.plan(two)]


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_every_method_steps_in_the_quick_recipe(method):
    step("quick", method, [])


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_every_method_steps_at_full_size_in_the_paper_recipe(method):
    step("paper", method, ["backbone.weights=null"])


@pytest.mark.slow
def test_the_papers_generator_steps_at_full_size():
    block = gan("recipe=paper")
    torch.manual_seed(0)
    generator, discriminator = build.build(block["generator"], 6), build.build(block["discriminator"], 6, 256, 128)
    assert sum(p.numel() for p in generator.parameters()) == 8_433_664
    assert sum(p.numel() for p in discriminator.parameters()) == pytest.approx(44.82e6, abs=5e3)
    learner = build.build(block["training"], generator, discriminator, steps=10)
    step = block["training"]["n_critic"] - 1  # in which both networks move
    floats = learner.update(gan_batch(2, 256, 128) | {"step": step})
    assert all(np.isfinite(value) for value in floats.values()) and "loss/G" in floats


def test_the_paper_recipe_is_the_published_one():
    settings = options.compose([*PAIR, "recipe=paper"])
    assert settings["images"] == {"height": 256, "width": 128} and settings["backbone"]["weights"] == "imagenet"
    hhl, gan = settings["hhl"], settings["gan"]
    assert (hhl["beta"], hhl["n_t"], hhl["batch"], hhl["persons"], hhl["images_per_person"]) == (0.5, 16, 128, 8, 8)
    assert hhl["freeze_embedding"] and hhl["optimiser"]["lr"] == {"base": 0.01, "new": 0.1} and hhl["epochs"] == 60
    assert (gan["steps"], gan["batch"], gan["training"]["n_critic"], gan["training"]["lr"]) == (220_000, 16, 5, 1e-4)
    arn = settings["arn"]
    assert arn["optimiser"]["lr"] == {"shared": 1e-7, "encoders": 1e-3, "classifier": 2e-3}
    assert (arn["margin"], arn["weight_ctrs"], arn["weight_rec"], arn["weight_diff"]) == (2, 0.01, 2, 1500)
    made = {}
    for name in ("hhl", "arn"):
        block = settings[name]["optimiser"]
        made[name] = build.build(block, {key: [torch.nn.Parameter(torch.zeros(1))] for key in block["lr"]}).defaults
    assert [made[name]["nesterov"] for name in ("hhl", "arn")] == [True, False]
    assert all((one["momentum"], one["weight_decay"]) == (0.9, 5e-4) for one in made.values())


def gan(*arguments: str) -> dict:
    """The gan block, checked against what its classes take."""
    settings = options.compose(
        [*PAIR, "images.height=128", "images.width=64", *arguments]
    )  # the published networks fit them
    refusals.check_sizes(settings, 1)
    return {key: value for key, value in settings["gan"].items() if key != "size"}


@pytest.mark.slow
@pytest.mark.parametrize("choice", sorted(set(choices("gan")) - {READY}))
def test_every_generator_choice_has_the_same_options_and_a_seed_of_its_own(choice):
    block, paper = gan(f"gan={choice}", "gan.seed=3"), gan("gan=paper")
    assert block.keys() == paper.keys() and block["training"].keys() == paper["training"].keys()
    assert block["seed"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("choice", sorted(set(choices("gan")) - {READY}))
def test_every_generator_choice_steps_with_small_networks(choice, precision):
    block, images = gan(f"gan={choice}", f"gan.training.precision={precision}"), gan_batch(12, 32, 16)
    small = {"channels": 4, "num_blocks": 1} if choice != "quick" else {}
    torch.manual_seed(0)
    generator = build.build(block["generator"] | small, 6)
    if choice == "quick":
        generator.measure(((images["images"] + 1) * 127.5).byte().permute(0, 2, 3, 1), images["cameras"])
    discriminator = build.build(block["discriminator"] | {"channels": 4, "depth": 3}, 6, 32, 16)
    learner = build.build(block["training"], generator, discriminator, steps=10)
    before = [parameter.detach().clone() for parameter in learner.averaged.parameters()]
    floats = learner.update(images | {"step": block["training"]["n_critic"] - 1})
    assert all(np.isfinite(value) for value in floats.values()) and "loss/G" in floats
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.averaged.parameters(), strict=True))


def gan_batch(size: int, height: int, width: int) -> dict:
    cameras = torch.arange(size) % 6
    images = torch.rand(size, 3, height, width, generator=sampling.generator("images")) * 2 - 1
    return {
        "images": images,
        "cameras": cameras,
        "wanted": cameras.roll(1),
        "alpha": torch.linspace(0, 1, len(cameras)),
    }


def test_the_papers_generator_names_every_option_at_its_published_value():
    """What the classes take beyond runtime arguments stands in the file, and it is the signature's default."""
    block = gan("gan=paper")
    for part, target, runtime in [
        ("training", StarGAN, {"generator", "discriminator", "steps", "average_gradients", "finite_everywhere"}),
        ("generator", Generator, {"num_cameras"}),
        ("discriminator", Discriminator, {"num_cameras", "height", "width"}),
    ]:
        defaults = {name: p.default for name, p in inspect.signature(target).parameters.items() if name not in runtime}
        expected = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
        assert {name: value for name, value in block[part].items() if name != "_target_"} == expected


@pytest.mark.parametrize("choice", ["paper", "notes", "best"])
def test_options_of_the_published_networks_are_changed_without_a_plus(choice):
    training = [f"gan.training.{option}" for option in ("ema=0.5", "precision=bf16")]
    block = gan(f"gan={choice}", "gan.generator.upsample=resize", "gan.discriminator.depth=4", *training)
    assert block["generator"]["upsample"] == "resize" and block["discriminator"]["depth"] == 4
    assert (block["training"]["ema"], block["training"]["precision"]) == (0.5, "bf16")


@pytest.mark.slow
def test_notes_and_best_are_the_paper_but_for_what_they_say():
    paper, notes, best = (gan("recipe=paper", f"gan={choice}") for choice in ("paper", "notes", "best"))
    assert notes == paper | {"steps": None, "epochs": 200}
    assert training.num_steps(notes, 12_936 // notes["batch"]) == 161_600  # market's images
    assert best == paper | {"training": paper["training"] | {"weight_identity": 10.0}}
    small = options.compose([*PAIR, "recipe=paper", "gan=notes"])
    size = small["images"]["height"], small["images"]["width"]
    build.build(small["gan"]["discriminator"] | {"channels": 2}, 6, *size)


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


def test_two_terms_are_refused_also_where_softmax_goes_unsaid():
    with pytest.raises(ValueError, match="expected one loss, and at most one term that is added to it"):
        options.compose([*PAIR, "identity_loss=center+triplet"])


def test_a_bound_of_the_styles_is_a_number_or_is_taken_away():
    bounds = options.compose([*PAIR, "gan.bounds.camera=null", "gan.bounds.fid=1"])["gan"]["bounds"]
    assert bounds["camera"] is None and bounds["fid"] == 1
    for name in ("camera", "fid"):
        with pytest.raises(ValueError, match=f"gan.bounds.{name} is 'high'; expected a number such as 0.5"):
            options.compose([*PAIR, f"gan.bounds.{name}=high"])
