"""Options: conf/ composed with a command line into plain values, and checked against the recipe's names and types."""

import copy
import difflib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipelines import identity, path_options, variants
from pipelines.build import wrong_type
from pipelines.idle_options import at_rest

CONF = Path(__file__).resolve().parent.parent / "conf"
# Options that may be null, and what they are otherwise.
NULLABLE = {
    "steps": 300,
    "epochs": 60,
    "root": "/path",
    "stage_dir": "/path",
    "uri": "http://host:5000",
    "weights": "/path",
    "start": "pretrain",
    "fcn_width": 512,
}
SHORT = {"beta": "hhl.beta", "n_t": "hhl.n_t"}


def compose(arguments: list[str]) -> dict:
    """The settings that a command line of `arguments` gives, as plain values."""
    arguments = [long_name(argument) for argument in arguments]
    return plain(composed("config", [*all_blocks(), *arguments]))


def composed(name: str, overrides: list[str]):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose(name, overrides=overrides), resolve=True, throw_on_missing=True)


def changed(settings: dict, options: dict[str, object]) -> dict:
    """The settings with some options, under their full names, at other values; checked like a command line.

    Raises:
        ValueError: an option that does not exist, or a value that it does not take.
    """
    settings = copy.deepcopy({key: value for key, value in settings.items() if key != "variants"})
    for option, value in options.items():
        *path, last = SHORT.get(option, option).split(".")
        block = settings
        for key in path:
            block = block.get(key) if isinstance(block, dict) else None
        if not isinstance(block, dict) or last not in block:
            raise ValueError(f"unknown option '{option}'{nearest(option)}; --help lists all options")
        block[last] = value
    return plain(settings)


def space(shipped: dict, arguments: list[str]) -> dict[str, object]:
    """Options under their full names -> values or a range: a sweep's shipped ones, and those of `sweep.space.<option>=...`.

    Raises:
        ValueError: what cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found = {SHORT.get(option, option): values for option, values in (shipped or {}).items()}
    for argument in arguments:
        option, equals, _ = argument.removeprefix("sweep.space.").partition("=")
        try:
            if not equals:
                raise ValueError
            found[SHORT.get(option, option)] = values = OverridesParser.create().parse_override(argument).value()
            if not isinstance(values, list | dict):
                raise ValueError
        except (HydraException, ValueError):
            raise ValueError(
                f"{argument}: expected values such as 'sweep.space.beta=[0.1,0.5]' or a range {{from: 0.0, to: 2.0}}"
            ) from None
    return found


def plain(settings: dict) -> dict:
    """What Hydra composed, checked, with what of every method's options differs from the recipe's."""
    settings.pop("hydra", None)
    if isinstance(settings["methods"], str):
        settings["methods"] = [settings["methods"]]
    recipe = _recipe_settings(settings)
    check(settings, recipe)
    settings = at_rest(_with_floats(path_options.absolute(settings), recipe), recipe)
    settings["variants"] = variants.of(settings, recipe, method_names())
    return settings


def check(settings: dict, recipe: dict) -> None:
    """Refuse names that do not exist, and values of another type than the recipe's. Ranges belong to those who take them."""
    if unknown := [name for name in settings if name not in recipe and name != "variants"]:
        raise ValueError(f"unknown option '{unknown[0]}'{nearest(unknown[0])}; --help lists all options")
    for name, value, usual in _leaves(settings, recipe, ""):
        last = name.rpartition(".")[2]
        path_options.check(name, value)
        if last in NULLABLE or name.startswith("gan.bounds."):
            if value is None:
                continue
            usual = NULLABLE.get(last, 0.5)
        elif usual is None:
            continue
        if problem := wrong_type(value, usual):
            raise ValueError(f"{name} is {value!r}; expected {problem}")
    for role in ("source", "target"):
        _check_name(role, settings[role])
    identity.chosen(settings)
    methods = method_names()
    for key, known in (
        ("methods", methods),
        (
            "force",
            ["data", "generator", "styles", "measures", "style_retrieval", "scores", "features", "pretrain", *methods],
        ),
    ):
        values = settings[key]
        if not isinstance(values, list) or (key == "methods" and not values):
            raise ValueError(f"{key} is {values}; expected a list such as {key}=[{known[0]}], of {', '.join(known)}")
        for value in values:
            if value not in known:
                raise ValueError(
                    f"{key}: unknown '{value}'{did_you_mean(str(value), known)}; there are {', '.join(known)}"
                )


def _check_name(role: str, block: dict) -> None:
    name, others = block["name"], {path.stem for path in (CONF / "dataset").glob("*.yaml")} - {_layout(block)}
    if name in others:
        raise ValueError(f"{role}.name is {name}, another data set's; expected a name of its own for {_layout(block)}")
    if not re.fullmatch(r"[A-Za-z0-9]\w*", name, re.ASCII):
        raise ValueError(f"{role}.name is {name!r}; expected letters, digits and _, such as {role}.name=north_hall")


def _with_floats(value, usual):
    """Whole numbers as floats where the recipe has a float: beta=1 is the training that beta=1.0 is."""
    if isinstance(value, dict) and isinstance(usual, dict):
        return {key: _with_floats(one, usual.get(key)) for key, one in value.items()}
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and isinstance(usual, float) else value


def _leaves(block: dict, recipe: dict, prefix: str) -> Iterator[tuple]:
    for key, value in block.items():
        usual = recipe.get(key)
        if isinstance(usual, dict) and isinstance(value, dict):
            yield from _leaves(value, usual, f"{prefix}{key}.")
        else:
            yield prefix + key, value, usual


def _recipe_settings(settings: dict) -> dict:
    """What the same recipe and data sets give with no other option."""
    return _recipe(settings["recipe"], _layout(settings["source"]), _layout(settings["target"]))


def _layout(block: dict) -> str:
    """Which of conf/dataset/ a data set's block is, whatever it is called."""
    if "layout" not in block:
        raise ValueError(
            f"conf/dataset/{block['name']}.yaml has no layout; expected its own name: layout: {block['name']}"
        )
    return block["layout"]


@cache
def _recipe(recipe: str, source: str, target: str) -> dict:
    chosen = [f"recipe={recipe}", f"source={source}", f"target={target}"]
    return composed("config", [*all_blocks(), *chosen])


def method_names() -> list[str]:
    """Every method that has a block in conf/method/."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def all_blocks() -> list[str]:
    """What makes Hydra put every method and every identity loss among the settings, chosen or not."""
    losses = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
    return [f"method=[{','.join(method_names())}]", f"loss=[{','.join(losses)}]"]


def long_name(argument: str) -> str:
    """beta=0.3 -> hhl.beta=0.3, and the like."""
    name, equals, value = argument.partition("=")
    return path_options.quoted(f"{SHORT[name]}={value}" if equals and name in SHORT else argument)


def did_you_mean(word: str, known) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def nearest(option: str) -> str:
    settings = _recipe("quick", "market", "duke")
    names = [*SHORT, *_option_names(settings, "")]
    return " here, though other choices have it" if option in names else did_you_mean(option, names)


def _option_names(block: dict, prefix: str) -> Iterator[str]:
    for key, value in block.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _option_names(value, f"{prefix}{key}.")
