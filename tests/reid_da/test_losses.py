import math
from functools import partial

import oracles
import pytest
import torch
from torch.autograd import gradcheck

from reid_da.losses import (
    batch_hard_triplet,
    contrastive,
    difference,
    difference_weight,
    image_reconstruction,
    mmd,
    reconstruction,
)


def rows(num_rows, dim, seed, dtype=torch.float64):
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LABELS = torch.tensor([3, 3, 3, 0, 0, 7, 7, 7, 7, 900])  # the last row is alone with its label


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("with_anchors", [False, True])
def test_triplet_follows_the_definition(soft, margin, with_anchors):
    embeddings = rows(10, 4, 0)
    anchors = LABELS != 900 if with_anchors else None
    result = batch_hard_triplet(embeddings, LABELS, margin, soft=soft, anchors=anchors)
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(
        oracles.triplet(embeddings, LABELS, margin, soft=soft, anchors=anchors), rel=1e-12
    )


def test_triplet_by_hand():
    """On a line: A at 0 and 4, B at 1 and 9. d_ap 4, 4, 8, 8 and d_an 1, 3, 1, 5: the hinges sum to 14 + 4 * 0.3."""
    embeddings = torch.tensor([[0.0], [4.0], [1.0], [9.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert batch_hard_triplet(embeddings, labels).item() == pytest.approx(15.2 / 4, rel=1e-6)
    only_second = torch.tensor([False, True, False, False])
    assert batch_hard_triplet(embeddings, labels, anchors=only_second).item() == pytest.approx(1.3, rel=1e-6)


def test_triplet_gradient():
    embeddings = rows(10, 4, 1).requires_grad_()
    for soft in (False, True):
        assert gradcheck(partial(batch_hard_triplet, labels=LABELS, margin=1.0, soft=soft), (embeddings,))


def test_triplet_of_a_collapsed_batch_is_the_margin_with_a_finite_gradient():
    embeddings = torch.ones(6, 8, requires_grad=True)
    loss = batch_hard_triplet(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert torch.equal(embeddings.grad, torch.zeros(6, 8))


def test_triplet_in_half_precision_equals_float32_of_the_same_values():
    embeddings = (rows(10, 64, 2) * 0.02).bfloat16()
    low = batch_hard_triplet(embeddings, LABELS)
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(oracles.triplet(embeddings.double(), LABELS, 0.3), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = batch_hard_triplet(embeddings.float(), LABELS)
    assert inside.item() == low.item()


def test_triplet_without_negatives_is_refused():
    with pytest.raises(ValueError, match="4 anchors, of which 4 have no negative"):
        batch_hard_triplet(rows(4, 2, 0), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="0 anchors"):
        batch_hard_triplet(rows(10, 2, 0), LABELS, anchors=torch.zeros(10, dtype=torch.bool))
    with pytest.raises(ValueError, match="expected bools"):
        batch_hard_triplet(rows(10, 2, 0), LABELS, anchors=torch.ones(10))
    with pytest.raises(ValueError, match="expected"):
        batch_hard_triplet(rows(9, 2, 0), LABELS)


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_contrastive_follows_the_definition(margin):
    embeddings = rows(10, 4, 3)
    result = contrastive(embeddings, LABELS, margin)
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(oracles.contrastive(embeddings, LABELS, margin), rel=1e-9)
    assert gradcheck(partial(contrastive, labels=LABELS, margin=margin), (embeddings.requires_grad_(),))


def test_contrastive_by_hand():
    """On a line, 0 and 1 of A, 3 of B, margin 2.5: the positive 1, the negatives 3 -> 0 and 2 -> 0.25; three pairs."""
    loss = contrastive(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]), 2.5)
    assert loss.item() == pytest.approx(1.25 / 3)


def test_contrastive_gradient_is_finite_where_rows_of_two_persons_are_equal():
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss = contrastive(embeddings, torch.tensor([0, 0, 1, 1]), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(4 * 4 / 6)
    assert embeddings.grad.abs().max() == 0


@pytest.mark.parametrize(("num_rows", "margin"), [(1, 1.0), (10, 0.0)])
def test_contrastive_without_pairs_or_margin_is_refused(num_rows, margin):
    with pytest.raises(ValueError, match="two rows or more and a positive margin"):
        contrastive(rows(num_rows, 2, 0), LABELS[:num_rows], margin)


def test_reconstruction_is_a_mean_without_gradient_to_the_target():
    prediction, target = (rows(3, 8, seed).reshape(3, 2, 2, 2).requires_grad_() for seed in (4, 5))
    loss = reconstruction(prediction, target)
    pairs = zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
    assert loss.item() == pytest.approx(sum((p - t) ** 2 for p, t in pairs) / 24, rel=1e-12)
    loss.backward()
    assert target.grad is None
    torch.testing.assert_close(prediction.grad, (2 / 24 * (prediction - target)).detach())
    with pytest.raises(ValueError, match="equal shapes"):
        reconstruction(torch.zeros(3, 1), torch.zeros(3, 4))


def test_image_reconstruction_sums_channels_and_has_no_gradient_to_the_image():
    prediction, image = (rows(2, 12, seed).reshape(2, 3, 2, 2).requires_grad_() for seed in (4, 5))
    loss = image_reconstruction(prediction, image)
    pairs = zip(prediction.flatten().tolist(), image.flatten().tolist(), strict=True)
    assert loss.item() == pytest.approx(3 * sum(abs(p - t) for p, t in pairs) / 24, rel=1e-12)
    loss.backward()
    assert image.grad is None and prediction.grad.abs().unique().tolist() == [1 / 8]
    with pytest.raises(ValueError, match="multiples of the trunk's stride"):
        image_reconstruction(torch.zeros(2, 3, 32, 16), torch.zeros(2, 3, 30, 16))


@pytest.mark.parametrize("sigmas", [(1, 2, 10), (0.5,)])
@pytest.mark.parametrize("num_rows", [(5, 5), (3, 7)])
def test_mmd_follows_the_definition(sigmas, num_rows):
    a, b = rows(num_rows[0], 4, 10), rows(num_rows[1], 4, 11) + 0.5
    result = mmd(a, b, sigmas)
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(oracles.mmd(a, b, sigmas), rel=1e-9)
    assert mmd(b, a, sigmas).item() == pytest.approx(result.item())
    assert gradcheck(partial(mmd, sigmas=sigmas), (a.requires_grad_(), b.requires_grad_()))


def test_mmd_by_hand():
    """One row each, a distance of 2: 2 k(0) - 2 k(4) with k(4) = e^-2 + e^-0.5 + e^-0.02. Far apart only k(0) = 3 is left."""
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]])
    k = math.exp(-2) + math.exp(-0.5) + math.exp(-0.02)
    assert mmd(a, b).item() == pytest.approx(math.sqrt(6 - 2 * k), rel=1e-6)
    assert mmd(a, b + 1000).item() == pytest.approx(math.sqrt(6), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [0.0, 1e-4])
def test_mmd_of_equal_rows_is_nearly_nothing_with_a_finite_gradient(dtype, apart):
    a = rows(6, 8, 12, dtype).requires_grad_()
    loss = mmd(a, a.detach() + apart)
    loss.backward()
    assert 0 < loss.item() < 2e-3
    assert a.grad.isfinite().all() and a.grad.abs().max() < 1


@pytest.mark.parametrize(("num_rows", "dim"), [(3, 7), (9, 4)])
def test_difference_follows_the_definition(num_rows, dim):
    shared, private = rows(num_rows, dim, 6), rows(num_rows, dim, 7)
    result = difference(shared, private)
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(oracles.difference(shared, private), rel=1e-12)
    assert gradcheck(difference, (shared.requires_grad_(), private.requires_grad_()))
    with pytest.raises(ValueError, match="equal shapes"):
        difference(shared, private[:, 1:])


def test_difference_by_hand():
    """(a, a) and (b, -b): the cosines' products are 1, 1, -1, -1. One row gives its square, 1. D = 3."""
    shared, private = torch.tensor([[1.0, 2.0, 0.0]] * 2), torch.tensor([[5.0, 1.0, 2.0], [-5.0, -1.0, -2.0]])
    assert difference(shared, private).item() == pytest.approx(0, abs=1e-7)
    assert difference(shared, shared).item() == pytest.approx(4 / 9)
    assert difference(shared[:1], private[:1]).item() == pytest.approx(1 / 9)
    zero = torch.zeros(2, 3, requires_grad=True)
    difference(zero, private).backward()
    assert zero.grad.isfinite().all()


def test_difference_weight_keeps_the_size_of_the_term():
    """For features whose cosines depend on neither N nor D (about 0.64 here) the weighted term does not either."""
    assert difference_weight(1500, 16, 2048) == 1500
    assert difference_weight(1500, 64, 128) == pytest.approx(0.366, abs=1e-3)
    terms = []
    for num_rows, dim in [(16, 2048), (64, 128), (8, 512)]:
        shared, private = rows(num_rows, dim, 8).abs(), rows(num_rows, dim, 9).abs()
        terms.append(difference_weight(1500, num_rows, dim) * difference(shared, private).item())
    assert max(terms) < 1.3 * min(terms)


def test_contrastive_of_two_rows_is_one_pair():
    assert contrastive(torch.tensor([[0.0], [3.0]]), torch.tensor([5, 5]), 1.0).item() == 9


def test_difference_under_autocast_is_that_without():
    """In bfloat16 the cosines of a batch would have three digits."""
    generator = torch.Generator().manual_seed(0)
    shared, private = torch.randn(2, 16, 64, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = difference(shared, private)
    assert inside.item() == difference(shared, private).item()
