"""The front of every command: compose conf/ with the command line, turn it into plain values, and turn errors into clear lines.

Exit codes: 0 done, 2 bad input (one to three lines on stderr, no traceback), 130 Ctrl-C, 1 a bug (with its traceback).
"""

import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

CONF = Path(__file__).resolve().parent.parent / "conf"
# Options that may be null, and what they are otherwise.
NULLABLE = {
    "steps": 300,
    "epochs": 60,
    "root": "/path",
    "uri": "http://host:5000",
    "weights": "/path",
    "start": "pretrain",
}
ADVICE = "\nmake space on that disk and give the same command again: what is finished is kept"
SHORT = {"beta": "hhl.beta", "n_t": "hhl.n_t"}


def main(story: Callable[[dict], None]) -> None:
    """Run `story(settings)` on the composed settings, as the program. --help, --cfg job and --info are Hydra's."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints and exits 1 by itself
    import hydra
    from omegaconf import DictConfig

    arguments = list(map(long_name, sys.argv[1:]))
    if slip := next((argument for argument in arguments if argument.startswith("method=")), None):
        fail(f"unknown option 'method'; did you mean methods=[{slip.removeprefix('method=').strip('[]')}]?")
    if helped := {"--help", "-h"} & set(arguments):  # Hydra's help composes, and two groups have no default
        arguments = [*helped, "source=market", "target=duke", *(a for a in arguments if a not in helped)]
    sys.argv[1:] = [*arguments, f"method=[{','.join(method_names())}]"]
    composed = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def program(cfg: DictConfig) -> None:
        composed.append(cfg)

    with clear_errors():
        program()
        for cfg in composed:  # none after --help; outside Hydra, which would add lines of its own to an error
            story(plain(cfg))


def compose(arguments: list[str]) -> dict:
    """The settings that a command line of `arguments` gives, as plain values."""
    from hydra import compose, initialize_config_dir

    arguments = [long_name(argument) for argument in arguments]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[f"method=[{','.join(method_names())}]", *arguments])
        return plain(cfg)


def plain(cfg) -> dict:
    """Plain dicts and lists, with what every method's options say beside the recipe's, and checked."""
    from omegaconf import OmegaConf

    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    settings.pop("hydra", None)
    if isinstance(settings["methods"], str):
        settings["methods"] = [settings["methods"]]
    recipe = _recipe_settings(settings)
    check(settings, recipe)
    settings["variants"] = variants(settings, recipe)
    return settings


def check(settings: dict, recipe: dict) -> None:
    """Refuse names that do not exist, and values of another type than the recipe's. Ranges belong to those who take them."""
    for name, value, usual in _leaves(settings, recipe, ""):
        last = name.rpartition(".")[2]
        if last in NULLABLE:
            if value is None:
                continue
            usual = NULLABLE[last]
        elif usual is None:
            continue
        if problem := _wrong_type(value, usual):
            raise ValueError(f"{name} is {value!r}; expected {problem}")
    methods = method_names()
    for key, known in (("methods", methods), ("force", ["data", "generator", "styles", "pretrain", *methods])):
        values = settings[key]
        if not isinstance(values, list) or (key == "methods" and not values):
            raise ValueError(f"{key} is {values}; expected a list such as {key}=[{known[0]}], of {', '.join(known)}")
        for value in values:
            if value not in known:
                raise ValueError(f"{key}: unknown '{value}'{did_you_mean(value, known)}; there are {', '.join(known)}")


def _leaves(block: dict, recipe: dict, prefix: str) -> Iterator[tuple]:
    for key, value in block.items():
        usual = recipe.get(key)
        if isinstance(usual, dict) and isinstance(value, dict):
            yield from _leaves(value, usual, f"{prefix}{key}.")
        else:
            yield prefix + key, value, usual


def _wrong_type(value, usual) -> str:
    """What was expected instead of `value`, in words; "" if it will do. A recipe's null takes anything."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if usual == "auto":
        return ""
    if value is None:
        return f"a value such as {usual!r}"
    if isinstance(usual, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(usual, int):
        return "" if number and isinstance(value, int) else f"a whole number such as {usual}"
    if isinstance(usual, float):
        return "" if number else f"a number such as {usual}"
    return (
        ""
        if isinstance(value, type(usual))
        else f"{'several options' if isinstance(usual, dict) else repr(usual)} or the like"
    )


def variants(settings: dict, recipe: dict) -> dict[str, str]:
    """Per method: "default", or which of its options differ from the recipe's, gan's and pretrain's where it uses them."""
    result = {}
    for method in method_names():
        blocks = [method] + (["gan"] if method == "hhl" and settings[method]["n_t"] else [])
        blocks += ["pretrain"] if settings[method]["start"] == "pretrain" else []
        changes = [change for block in blocks for change in _changes(block, settings[block], recipe[block])]
        changes = [change for change in changes if not change.startswith("gan.seed=")]
        result[method] = " ".join(changes) or "default"
    return result


def _recipe_settings(settings: dict) -> dict:
    """What the same recipe and data sets give with no other option."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    overrides = [f"method=[{','.join(method_names())}]", f"recipe={settings['recipe']}"]
    overrides += [f"{role}={settings[role]['name']}" for role in ("source", "target")]
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)


def _changes(name: str, block, recipe) -> Iterator[str]:
    if isinstance(block, dict) and isinstance(recipe, dict):
        for key in block:
            yield from _changes(f"{name}.{key}", block[key], recipe.get(key))
    elif block != recipe:
        yield f"{name}={block}".lower() if isinstance(block, bool) else f"{name}={block}"


def method_names() -> list[str]:
    """Every method that has a block in conf/method/."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def long_name(argument: str) -> str:
    """beta=0.3 -> hhl.beta=0.3, and the like."""
    name, equals, value = argument.partition("=")
    return f"{SHORT[name]}={value}" if equals and name in SHORT else argument


def did_you_mean(word: str, known) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into clear lines and an exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except KeyboardInterrupt:
        print("stopped; finished stages and checkpoints are kept, the same command goes on from them", file=sys.stderr)
        sys.exit(130)
    except (HydraException, OmegaConfBaseException) as error:
        fail(hydra_error(error))
    except (ValueError, FloatingPointError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + _advice(error))
    except Exception as error:
        if "database or disk is full" in str(error):  # how sqlite says it, through MLflow
            fail(f"no space left on the disk of MLflow's database{ADVICE}")
        if "MlflowException" in [kind.__name__ for kind in type(error).__mro__]:
            fail(f"MLflow at tracking.uri: {str(error).splitlines()[0]}")
        raise


def fail(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def _advice(error: OSError) -> str:
    from pipelines.cache import disk_full

    return ADVICE if disk_full(error) else ""


def hydra_error(error: Exception) -> str:
    """Hydra's and OmegaConf's messages, said in one or two lines with the nearest name that exists."""
    text = str(error).strip()
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"unknown option '{found[1]}'{_nearest(found[1])}; --help lists all options"
    if found := re.search(r"Could not find '([^/']+)/([^']+)'", text):
        group, choice = found[1], found[2]
        known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        return f"unknown {group} '{choice}'{did_you_mean(choice, known)}; there are {', '.join(known)}"
    if found := re.search(r"You must specify '([^']+)'", text):
        known = sorted(path.stem for path in (CONF / found[1]).glob("*.yaml"))
        return f"which {found[1]}? give {found[1]}=NAME, one of {', '.join(known)}"
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and "full_key" not in line and "object_type" not in line
    ]
    return " ".join(lines[:2])


def _nearest(option: str) -> str:
    settings = _recipe_settings({"recipe": "quick", "source": {"name": "market"}, "target": {"name": "duke"}})
    return did_you_mean(option, [*SHORT, *_option_names(settings, "")])


def _option_names(block: dict, prefix: str) -> Iterator[str]:
    for key, value in block.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _option_names(value, f"{prefix}{key}.")
