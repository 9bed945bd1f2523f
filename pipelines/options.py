"""Options: conf/ composed with a command line into plain values, and checked against the recipe's names and types."""

import copy
import difflib
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipelines import identity, variants
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
PATHS = (
    "root",
    "work_dir",
    "weights",
    "to",
    "manifest",
    "stage_dir",
    "model",
    "query",
)  # options that name a file or folder
SHORT = {"beta": "hhl.beta", "n_t": "hhl.n_t"}


def compose(arguments: list[str]) -> dict:
    """The settings that a command line of `arguments` gives, as plain values."""
    arguments = [long_name(argument) for argument in arguments]
    return plain(composed("config", [*all_blocks(), *arguments]))


def quoted(argument: str) -> str:
    """A path or URI in quotes, as Hydra reads any text: its grammar has signs such as ~ and =, and 2024 would be a number."""
    option, equals, value = argument.partition("=")
    given = r"""'.*'|".*"|null|\$\{.*\}"""
    if option.rpartition(".")[2] not in (*PATHS, "uri") or re.fullmatch(given, value):
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{option}{equals}'{escaped}'"


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
    settings = at_rest(_with_floats(_with_paths(settings), recipe), recipe)
    settings["variants"] = variants.of(settings, recipe, method_names())
    return settings


def check(settings: dict, recipe: dict) -> None:
    """Refuse names that do not exist, and values of another type than the recipe's. Ranges belong to those who take them."""
    if unknown := [name for name in settings if name not in recipe and name != "variants"]:
        raise ValueError(f"unknown option '{unknown[0]}'{nearest(unknown[0])}; --help lists all options")
    for name, value, usual in _leaves(settings, recipe, ""):
        last = name.rpartition(".")[2]
        if last in PATHS and value == "":
            raise ValueError(f"{name} is empty; expected a path, or none of it on the command line")
        if name == "work_dir" and isinstance(value, str) and os.path.isfile(os.path.expanduser(value)):
            raise ValueError(f"work_dir is {value}, which is a file; expected a folder, there or not")
        if name == "work_dir" and isinstance(value, str) and (sign := re.search(r"\?|%[0-9a-fA-F]{2}", value)):
            raise ValueError(
                f"work_dir is {value}; expected a folder without {sign[0]}, which MLflow takes for a URI's"
            )
        if last in NULLABLE or name.startswith("gan.bounds."):
            if value is None:
                continue
            usual = NULLABLE.get(last, 0.5)
        elif usual is None:
            continue
        if problem := wrong_type(value, usual):
            raise ValueError(f"{name} is {value!r}; expected {problem}")
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


def _with_paths(block: dict) -> dict:
    """~ as the home folder, and every path from this folder on as an absolute one: Ray's processes have folders of their own."""
    found = {key: _with_paths(value) if isinstance(value, dict) else value for key, value in block.items()}
    for key in {*PATHS} & {*found}:
        if found[key] and (key, found[key]) != ("weights", "imagenet"):
            path = os.path.expanduser(found[key])
            found[key] = path if key == "manifest" else os.path.abspath(path)
    manifest = found["reader"].get("manifest") if "reader" in found else None
    if manifest and not os.path.isfile(os.path.join(found["root"] or "", manifest)) and os.path.isfile(manifest):
        found["reader"]["manifest"] = os.path.abspath(manifest)  # of this folder, not of the data set's
    if str(found.get("uri")).startswith("sqlite:///"):
        found["uri"] = "sqlite:///" + os.path.abspath(os.path.expanduser(found["uri"].removeprefix("sqlite:///")))
    return found


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
    return _recipe(settings["recipe"], settings["source"]["name"], settings["target"]["name"])


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
    return quoted(f"{SHORT[name]}={value}" if equals and name in SHORT else argument)


def did_you_mean(word: str, known) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def nearest(option: str) -> str:
    settings = _recipe_settings({"recipe": "quick", "source": {"name": "market"}, "target": {"name": "duke"}})
    names = [*SHORT, *_option_names(settings, "")]
    return " here, though other choices have it" if option in names else did_you_mean(option, names)


def _option_names(block: dict, prefix: str) -> Iterator[str]:
    for key, value in block.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _option_names(value, f"{prefix}{key}.")
