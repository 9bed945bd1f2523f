"""A YAML block is a constructor call: `_target_` is a dotted path into reid_da or gan, the rest are its keywords."""

import difflib
import importlib
import inspect
import math


def resolve(path: str):
    """The object at a dotted path. Raises ValueError for a path outside reid_da and gan, or one that is not there."""
    module, _, name = path.rpartition(".")
    if not path.startswith(("reid_da.", "gan.")):
        raise ValueError(f"_target_ {path}: expected a path into reid_da or gan")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"_target_ {path}: {error}") from error


def build(block: dict, *args, **kwargs):
    """Call the block's target with its keywords, after positional and runtime arguments.

    Raises:
        ValueError: a keyword that the target does not take, with the nearest one that it takes.
    """
    check(block)
    return resolve(block["_target_"])(*args, **{k: v for k, v in block.items() if k != "_target_"}, **kwargs)


def check(block: dict, besides: tuple[str, ...] = ()) -> None:
    """Raise ValueError for keywords that the target does not take, as `build` would, and for what is no number where one is wanted.

    besides: keywords that are somebody else's.
    """
    known = parameters(resolve(block["_target_"]))
    for option, value in block.items():
        if option not in {"_target_", *known, *besides}:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{block['_target_']} takes no '{option}'{hint}")
        if option in known and (wanted := known[option].annotation) in (bool, int, float):
            usual = wanted() if known[option].default is inspect.Parameter.empty else wanted(known[option].default)
            if problem := wrong_type(value, usual):
                raise ValueError(f"{block['_target_']}: {option} is {value!r}; expected {problem}")


def wrong_type(value, usual) -> str:
    """What was expected instead of `value`, in words; "" if it will do in the place of `usual`."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if usual == "auto":
        return ""
    if isinstance(usual, dict):
        return "" if isinstance(value, dict) else "the options of that group, each under its own name"
    if value is None:
        return f"a value such as {usual!r}"
    if isinstance(usual, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(usual, int):
        return "" if number and isinstance(value, int) else f"a whole number such as {usual}"
    if isinstance(usual, float):
        return "" if number else f"a number such as {usual}"
    if isinstance(value, type(usual)):
        return ""
    return f"{usual!r} or the like"


def defaults(target) -> dict[str, object]:
    """Keywords of a callable that need not be given -> what they are then."""
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def parameters(target) -> dict[str, inspect.Parameter]:
    """The keywords a callable takes, by name; **kwargs of a class are its parents'."""
    found: dict[str, inspect.Parameter] = {}
    for call in [target, *getattr(target, "__mro__", ())[1:]]:
        if call is object:
            break
        own = inspect.signature(call).parameters.values()
        found = {p.name: p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return found
