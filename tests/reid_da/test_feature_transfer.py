"""Feature transfer's sums and matrices against loops."""

import pytest
import torch

from reid_da.feature_transfer import leading_directions, sums_by_label, transferred


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sums_by_label_are_those_of_a_loop():
    features, labels = rows(7, 3).float(), torch.tensor([2, 0, 2, 2, 0, 3, 2])
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for row, label in zip(features, labels, strict=True):
        expected[label] += row.double()
    found = sums_by_label(features, labels, 5)
    assert found.dtype == torch.float64 and not found[[1, 4]].any()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_leading_directions_explain_the_most_and_have_a_sign_of_their_own():
    """Along Q's columns the variances are the singular values' squares, in order; twice the rows, the same columns."""
    x = rows(40, 6) * torch.tensor([5.0, 0.1, 3.0, 0.2, 1.0, 0.3])
    found = leading_directions(x.T @ x, 3)
    assert found.shape == (6, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close((x @ found).square().sum(0), torch.linalg.svdvals(x)[:3] ** 2)
    assert all(column[column.abs().argmax()] > 0 for column in found.T)
    torch.testing.assert_close(leading_directions(4 * x.T @ x, 3), found)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_transferred_keeps_of_the_deviation_what_lies_along_the_directions(count):
    centres, deviations = rows(4, 5, seed=1), rows(4, 5, seed=2)
    directions = torch.linalg.qr(rows(5, 5, seed=3)).Q[:, :count]
    expected = centres.clone()
    for i in range(4):
        for column in directions.T:
            expected[i] += (column @ deviations[i]) * column
    torch.testing.assert_close(transferred(centres, deviations, directions), expected)
    if count == 5:
        torch.testing.assert_close(expected, centres + deviations)
