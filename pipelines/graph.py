"""The stage graph: what depends on what, from plain settings.

    data source ---> pretrain -+-> baseline  (bn=target: the trained method once more, as an input of its own)
                               +-> arn  <-- data target
    data target -+-> generator +-> hhl  <-- styles; baseline, where it samples from clusters
                 |      |      +-- styles <-- data target
                 |      +-> measures, before hhl <-- styles, data target, judge: pretrain, or baseline where there is none
                 +-> styles copies, jitter, redrawn, or a folder's (gan=folder, measured too): no generator
    style_retrieval, in sweeps: a method, the generator, data target
    upper_bound, of a whole run on drawn data: hhl <-- styles redrawn
    scores, of evaluate.py (scoring.plan): data target, a saved method; then scores by other rules <-- these scores
    features, of search.py (searching.plan): data target, a saved method

A stage is made from its inputs and settings alone, which its hash takes in.
"""

import json
from pathlib import Path

from pipelines import data_limits, identity, ready_styles, refusals, training
from pipelines.cache import Stage
from pipelines.data_stage import PREPROCESSING, data_stage, origin
from pipelines.late_options import without_off
from reid_da.datasets.synthetic import can_redraw

# Raised when a stage's code changes what it makes from the same settings.
VERSIONS = {
    "data": 2,
    "generator": 1,
    "styles": 1,
    "measures": 4,
    "style_retrieval": 1,
    "method": 1,
    "scores": 1,
    "features": 1,
}

ASIDE = ("bounds", "require_quality", "size")  # options of gan that are not the generator's own


def plan(settings: dict, num_workers: int = 1, data: dict[str, Stage] | None = None) -> list[Stage]:
    """All stages of a run, inputs first. Reads the data sets' folders, computes nothing else.

    Args:
        num_workers: training workers, which must be able to share every batch equally. data: what `data_stages` gave, for one
            of many plans of the same data.
    Raises:
        ValueError: what is wrong with the settings or the data, before anything is written.
    """
    data = data or data_stages(settings)
    settings = data_limits.settled(settings, data)
    refusals.check_sizes(settings, num_workers)
    data_limits.check_labels(settings, data)
    data_limits.check_counts(settings, data)
    graph: list[Stage] = list(data.values())
    for method in settings["methods"]:
        stages = with_inputs(_method_stage(method, settings, data))
        for styles in [stage for stage in stages if stage.settings.get("styles") in ("generator", "folder")]:
            graph += with_inputs(_measures(styles, settings, data))
        graph += stages
    order = ("data", "generator", "styles")  # then methods, as they were asked for
    graph.sort(key=lambda stage: order.index(stage.name) if stage.name in order else len(order))
    return list({stage.hash: stage for stage in graph}.values())


def data_stages(settings: dict) -> dict[str, Stage]:
    """The stages of source and target. On disk every image's size and time are asked for."""
    ready_styles.look_again()
    data = {role: data_stage(settings, role, VERSIONS["data"]) for role in ("source", "target")}
    if len({json.dumps(stage.settings | {"name": ""}, sort_keys=True) for stage in data.values()}) == 1:
        raise ValueError(
            f"source and target are the same data ({settings['source']['name']}); choose two data sets, or give one "
            "of them a root of its own with target.root=/path"
        )
    return data


def with_inputs(stage: Stage) -> list[Stage]:
    """The stage and all that it is made from, inputs first."""
    return [other for role in stage.inputs.values() for other in with_inputs(role)] + [stage]


def _measures(styles: Stage, settings: dict, data: dict[str, Stage]) -> Stage:
    """How good the styles are, by a model that knows the source alone: before a method adapts with them, and with no label."""
    block = settings["measures"]
    judge = "pretrain" if settings["pretrain"] else "baseline"
    inputs = {"target": data["target"], "styles": styles}
    inputs["judge"] = _method_stage(judge, _plain_baseline(settings), data)
    inputs |= {role: stage for role, stage in styles.inputs.items() if role == "generator"}
    changes = [part for part in settings.get("variants", {}).get("hhl", "").split() if part.startswith("gan.")]
    about = _about(settings) | {"variant": " ".join(changes) or "default"}
    return Stage("measures", "measures", block | _draw(data["target"]), inputs, VERSIONS["measures"], about)


def _plain_baseline(settings: dict) -> dict:
    """The settings with a baseline that knows the source alone."""
    return settings | {"baseline": settings["baseline"] | {"labels": "source", "bn": "source"}}


def upper_bound(settings: dict, data: dict[str, Stage]) -> list[Stage]:
    """HHL with the styles that the target's cameras would really have shown, and its inputs; none where nobody can tell.

    What the generator's styles give is held against it: how much of the possible gain is reached?
    """
    if (
        "hhl" not in settings["methods"]
        or refusals.styles_of(settings["hhl"]) != "generator"
        or not _draw(data["target"])
    ):
        return []
    return with_inputs(_method_stage("hhl", data_limits.with_styles(settings, "redrawn"), data))


def _draw(target: Stage) -> dict:
    """What the target's images can be drawn again with, under other cameras; empty where nobody can tell how."""
    draw = target.settings.get("draw")
    if not draw or not can_redraw(draw["world"]["world"]):
        return {}
    return {"draw": {"world": draw["world"]["world"], "seed": draw["seed"]}}


def style_retrieval(settings: dict, method: Stage, num_workers: int = 1) -> Stage:
    """Does the trained method find the originals of styled images, which asks for no label? (reid_da.style_features)"""
    if ready_styles.chosen(settings):
        raise ValueError(
            "style_retrieval styles held-out images, for which gan=folder has no generator; expected another metric"
        )
    refusals.check_generator(settings, num_workers)
    target = method.inputs["target"]
    generator = _styles_stage(settings["hhl"] | {"styles": "generator"}, settings, target).inputs["generator"]
    inputs = {"target": target, "generator": generator, "method": method}
    return Stage("style_retrieval", "style retrieval", {}, inputs, VERSIONS["style_retrieval"], dict(method.about))


def styles(settings: dict, num_workers: int = 1) -> list[Stage]:
    """The stage of the styles that hhl.styles names and what it is made from, inputs first; of the target alone.

    Raises:
        ValueError: what is wrong with the settings or the data; hhl.styles=copies, which are no styles.
    """
    kind = settings["hhl"]["styles"]
    if kind not in ("generator", "jitter", "redrawn"):
        raise ValueError(
            f"hhl.styles is {kind}; expected generator, jitter or redrawn: of others there are no styled images to export"
        )
    if kind == "generator" and not ready_styles.chosen(settings):
        refusals.check_generator(settings, num_workers)
    ready_styles.look_again()
    target = data_stage(settings, "target", VERSIONS["data"])
    if kind == "generator" and target.about["cameras"] == 1 and not ready_styles.chosen(settings):
        raise ValueError(
            f"{target.about['dataset']} has one camera: there is no other camera's style; expected two or more"
        )
    if kind == "generator" and not ready_styles.chosen(settings):
        data_limits.check_generator_batch(settings, target)
    stages = with_inputs(_styles_stage(settings["hhl"], settings, target))
    return list({stage.hash: stage for stage in stages}.values())


def _styles_stage(block: dict, settings: dict, target: Stage) -> Stage:
    kind, about, inputs = block["styles"], _about(settings), {"target": target}
    values = {"styles": kind} | ({"jitter": block["jitter"]} if kind == "jitter" else {})
    if kind == "generator" and ready_styles.chosen(settings):
        kind = "folder"
        files, about["notes"] = ready_styles.look(settings)
        values = {"styles": kind} | files
    elif kind == "generator":
        gan = {key: without_off(value) for key, value in settings["gan"].items() if key not in ASIDE}
        inputs["generator"] = Stage("generator", "generator", gan, {"target": target}, VERSIONS["generator"], about)
    elif kind == "redrawn":
        if not (draw := _draw(target)):
            why = "is drawn with names that tell no person" if "draw" in target.settings else "is read from disk"
            raise ValueError(
                f"hhl.styles=redrawn draws the target again under its other cameras, and {about['target']} {why}; "
                "expected generator, copies or jitter"
            )
        values |= draw
    label = "styles" if kind == "generator" else f"styles {kind}"
    return Stage("styles", label, values, inputs, VERSIONS["styles"], about | {"variant": kind})


def _method_stage(name: str, settings: dict, data: dict[str, Stage], labels: str | None = None) -> Stage:
    """The stage of that method, its inputs before it. labels: whose persons train it, "source" or "target"."""
    block, backbone = settings[name], _backbone(settings)
    labels = labels or block.get("labels", "source")
    own = {k: v for k, v in without_off(block).items() if k != "start"}
    variant = settings.get("variants", {}).get(name, "default")
    if "labels" in own and labels != own["labels"]:
        own["labels"] = labels
        variant = f"{variant} {name}.labels={labels}".removeprefix("default ")
    about = _about(settings) | {"method": name, "variant": variant, "preprocessing": PREPROCESSING}
    if name == "pretrain":  # knows nothing of the other data set, and serves both directions
        inputs = {"source": data[labels]}
        about = {k: v for k, v in about.items() if k != "target"} | {"source": data[labels].about["dataset"]}
    else:
        inputs = dict(data)
        about |= data_limits.not_judged(data["target"])
    if block.get("bn") == "target":  # the trained method, and nothing but its statistics changed
        variant = " ".join(part for part in about["variant"].split() if part != f"{name}.bn=target")
        plain = settings | {
            name: block | {"bn": "source"},
            "variants": settings.get("variants", {}) | {name: variant or "default"},
        }
        inputs["trained"] = _method_stage(name, plain, data)
        own = {k: v for k, v in own.items() if k not in ("optimiser", "schedule", "steps", "epochs")}
    elif block["start"]:
        inputs["start"] = _method_stage(block["start"], settings, data, labels)
    if refusals.styles_of(block) and "trained" not in inputs:
        inputs["styles"] = _styles_stage(block, settings, data["target"])
    if "clusters" in training.needs(block) and "trained" not in inputs:
        inputs["clusters"] = _method_stage("baseline", _plain_baseline(settings), data)
    values = {"method": own, "backbone": backbone, "seed": settings["seed"]}
    if losses := identity.blocks(settings, name):
        values["identity_loss"] = losses
    if "optimiser" in own and settings["precision"] != "float32":
        values["precision"] = settings["precision"]
    if settings["same_camera"] and name != "pretrain":
        values["same_camera"] = True
    return Stage(name, name, values, inputs, _version(name, block, inputs), about)


def _version(name: str, block: dict, inputs: dict[str, Stage]) -> int:
    """Of a method's code: raised for those trainings alone that have come to be others."""
    erased = bool(block.get("random_erasing"))  # what it fills in is no longer the mean itself
    cropped = False
    if "styles" in inputs and inputs["styles"].settings["styles"] in ("generator", "folder"):
        # by the styles' own shape; drawn images are twice as high as wide, as styles of the recipes' sizes are
        data = inputs["target"].settings
        cropped = "draw" not in data or data["images"]["height"] != 2 * data["images"]["width"]
    still = name == "ftl"  # its decoder, in stage 2
    return VERSIONS["method"] + erased + cropped + still


def _backbone(settings: dict) -> dict:
    backbone = without_off(settings["backbone"])
    weights = backbone.get("weights")
    if weights not in (None, "imagenet"):
        if not Path(weights).is_file():
            raise ValueError(
                f"backbone.weights is {weights}, which is no file; expected imagenet, null or a file of weights"
            )
        backbone["weights_file"] = [Path(weights).stat().st_size, Path(weights).stat().st_mtime_ns]
    return backbone


def _about(settings: dict) -> dict:
    data = origin(settings)
    return {
        "source": settings["source"]["name"],
        "target": settings["target"]["name"],
        "data": data,
        "recipe": settings["recipe"],
        "seed": settings["seed"],
        "data_seed": settings["data"]["seed"] if "synthetic" in data else "",
        "gan_seed": settings["gan"].get("seed", "") if "synthetic" in data else "",
        **{side: settings["images"][side] for side in ("height", "width")},  # for who has the model and not its data
    }
