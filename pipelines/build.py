"""A YAML block is a constructor call: `_target_` is a dotted path into reid_da or gan, the rest are its keywords."""

import difflib
import importlib
import inspect


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
    """Raise ValueError, as `build` would, for keywords that the target does not take; `besides` are somebody else's."""
    known = accepted(resolve(block["_target_"]))
    for option in block:
        if option not in known | {"_target_", *besides}:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{block['_target_']} takes no '{option}'{hint}")


def defaults(target) -> dict[str, object]:
    """Keywords of a callable that need not be given -> what they are then."""
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def accepted(target) -> set[str]:
    """Names of the keywords a callable takes; **kwargs of a class are its parents'."""
    names: set[str] = set()
    for call in [target, *getattr(target, "__mro__", ())[1:]]:
        if call is object:
            break
        parameters = inspect.signature(call).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
