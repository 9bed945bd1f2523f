"""A training's variant: what of its options differs from the recipe's, by which tables and results.csv tell it from others."""

from collections.abc import Iterator

from pipelines import identity

NO_VARIANT = (
    "gan.seed=",
    "gan.bounds.",
    "gan.require_quality=",
)  # a column of its own, or nothing that a result depends on
CONTROL = ("baseline.labels=", "baseline.bn=")  # of a baseline by itself: what others are made from is without


def of(settings: dict, recipe: dict, methods: list[str]) -> dict[str, str]:
    """Per method: "default", or which of its options, and of those that it is made from (gan, starts), differ from the recipe's."""
    result = {}
    for method in methods:
        blocks = [method] + ["gan"] * _takes_generator(settings[method]) + _before(method, settings)
        changes = [change for block in blocks for change in _changes(block, settings[block], recipe[block])]
        aside = NO_VARIANT if method == "baseline" else (*NO_VARIANT, *CONTROL)
        changes = [change for change in changes if not change.startswith(aside)]
        if settings["precision"] != recipe["precision"] and "optimiser" in settings[method]:
            changes.append(f"precision={settings['precision']}")
        if losses := identity.blocks(settings, method):
            changes.append(f"identity_loss={'+'.join(losses)}")  # softmax+center is center: one training, one name
            changes += [change for name in losses for change in _changes(name, losses[name], recipe[name])]
        if settings["same_camera"]:
            changes.append("same_camera=true")
        result[method] = " ".join(changes) or "default"
    return result


def _before(method: str, settings: dict) -> list[str]:
    """What the method starts from, and what that starts from; the baseline whose features' clusters it samples from, likewise."""
    found, waiting = [], ["baseline"] * (settings[method].get("sampling") == "clustered") + [settings[method]["start"]]
    while waiting:
        name = waiting.pop(0)
        if name in ("baseline", "pretrain") and settings[name] and name not in (method, *found):  # others are refused
            found.append(name)
            waiting.append(settings[name]["start"])
    return found


def _takes_generator(block: dict) -> bool:
    """Whether a method's block trains it with a generator's styles."""
    wanted = block.get("n_t", 1) > 0 and block.get("losses", "L_CD") in ("L_C", "L_CD")
    return block.get("styles") == "generator" and wanted


def _changes(name: str, block, recipe) -> Iterator[str]:
    if isinstance(block, dict) and isinstance(recipe, dict):
        for key in block:
            yield from _changes(f"{name}.{key}", block[key], recipe.get(key))
    elif block != recipe:
        yield f"{name}={block}".lower() if isinstance(block, bool) else f"{name}={block}"
