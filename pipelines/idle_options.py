"""Options that do nothing beside the others go back to the recipe's: one training has one hash, one name, and no needless size."""

from collections.abc import Callable, Iterator


def _hhl(block: dict) -> Iterator[str]:
    if not block["n_t"]:  # the source's triplets alone
        yield from ("sampling", "styles")
        if block["losses"] != "L_C":  # which is nothing without them, and refused
            yield "losses"
    if block["losses"] == "L_D":  # real target images alone
        yield "styles"
    if block["losses"] == "L_C":  # no triplets of the source
        yield from ("persons", "images_per_person")
    if block["styles"] != "jitter" or block["losses"] == "L_D" or not block["n_t"]:
        yield "jitter"
    if block["soft_margin"]:
        yield "margin"


def _arn(block: dict) -> Iterator[str]:
    if block["encoder"] == "layer4":
        yield from ("fcn_width", "map_size")
    if not block["private"]:
        yield "weight_diff"
    if not block["identity_terms"]:
        yield from ("margin", "weight_ctrs")
        if block["encoder"] == "layer4":  # the other one's encoders have dropouts of their own
            yield "dropout"
    if not block["target_terms"]:
        yield "target_batch"
    if block["freeze_shared"]:
        yield "optimiser.lr.shared"


IDLE: dict[str, Callable[[dict], Iterator[str]]] = {"hhl": _hhl, "arn": _arn}


def at_rest(settings: dict, recipe: dict) -> dict:
    """The settings with idle options at the recipe's values; hhl.losses=L_T under its other name, hhl.n_t=0."""
    found = dict(settings)
    for method, idle in IDLE.items():
        block = settings[method] | ({"n_t": 0} if settings[method].get("losses") == "L_T" else {})
        for option in list(idle(block)):
            block = _put_back(block, recipe[method], option.split("."))
        found[method] = block
    return found


def _put_back(block: dict, recipe: dict, path: list[str]) -> dict:
    first, *rest = path
    if first not in block or first not in recipe:
        return block
    return block | {first: _put_back(block[first], recipe[first], rest) if rest else recipe[first]}
