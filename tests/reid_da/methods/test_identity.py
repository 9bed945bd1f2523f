"""Every identity loss in every method that takes one: its terms are there, and teach the trunk and the class weights."""

import pytest
import tiny
import torch


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny.LOSSES)
@pytest.mark.parametrize("method", ["baseline", "hhl", "arn"])
def test_a_step_reaches_trunk_and_class_weights(method, name, world):
    made = tiny.build(method, world, **tiny.losses(name))
    batch = tiny.batches(made, world)(0)
    terms = made(batch)
    own = "loss/class" if method == "arn" else "loss/source"
    assert own in terms and ("loss/added" in terms) == (name in tiny.ADDED)
    term = terms["loss/added" if name in tiny.ADDED else own]
    trunk = made.encoder_common if method == "arn" else made.backbone
    found = torch.autograd.grad(term, list(trunk.parameters()), allow_unused=True)
    assert term.isfinite() and any(gradient is not None and gradient.abs().max() > 0 for gradient in found)
    (taught,) = torch.autograd.grad(made(batch)[own], [made.classifier.weight])
    assert taught.isfinite().all() and taught.abs().max() > 0
