"""Which loss learns the source's identities: identity_loss=arcface; center is softmax+center; arcface+center.

Every loss has a block in conf/loss/, under its own name among the settings; those without a `feature` are added to another.
"""

import difflib
from collections.abc import Callable
from functools import partial

from pipelines import build

LOSSES = "reid_da.identity_losses."


def chosen(settings: dict) -> list[str]:
    """The names in settings["identity_loss"]: a loss, and a term that is added to it if there is one.

    Raises:
        ValueError: names that do not exist, or that are no loss and no term.
    """
    known = [name for name, block in settings.items() if isinstance(block, dict) and _is_loss(block)]
    terms = [name for name in known if _is_added(settings[name])]
    names = settings["identity_loss"].split("+")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"identity_loss: unknown '{name}'{hint}; there are {', '.join(known)}")
    if names[0] in terms:
        names.insert(0, "softmax")
    if len(names) > 2 or any(name not in terms for name in names[1:]):
        raise ValueError(
            f"identity_loss is {settings['identity_loss']}; expected one loss, and at most one term that is added to it "
            f"({', '.join(terms)}), such as arcface+center"
        )
    return names


def blocks(settings: dict, method: str) -> dict[str, dict]:
    """Name -> block of what trains that method; none where that is plain softmax or the method takes no such loss.

    The quick recipe's `pretrain` stands in for ImageNet's weights, which softmax gave, too.
    """
    block = settings[method]
    if method == "pretrain" or not takes(block):
        return {}
    found = {name: settings[name] for name in chosen(settings) if name != "softmax"}
    if "batch" in block:
        return found
    # its batch is P x K by options of its own (arn): a term's K does nothing there, and makes no other training
    return {name: {k: v for k, v in one.items() if k != "images_per_person"} for name, one in found.items()}


def takes(block: dict) -> bool:
    """Whether a method's block has an identity loss to choose."""
    has = "identity_loss" in build.parameters(build.resolve(block["_target_"]))
    return has and "optimiser" in block and block.get("identity_terms", True)


def check_taken(settings: dict) -> None:
    """Refuse a loss that none of the methods to train takes: the run would be another one than its options say."""
    if settings["identity_loss"] != "softmax" and not any(blocks(settings, name) for name in settings["methods"]):
        able = [name for name, block in settings.items() if isinstance(block, dict) and "optimiser" in block]
        able = ", ".join(name for name in able if blocks(settings, name))
        raise ValueError(
            f"identity_loss is {settings['identity_loss']}, and methods={settings['methods']} take none; leave it out, or train "
            f"one that does ({able})"
        )


def keywords(found: dict[str, dict]) -> dict[str, Callable]:
    """What a method is built with for the blocks of `blocks`."""
    return {"added" if _is_added(block) else "identity_loss": partial(build.build, block) for block in found.values()}


def check_batch(settings: dict, method: str) -> None:
    """Refuse a batch that does not hold whole persons where a term that is added wants several images of each."""
    for name, block in blocks(settings, method).items():
        each, batch = block.get("images_per_person"), settings[method].get("batch")
        if each and batch and (each < 2 or batch % each or batch < 2 * each):
            raise ValueError(
                f"{method}.batch is {batch} and {name}.images_per_person {each}; expected a batch of two persons or more with "
                "as many images each, at least 2"
            )


def check_warm_up(found: dict[str, dict], method: str, steps: int) -> None:
    """Refuse a memory (vpl) that would not begin in a training that ends at `steps`: it would be the loss without it."""
    for name, one in found.items():
        if one.get("warm_up", 0) >= steps:
            raise ValueError(
                f"{name}.warm_up is {one['warm_up']}, and {method}'s training ends at step {steps}, so that {name}'s memory would "
                f"never begin; expected fewer, such as {name}.warm_up={steps // 6}"
            )


def _is_loss(block: dict) -> bool:
    return str(block.get("_target_", "")).startswith(LOSSES)


def _is_added(block: dict) -> bool:
    return not hasattr(build.resolve(block["_target_"]), "feature")
