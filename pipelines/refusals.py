"""What is refused of the settings before anything is computed: options that nobody takes, sizes that workers cannot share."""

import json
import os
import shutil
from functools import lru_cache

import torch

from pipelines import build, identity, ready_styles, training
from pipelines.measuring import RATIOS
from reid_da.learner import PRECISIONS
from reid_da.sampling import share

# What the constructors of networks raise, torch's own included, where an option is out of its range.
UNBUILT = (ValueError, RuntimeError, IndexError, ZeroDivisionError)
LONG = 1_000_000  # steps of a training of epochs, whose steps the data tell


def trained(settings: dict) -> list[str]:
    """The methods to train and what they start from, starts first."""
    names: list[str] = []
    for method in settings["methods"]:
        chain = [method]
        while start := settings[chain[-1]]["start"]:
            if start not in ("pretrain", "baseline") or start in chain or not settings[start]:
                raise ValueError(
                    f"{chain[-1]}.start is {start}; expected null, baseline, or pretrain where the recipe has it"
                )
            chain.append(start)
            if start == "baseline" and (settings[start]["labels"], settings[start]["bn"]) != ("source", "source"):
                raise ValueError(
                    f"{method} starts from the baseline, which baseline.labels=target or baseline.bn=target makes a control "
                    "of its own: train it alone, methods=[baseline]"
                )
        names += [name for name in reversed(chain) if name not in names]
    return names


def trainings(settings: dict) -> list[tuple[str, str]]:
    """(method, whose persons train it, "source" or "target"); what a method starts from learns from the same as it."""
    found = {}
    for method in settings["methods"]:
        name, labels = method, settings[method].get("labels", "source")
        while name:
            found[name, labels] = None
            name = settings[name]["start"]
    return list(found)


def check_compiler(gpu: bool) -> None:
    """Refuse torch.compile without what it calls: a compiler of C++ for a processor, of C for what starts kernels on a GPU."""
    language, variable, names = ("C", "CC", ["gcc", "clang"]) if gpu else ("C++", "CXX", ["g++"])
    if variable in os.environ:
        names = [os.environ[variable]]
    if not any(map(shutil.which, names)):
        raise ValueError(
            f"compile=true needs a {language} compiler, and {' or '.join(names)} is not there; install one, or leave it off"
        )


def check_sizes(settings: dict, num_workers: int) -> None:
    """Refuse options out of range, and global sizes that the workers cannot share equally."""
    gan, sizes, names = settings["gan"], {}, trained(settings)
    if any("clusters" in training.needs(settings[name]) for name in names) and "baseline" not in names:
        names.insert(0, "baseline")  # not started from, but trained
    for option, value, known in (
        ("precision", settings["precision"], PRECISIONS),
        ("data.cache", settings["data"]["cache"], ("mapped", "device")),
    ):
        if value not in known:
            raise ValueError(f"{option} is {value}; expected one of {', '.join(known)}")
    if settings["compile"]:
        check_compiler(torch.cuda.is_available())
    for side in ("height", "width"):
        if settings["images"][side] < 1:
            raise ValueError(f"images.{side} is {settings['images'][side]}; expected pixels, at least 1")
    for block in (
        *(gan[part] for part in ("generator", "discriminator", "training") if part in gan),
        settings["backbone"],
    ):
        build.check(block)
    if any(styles_of(settings[name]) == "generator" for name in names):
        check_measures(settings)
        if not ready_styles.chosen(settings):
            _check_gan(settings)
            sizes["gan.batch"] = gan["batch"]
    for method in names:
        block = settings[method]
        build.check(block, besides=training.TRAINING)
        for option in ("labels", "bn"):
            if block.get(option, "source") not in ("source", "target"):
                raise ValueError(f"{method}.{option} is {block[option]}; expected source or target")
        if "optimiser" not in block:
            continue
        for part in ("optimiser", "schedule"):
            build.check(block[part])
        training.needs(block)  # refuses what is out of its range
        if not 0 <= block.get("random_erasing", 0) <= 1:
            raise ValueError(f"{method}.random_erasing is {block['random_erasing']}; expected a probability, 0 to 1")
        check_length(method, block)
        identity.check_batch(settings, method)
        if block["steps"] is not None and block["start"] != "baseline":  # whose loss may be gone on with
            identity.check_warm_up(identity.blocks(settings, method), method, block["steps"])
        _check_optimiser(method, block["optimiser"])
        sizes |= {f"{method}.{name}": block[name] for name in ("batch", "n_t", "target_batch") if name in block}
        if "persons" in block:
            sizes[f"{method}.persons x {method}.images_per_person"] = block["persons"] * block["images_per_person"]
    for name, size in sizes.items():
        _check_size(name, size, num_workers)
    for method in names:
        if "optimiser" in settings[method]:
            _check_networks(method, settings)


def _check_size(name: str, size: int, num_workers: int) -> None:
    least = 0 if name.endswith(".n_t") else 2 if name.endswith(".batch") and name != "gan.batch" else 1  # BatchNorm
    if size < least:
        raise ValueError(f"{name} is {size}; expected at least {least}")
    share(size, num_workers, name)


def _check_optimiser(method: str, block: dict) -> None:
    numbers = {"weight_decay": block.get("weight_decay", 0.0)} | {f"lr.{k}": v for k, v in block["lr"].items()}
    for name, value in numbers.items():
        if not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{method}.optimiser.{name} is {value}; expected a number, 0 or more")


def _check_networks(method: str, settings: dict) -> None:
    """Build the method and what it starts from: do the trunk's maps fit its parts, and the weights each other?"""
    chain = [method]
    while start := settings[chain[-1]]["start"]:
        chain.append(start)
    given = {
        "chain": [{"method": settings[name], "identity_loss": identity.blocks(settings, name)} for name in chain],
        "backbone": settings["backbone"],
        "images": settings["images"],
    }
    try:
        _build_chain(json.dumps(given, sort_keys=True))
    except UNBUILT as error:
        raise ValueError(f"{method}: {error}") from error


@lru_cache(maxsize=256)  # a grid asks for each many times
def _build_chain(text: str) -> None:
    given = json.loads(text)
    known = ("_target_", *build.defaults(build.resolve(given["backbone"]["_target_"])))
    backbone = {key: value for key, value in (given["backbone"] | {"weights": None}).items() if key in known}
    start = None
    with torch.device("meta"):  # no memory, no numbers
        for one in reversed(given["chain"]):
            made = training.new_method({"backbone": backbone} | one, 2).eval()
            made.embed(torch.zeros(2, 3, given["images"]["height"], given["images"]["width"]))
            if start:
                made.start_from(start.state_dict())
            start = made


def _check_gan(settings: dict) -> None:
    """Build the networks and their learner: do they fit the images, and are their options in range?"""
    gan, sides = settings["gan"], [settings["images"][side] for side in ("height", "width")]
    check_length("gan", gan)
    if not 0 < gan["crop"] <= 1:
        raise ValueError(f"gan.crop is {gan['crop']}; expected a share of each side, above 0 and up to 1")
    part = "discriminator"
    try:
        with torch.device("meta"):  # no memory, no numbers
            discriminator = build.build(gan[part], 2, *sides)
            part = "generator"
            generator = build.build(gan[part], 2)
            part = "training"
            build.build(gan[part], generator, discriminator, steps=gan["steps"] or LONG)
    except UNBUILT as error:
        hint = " (images.height, images.width; gan.discriminator.depth)" if part == "discriminator" else ""
        raise ValueError(f"gan.{part}: {error}{hint}") from error


def check_measures(settings: dict) -> None:
    block, bounds = settings["measures"], settings["gan"]["bounds"]
    build.check(block["method"], besides=training.TRAINING)
    check_length("measures.method", block["method"])
    _check_optimiser("measures.method", block["method"]["optimiser"])
    _check_size("measures.method.batch", block["method"]["batch"], 1)
    given = {"chain": [{"method": block["method"]}], "backbone": block["backbone"], "images": settings["images"]}
    try:
        _build_chain(json.dumps(given, sort_keys=True))
    except UNBUILT as error:
        raise ValueError(f"measures: {error}") from error
    if block["images"] < 2:
        raise ValueError(f"measures.images is {block['images']}; expected at least 2")
    if unknown := [name for name in bounds if name not in RATIOS]:
        raise ValueError(f"gan.bounds.{unknown[0]} is no measure; expected some of {', '.join(RATIOS)}")


def check_length(name: str, block: dict) -> None:
    given = {key: block[key] for key in ("steps", "epochs") if block[key] is not None}
    if len(given) != 1:
        found = " and ".join(f"{name}.{key}={value}" for key, value in given.items()) or "neither"
        raise ValueError(f"{name} needs one length, {name}.steps or {name}.epochs; found {found} (null takes one away)")
    for key, value in given.items():
        if value < 1:
            raise ValueError(f"{name}.{key} is {value}; expected at least 1")


def check_generator(settings: dict, num_workers: int) -> None:
    for part in ("generator", "discriminator", "training"):
        build.check(settings["gan"][part])
    _check_gan(settings)
    _check_size("gan.batch", settings["gan"]["batch"], num_workers)


def styles_of(block: dict) -> str | None:
    """Which styles the method's training takes, if any."""
    return block["styles"] if "styles" in training.needs(block) else None
