"""A training's variant: what of its options differs from the recipe's, by which tables and results.csv tell it from others."""

from collections.abc import Iterator

from pipelines import identity

NO_VARIANT = (
    "gan.seed=",
    "gan.bounds.",
    "gan.require_quality=",
)  # a column of its own, or nothing that a result depends on


def of(settings: dict, recipe: dict, methods: list[str]) -> dict[str, str]:
    """Per method: "default", or which of its options differ from the recipe's, gan's and pretrain's where it uses them."""
    result = {}
    for method in methods:
        blocks = [method] + ["gan"] * _takes_generator(settings[method])
        blocks += ["pretrain"] if settings[method]["start"] == "pretrain" else []
        changes = [change for block in blocks for change in _changes(block, settings[block], recipe[block])]
        changes = [change for change in changes if not change.startswith(NO_VARIANT)]
        if settings["precision"] != recipe["precision"] and "optimiser" in settings[method]:
            changes.append(f"precision={settings['precision']}")
        if losses := identity.blocks(settings, method):
            changes.append(f"identity_loss={'+'.join(losses)}")  # softmax+center is center: one training, one name
            changes += [change for name in losses for change in _changes(name, losses[name], recipe[name])]
        if settings["same_camera"]:
            changes.append("same_camera=true")
        result[method] = " ".join(changes) or "default"
    return result


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
