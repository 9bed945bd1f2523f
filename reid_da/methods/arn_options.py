"""Which of ARN's options are refused: those out of their range, and those that contradict each other."""

KINDS = {"encoder": ("layer4", "fcn"), "decoder": ("feature", "image")}


def check(
    *,
    target_terms: bool = True,
    identity_terms: bool = True,
    private: bool = True,
    weight_ctrs: float = 0.01,
    weight_rec: float = 2.0,
    weight_diff: float = 1500.0,
    weight_mmd: float = 0.0,
    margin: float = 2.0,
    encoder: str = "layer4",
    decoder: str = "feature",
    map_size: tuple[int, int] = (8, 4),
    fcn_width: int | None = None,
    dropout: float = 0.5,
    label_smoothing: float = 0.0,
    bn_neck: bool = False,
    **others,
) -> None:
    """Raise ValueError for the first thing that is wrong, with what was found, what is expected and what to do."""
    for name, value in (("encoder", encoder), ("decoder", decoder)):
        if value not in KINDS[name]:
            raise ValueError(f"arn.{name} is {value}; expected {' or '.join(KINDS[name])}")
    weights = {"ctrs": weight_ctrs, "rec": weight_rec, "diff": weight_diff, "mmd": weight_mmd}
    for name, value in weights.items():
        if value < 0:
            raise ValueError(f"arn.weight_{name} is {value}; expected at least 0 (0: without that term)")
    for name, value in (("dropout", dropout), ("label_smoothing", label_smoothing)):
        if not 0 <= value < 1:
            raise ValueError(f"arn.{name} is {value}; expected at least 0 and below 1")
    if margin <= 0:
        raise ValueError(f"arn.margin is {margin}; expected a positive number")
    if len(map_size) != 2 or not all(isinstance(side, int) and side > 0 for side in map_size):
        raise ValueError(f"arn.map_size is {map_size}; expected height and width of the trunk's maps, such as [8,4]")
    if fcn_width is not None and fcn_width < 1:
        raise ValueError(f"arn.fcn_width is {fcn_width}; expected at least 1, or null for 512 at most")
    contradictions = {
        "arn.identity_terms=false with arn.target_terms=false leaves the source's reconstruction alone, which teaches neither "
        "persons nor the target; keep one of them": not (identity_terms or target_terms),
        "arn.identity_terms=false with no weight on any other term leaves nothing to learn from; raise arn.weight_rec, "
        "arn.weight_mmd or (with arn.private=true) arn.weight_diff": not (
            identity_terms or weight_rec or weight_mmd or (private and weight_diff)
        ),
        f"arn.weight_mmd={weight_mmd} compares source and target, and arn.target_terms=false drops the target; "
        "give arn.weight_mmd=0 or arn.target_terms=true": weight_mmd and not target_terms,
        "arn.decoder=image decodes maps, and arn.encoder=fcn gives vectors; give arn.decoder=feature or "
        "arn.encoder=layer4": decoder == "image" and encoder == "fcn",
        "arn.bn_neck and arn.label_smoothing belong to the class term, which arn.identity_terms=false drops; "
        "give arn.bn_neck=false and arn.label_smoothing=0": not identity_terms and (bn_neck or label_smoothing),
    }
    for text, found in contradictions.items():
        if found:
            raise ValueError(text)
