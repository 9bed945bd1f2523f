"""The identity loss of a method and what is added to it: made, and asked. See reid_da.identity_losses for the contract."""

from collections.abc import Callable

from torch import Tensor, nn

from reid_da import distributed
from reid_da.distances import at_least_float32


def new_losses(
    identity_loss: Callable[..., nn.Module],
    added: Callable[..., nn.Module] | None,
    num_features: int,
    num_persons: int,
    label_smoothing: float,
) -> tuple[nn.Module, nn.Module | None]:
    """The loss and the term added to it, for so many features and persons."""
    loss = identity_loss(num_features, num_persons, label_smoothing=label_smoothing)
    return loss, added(num_features, num_persons) if added else None


def identity_terms(
    method: nn.Module, name: str, embedding: Tensor, hidden: Callable[[], Tensor], labels: Tensor
) -> dict[str, Tensor]:
    """{name: method.classifier's loss} and, where the method has an added term, {"loss/added": its loss}.

    Args:
        embedding: (B, D) before ReLU and dropout. hidden: gives it after both. labels: (B,) of the source's persons.
    """
    loss, added = method.classifier, method.added
    features = hidden() if loss.feature == "hidden" else embedding
    if loss.gathered:
        terms = {name: loss(*_of_all(features, labels))}
    else:
        terms = {name: loss(features, labels)}
    return terms | ({"loss/added": added(*_of_all(embedding, labels))} if added else {})


def _of_all(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return distributed.gather(at_least_float32(features)), distributed.gather(labels)


def take_over(method: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a trained model's weights those without a classifier and centres that are of another kind than the method's own.

    A model that was trained by another loss teaches the trunk; its class weights would stand for other angles.
    """
    own = method.state_dict()
    for part in ("classifier.", "added."):
        if {key for key in weights if key.startswith(part)} != {key for key in own if key.startswith(part)}:
            weights = {key: value for key, value in weights.items() if not key.startswith(part)}
    return weights
