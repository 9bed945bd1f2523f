"""The plan's hashes: what may change, and a stage stays what it was."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import data_limits, graph, options, refusals

PAIR = ["source=market", "target=duke"]


@cache
def stages_of(*more: str) -> dict[str, str]:
    return {stage.label: stage.hash for stage in graph.plan(options.compose([*PAIR, *more]))}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["ema=0.9", "precision=bf16", "legacy_decay=true"])
def test_an_option_of_the_generator_changes_it_once_it_is_on(option):
    before, after = stages_of(), stages_of(f"gan.training.{option}")
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {"generator", "styles", "measures", "hhl"}


@pytest.mark.parametrize(("recipe", "known"), [("quick", "612a59d22b4ab9ec"), ("paper", "8ade3ab076a29aeb")])
def test_a_generator_that_took_days_outlives_a_new_version(recipe, known):
    """Its hash before there were upsample, ema, precision and legacy_decay. Changes on purpose only, with VERSIONS."""
    assert stages_of(f"recipe={recipe}")["generator"] == known


@pytest.mark.slow
def test_a_size_named_by_default_is_the_size_unnamed_and_another_is_not():
    named = stages_of("gan=paper", "gan.discriminator.depth=5", "gan.generator.channels=64")
    assert named == stages_of("gan=paper", "gan.discriminator.depth=5")
    assert (
        named["generator"]
        != stages_of("gan=paper", "gan.discriminator.depth=5", "gan.generator.channels=48")["generator"]
    )


def test_the_notes_generator_brings_its_size_unless_another_is_given():
    settings = options.compose([*PAIR, "recipe=paper", "gan=notes"])
    assert settings["images"] == {"height": 128, "width": 64} and settings["gan"]["epochs"] == 200
    given = options.compose([*PAIR, "recipe=paper", "gan=notes", "images.height=256", "images.width=128"])
    assert given["images"] == {"height": 256, "width": 128}
    assert "size" not in {stage.label: stage for stage in graph.plan(settings)}["generator"].settings


def test_a_discriminator_that_does_not_fit_the_images_is_refused_before_anything_is_made():
    with pytest.raises(ValueError, match=r"gan.discriminator: images of 64x32 .*gan.discriminator.depth"):
        graph.plan(options.compose([*PAIR, "gan=best"]))


def test_measures_are_named_by_what_they_depend_on():
    plan = graph.plan(options.compose([*PAIR, "hhl.beta=0.3", "gan.steps=9"]))
    assert {stage.label: stage for stage in plan}["measures"].about["variant"] == "gan.steps=9"


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


@pytest.mark.slow
@pytest.mark.parametrize("option", ["methods=[arn]", "hhl.styles=jitter", "hhl.styles=redrawn", "n_t=0"])
def test_no_upper_bound_where_hhl_takes_no_styles_of_a_generator(option):
    settings = options.compose([*PAIR, option])
    assert graph.upper_bound(settings, graph.data_stages(settings)) == []


@pytest.mark.slow
def test_no_upper_bound_of_real_images(world):
    root = Path(world.target.paths[0]).parents[1]
    settings = options.compose(["source=market", "target=duke", f"target.root={root}"])
    assert graph.upper_bound(settings, graph.data_stages(settings)) == []


def test_no_true_styles_where_names_tell_no_person():
    settings = options.compose(["source=market", "target=folder"])
    assert graph.upper_bound(settings, graph.data_stages(settings)) == []
    with pytest.raises(ValueError, match="redrawn.*folder is drawn with names that tell no person; expected generator"):
        graph.styles(options.compose(["source=market", "target=folder", "hhl.styles=redrawn"]))


@pytest.mark.slow
def test_trainings_that_have_come_to_be_others_have_another_version(tmp_path):
    (tmp_path / "camera_1").mkdir()
    (tmp_path / "camera_2").mkdir()
    for number in range(40):
        (tmp_path / f"camera_{number % 2 + 1}" / f"{number}.jpg").touch()
    own = ["source=market", "target=folder", f"target.root={tmp_path}"]

    def versions(*given: str) -> dict[str, int]:
        plan = graph.plan(options.compose([*given, "pretrain.batch=16", "gan.batch=8"]))
        return {stage.name: stage.version for stage in plan if stage.name in ("baseline", "hhl", "arn", "ftl")}

    assert versions(*PAIR) == {"baseline": 1, "hhl": 1, "arn": 1}
    assert versions(*own) == {"baseline": 1, "hhl": 2, "arn": 1}, "styles are cropped by their own shape"
    assert versions(*own, "hhl.styles=jitter")["hhl"] == versions(*own, "hhl.n_t=0")["hhl"] == 1
    assert versions(*PAIR, "images.width=48")["hhl"] == 2, "drawn ones are not of that shape"
    assert versions(*PAIR, "methods=[ftl]", "data.world.long_tail=0.5") == {"ftl": 2}
    assert versions(*PAIR, "hhl.random_erasing=0.5")["hhl"] == 2


def one_camera(root: Path) -> list[str]:
    (root / "camera_1").mkdir(parents=True)
    for number in range(40):
        (root / "camera_1" / f"{number}.jpg").touch()
    return ["source=market", "target=folder", f"target.root={root}"]


@pytest.mark.slow
def test_persons_that_no_triplet_takes_may_be_more_than_there_are():
    few = [*PAIR, "methods=[hhl]", "data.world.train_persons=5", "pretrain.batch=8", "hhl.batch=8", "gan.batch=4"]
    assert graph.plan(options.compose([*few, "hhl.losses=L_C"]))[-1].name == "hhl"
    with pytest.raises(ValueError, match="hhl.persons is 8; expected at most 5, the training persons of market"):
        graph.plan(options.compose(few))


@pytest.mark.slow
def test_one_camera_leaves_plain_copies_under_their_own_name_and_no_generator(tmp_path):
    pair = one_camera(tmp_path / "crops")
    settings = options.compose([*pair, "hhl.beta=0.3", "gan.steps=9"])
    plan, chosen = graph.plan(settings), graph.plan(options.compose([*pair, "hhl.beta=0.3", "hhl.styles=copies"]))
    assert [(stage.label, stage.hash) for stage in plan] == [(stage.label, stage.hash) for stage in chosen]
    assert {stage.name for stage in plan} == {"data", "pretrain", "baseline", "hhl", "arn"}
    hhl = next(stage for stage in plan if stage.name == "hhl")
    assert hhl.about["variant"] == "hhl.styles=copies hhl.beta=0.3"
    told = [line for stage in plan for line in stage.about.get("notes", [])]
    assert len(told) == 3 and told[0].startswith("market: drawn people")
    assert "not judged on it" in told[1] and "hhl.styles=copies" in told[2]
    for kind in ("jitter", "copies"):
        same = options.compose([*pair, f"hhl.styles={kind}"])
        assert data_limits.settled(same, graph.data_stages(same)) == same
    with pytest.raises(ValueError, match="folder has one camera: there is no other camera's style"):
        graph.styles(settings)


@pytest.mark.slow
def test_a_network_of_a_name_of_its_own_is_told_by_it_and_trained_for_itself(tmp_path):
    pair = one_camera(tmp_path / "crops")
    plain, named = (graph.plan(options.compose([*pair, *more]))[-1] for more in ([], ["target.name=mall"]))
    assert (plain.about["target"], named.about["target"]) == ("folder", "mall") and plain.hash != named.hash
    assert named.inputs["target"].label == "data mall" and plain.about["variant"] == named.about["variant"]
    assert plain.inputs["source"].hash == named.inputs["source"].hash


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["methods=[baseline]", "baseline.labels=target"], "folder has .* baseline.labels=target takes the persons"),
        (["hhl.sampling=supervised"], "folder has .* hhl.sampling=supervised takes the persons of all"),
        (["source=folder", "target=duke"], "folder has training images that tell no person, and the source takes"),
    ],
)
def test_labels_that_nobody_has_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        graph.plan(options.compose(["source=market", "target=folder", *given]))


@pytest.mark.slow
def test_L_T_and_n_t_0_are_one_training_and_go_by_one_name():
    one, other = (options.compose([*PAIR, *more]) for more in (["hhl.losses=L_T"], ["n_t=0"]))
    assert one["variants"]["hhl"] == other["variants"]["hhl"] == "hhl.n_t=0"
    assert stages_of("hhl.losses=L_T") == stages_of("n_t=0") == stages_of("hhl.losses=L_D", "n_t=0")
    assert "styles" not in stages_of("hhl.losses=L_T", "methods=[hhl]")


@pytest.mark.slow
def test_an_ablation_needs_what_it_is_made_of():
    def inputs(*more):
        settings = options.compose([*PAIR, "methods=[hhl]", *more])
        return {role for stage in graph.plan(settings) if stage.name == "hhl" for role in stage.inputs}

    usual = {"source", "target", "start"}
    assert inputs() == inputs("hhl.losses=L_C") == usual | {"styles"}
    assert inputs("hhl.losses=L_D") == inputs("hhl.losses=L_T") == usual
    assert inputs("hhl.sampling=clustered", "baseline.labels=target") == usual | {"styles", "clusters"}
    assert inputs("hhl.sampling=supervised") == usual | {"styles"}


QUICK = {
    "pretrain": "6b1b7c8ebedba4f9",
    "baseline": "b44c46a2499b59bf",
    "hhl": "e3e74a2e47830b03",
    "arn": "0b3e9447e31e74ce",
}
PAPER = {"baseline": "ec659c04ef281123", "hhl": "9fa64b425399cccf", "arn": "541e2d6f0d0c8e62"}


@pytest.mark.parametrize(("recipe", "known"), [("quick", QUICK), ("paper", PAPER)])
def test_options_that_are_off_leave_a_training_what_it_was(recipe, known):
    """Hashes before there were losses, sampling, bn_neck and the like. Changes on purpose only, with VERSIONS."""
    found = stages_of(f"recipe={recipe}")
    assert {label: found[label] for label in known} == known


@pytest.mark.slow
def test_bf16_is_another_training_and_layout_compiler_and_cache_are_not():
    before = stages_of()
    assert stages_of("channels_last=false", "compile=true", "data.cache=device") == before
    after = stages_of("precision=bf16")
    assert {label for label in before if before[label] != after[label]} == {
        "pretrain",
        "baseline",
        "hhl",
        "arn",
        "measures",
    }
    settings = options.compose([*PAIR, "precision=bf16", "hhl.beta=0.3"])
    assert settings["variants"]["hhl"] == "hhl.beta=0.3 precision=bf16"


@pytest.mark.parametrize(
    ("given", "method", "variant"),
    [
        (["arn.start=baseline", "baseline.steps=8"], "arn", "arn.start=baseline baseline.steps=8"),
        (["arn.start=baseline", "pretrain.steps=9"], "arn", "arn.start=baseline pretrain.steps=9"),
        (["hhl.sampling=clustered", "baseline.steps=8"], "hhl", "hhl.sampling=clustered baseline.steps=8"),
        (["hhl.sampling=clustered", "baseline.bn=target"], "hhl", "hhl.sampling=clustered"),
        (["baseline.steps=8", "pretrain.steps=9"], "hhl", "pretrain.steps=9"),
        (["recipe=paper", "baseline.epochs=5"], "arn", "baseline.epochs=5"),
        (["hhl.n_t=0", "gan.steps=9"], "hhl", "hhl.n_t=0"),
        (["hhl.losses=L_C", "gan.steps=9"], "hhl", "hhl.losses=L_C gan.steps=9"),
        (["hhl.losses=L_D", "gan.steps=9"], "hhl", "hhl.losses=L_D"),
        (["hhl.bn_neck=true"], "hhl", "hhl.bn_neck=true"),
    ],
)
def test_what_a_method_is_made_from_is_in_its_variant(given, method, variant):
    assert options.compose([*PAIR, *given])["variants"][method] == variant


@pytest.mark.parametrize("option", ["precision=fp8", "data.cache=disk"])
def test_an_unknown_precision_or_cache_is_refused(option):
    with pytest.raises(ValueError, match=option.replace("=", " is ") + "; expected one of"):
        graph.plan(options.compose([*PAIR, option]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["hhl.random_erasing=1.5"], "hhl.random_erasing is 1.5; expected a probability"),
        (["arn.encoder=fcn", "arn.map_size=[3,3]"], "map_size"),
        (["hhl.start=baseline", "baseline.bn_neck=true"], "bn_neck"),
        (["hhl.embedding=128"], "embedding"),
        (["recipe=paper", "arn.encoder=fcn", "backbone.last_stride=1"], "map_size"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_anything_is_made(given, told):
    with pytest.raises(ValueError, match=told):
        graph.plan(options.compose([*PAIR, *given]))


def test_a_baseline_that_only_clusters_is_checked_too():
    given = ["methods=[hhl]", "hhl.sampling=clustered", "baseline.batch=63"]
    with pytest.raises(ValueError, match=r"baseline.batch"):
        graph.plan(options.compose([*PAIR, *given]), num_workers=2)


def test_a_gpu_wants_another_compiler(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", {"clang": "/usr/bin/clang"}.get)
    refusals.check_compiler(gpu=True)
    monkeypatch.setenv("CC", "icc")
    with pytest.raises(ValueError, match="needs a C compiler, and icc is not there"):
        refusals.check_compiler(gpu=True)


def test_compile_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        graph.plan(options.compose([*PAIR, "compile=true"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ("hhl.n_t=0", ["hhl.styles=jitter"]),
        ("hhl.n_t=0", ["hhl.losses=L_D", "hhl.sampling=clustered"]),
        ("hhl.losses=L_D", ["hhl.styles=copies"]),
        ("hhl.losses=L_C", ["hhl.persons=7", "hhl.images_per_person=3"]),
        ("hhl.beta=0.5", ["hhl.jitter=[0.1,0.1,0.1,0.1]"]),
        ("hhl.soft_margin=true", ["hhl.margin=0.7"]),
        ("arn.encoder=layer4", ["arn.fcn_width=64", "arn.map_size=[4,2]"]),
        ("arn.private=false", ["arn.weight_diff=7.0"]),
        ("arn.identity_terms=false", ["arn.margin=1.0", "arn.weight_ctrs=0.7", "arn.dropout=0.25"]),
        ("arn.target_terms=false", ["arn.target_batch=33"]),
        ("arn.freeze_shared=true", ["arn.optimiser.lr.shared=1e-5"]),
    ],
)
def test_options_that_do_nothing_beside_others_make_no_other_training(given, idle):
    """One hash, one name, no other workers asked for; switched back, each of them makes another training."""
    one, other = (options.compose([*PAIR, given, *more]) for more in ([], idle))
    assert one == other
    graph.plan(other, num_workers=2)
    for option in idle:
        alone = options.compose([*PAIR, option])
        if alone["variants"] == options.compose(PAIR)["variants"]:
            assert option.startswith(("hhl.jitter", "arn.fcn_width", "arn.map_size")), "idle in the recipe itself"


@pytest.mark.slow
def test_a_term_s_images_per_person_are_those_of_methods_without_such_a_batch():
    """ARN's batch is P x K by its own options: the term's make no other training, and no other name."""
    loss = [*PAIR, "identity_loss=triplet"]
    one, other = (options.compose([*loss, *more]) for more in ([], ["triplet.images_per_person=8"]))
    hashes = [{stage.name: stage.hash for stage in graph.plan(settings)} for settings in (one, other)]
    for name in ("baseline", "hhl", "arn"):
        same = name == "arn"
        assert (hashes[0][name] == hashes[1][name]) is same is (one["variants"][name] == other["variants"][name])


@pytest.mark.slow
def test_a_memory_that_would_never_begin_is_refused():
    given = [*PAIR, "identity_loss=vpl", "methods=[baseline]", "vpl.warm_up=300"]
    with pytest.raises(
        ValueError, match=r"vpl.warm_up is 300, and baseline's training ends at step 300.*vpl.warm_up=50"
    ):
        graph.plan(options.compose(given))
    graph.plan(options.compose([*given, "baseline.steps=301"]))


@pytest.mark.slow
def test_an_option_that_does_something_stays():
    for given in (["hhl.styles=jitter", "hhl.jitter=[0.1,0.1,0.1,0.1]"], ["arn.encoder=fcn", "arn.fcn_width=64"]):
        assert given[1] in options.compose([*PAIR, *given])["variants"][given[0][:3]].replace(", ", ",")
    with pytest.raises(ValueError, match="L_C is taken over target images alone"):
        graph.plan(options.compose([*PAIR, "hhl.losses=L_C", "hhl.n_t=0"]))


@pytest.mark.slow
@pytest.mark.parametrize("value", ["/data/ein Märkt", "/it's/a,b", "/x=(1)", "/plain/path-1", "null", "'/in quotes/x'"])
def test_a_path_is_taken_as_it_is_whatever_letters_it_has(value):
    root = options.compose([*PAIR, f"target.root={value}"])["target"]["root"]
    assert root == {"null": None, "'/in quotes/x'": "/in quotes/x"}.get(value, value)


def test_a_batch_may_take_all_persons_and_the_pretrain_tells_its_source_alone():
    few = [*PAIR, "methods=[hhl]", "data.world.train_persons=8", "pretrain.batch=8", "hhl.batch=8", "gan.batch=4"]
    plan = {stage.name: stage for stage in graph.plan(options.compose(few))}
    assert plan["hhl"].settings["method"]["persons"] == 8 == plan["data"].about.get("persons", 8)
    about = plan["pretrain"].about
    assert "target" not in about
    assert [about[name] for name in ("source", "method", "recipe")] == ["market", "pretrain", "quick"]


def test_styles_to_export_ask_for_a_generator_that_fits_only_where_there_is_one():
    wrong = [*PAIR, "gan.crop=2.0"]
    with pytest.raises(ValueError, match="gan.crop is 2.0"):
        graph.styles(options.compose(wrong))
    assert graph.styles(options.compose([*wrong, "hhl.styles=jitter"]))[-1].label == "styles jitter"


def test_style_retrieval_wants_two_cameras():
    targets = [SimpleNamespace(about={"cameras": count, "dataset": "mall"}) for count in (1, 2)]
    why = [data_limits.no_style_retrieval(options.compose(PAIR), target) for target in targets]
    assert "mall has one camera" in why[0] and why[1] == ""


def test_the_training_that_bn_target_takes_keeps_its_own_name_and_hash():
    given = [*PAIR, "methods=[baseline]", "baseline.steps=8"]
    (plain,) = [stage for stage in graph.plan(options.compose(given)) if stage.name == "baseline"]
    found = [stage for stage in graph.plan(options.compose([*given, "baseline.bn=target"])) if stage.name == "baseline"]
    assert found[0].hash == plain.hash and found[0].about == plain.about
    assert found[1].about["variant"] == "baseline.steps=8 baseline.bn=target"


@pytest.mark.parametrize("given", ["hhl.losses=L_D", "hhl.n_t=0"])
def test_the_jitter_does_nothing_where_no_styles_are_taken(given):
    idle = ["hhl.styles=jitter", "hhl.jitter=[0.1,0.1,0.1,0.1]"]
    assert options.compose([*PAIR, given]) == options.compose([*PAIR, given, *idle])
