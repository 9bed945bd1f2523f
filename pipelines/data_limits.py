"""What the data allow of the settings: whose labels may train, what one camera leaves of HHL's styles, what can be measured."""

from pipelines import ready_styles, refusals
from pipelines.cache import Stage
from pipelines.data_report import NOT_JUDGED


def check_labels(settings: dict, data: dict[str, Stage]) -> None:
    """Refuse trainings that take labels which the data set does not have.

    Raises:
        ValueError: a source, or a target that labels are asked of, with training images that tell no person.
    """
    wanted = {"source": "the source"}
    for name in refusals.trained(settings):
        asks = {option: settings[name].get(option) for option in ("labels", "sampling")}
        if asks["labels"] == "target" or asks["sampling"] == "supervised":
            option = "labels=target" if asks["labels"] == "target" else "sampling=supervised"
            wanted["target"] = f"{name}.{option}"
    for role, what in wanted.items():
        if not data[role].about["labelled"]:
            raise ValueError(
                f"{data[role].about['dataset']} has training images that tell no person, and {what} takes the persons of all; "
                "expected a data set that is labelled throughout"
            )


def check_counts(settings: dict, data: dict[str, Stage]) -> None:
    """Refuse batches larger than what the training images can give: that would be found out after the generator, else.

    Raises:
        ValueError: the option, and the number of images or persons that there are.
    """
    wanted = []
    for name, own in refusals.trainings(settings):
        block, kinds = settings[name], {"batch": (own, "images")}
        kinds |= {} if block.get("losses") == "L_C" else {"persons": (own, "persons")}  # no triplets of the source
        kinds |= dict.fromkeys(("n_t", "target_batch"), ("target", "images"))
        if "optimiser" in block:
            wanted += [(f"{name}.{one}", block[one], *kind) for one, kind in kinds.items() if one in block]
        if refusals.styles_of(block) == "generator" and not ready_styles.chosen(settings):
            check_generator_batch(settings, data["target"])
    for option, value, role, what in wanted:
        _check_count(option, value, data[role], what)


def check_generator_batch(settings: dict, target: Stage) -> None:
    """As check_counts, of the generator alone."""
    _check_count("gan.batch", settings["gan"]["batch"], target, "images")


def _check_count(option: str, value: int, data: Stage, what: str) -> None:
    most = data.about[what]
    if value > most:
        raise ValueError(
            f"{option} is {value}; expected at most {most}, the training {what} of {data.about['dataset']}"
        )


def settled(settings: dict, data: dict[str, Stage]) -> dict:
    """The settings as the target leaves them: where it has one camera, HHL takes plain copies in place of a generator's styles.

    `data_report.as_target` tells it beforehand; the option and variant that are recorded are those of the training that is done.
    """
    one = data["target"].about["cameras"] == 1 and not ready_styles.chosen(settings)
    return with_styles(settings, "copies") if one and refusals.styles_of(settings["hhl"]) == "generator" else settings


def with_styles(settings: dict, kind: str) -> dict:
    """The settings with hhl.styles in the place of a generator's, and hhl's variant with it."""
    variant = settings.get("variants", {}).get("hhl", "default")
    others = [part for part in variant.split() if not part.startswith(("hhl.styles=", "gan."))]
    variant = " ".join(part for part in [f"hhl.styles={kind}", *others] if part != "default")
    hhl = {"hhl": settings["hhl"] | {"styles": kind}, "variants": settings.get("variants", {}) | {"hhl": variant}}
    return settings | hhl


def not_judged(target: Stage) -> dict[str, str]:
    """The tag of runs that are not judged on their target, with the reason; none of the others."""
    return {} if target.about["judged"] else {"not_judged": f"{target.about['dataset']} has {NOT_JUDGED}"}


def no_style_retrieval(settings: dict, target: Stage) -> str:
    """Why a method's style retrieval cannot be measured; "" if it can."""
    if ready_styles.chosen(settings):
        return "it styles held-out images, and gan=folder has no generator"
    return f"it asks for another camera's style, and {target.about['dataset']} has one camera" * (
        target.about["cameras"] == 1
    )
