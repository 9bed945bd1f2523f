import pytest
import torch

from reid_da.distances import euclidean, squared_euclidean, squared_euclidean_chunks


def points(num_rows, dim, seed, dtype=torch.float64):
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow_euclidean(a, b):
    def distance(p, q):
        return sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) ** 0.5

    return torch.tensor([[distance(p, q) for q in b.tolist()] for p in a.tolist()], dtype=torch.float64)


def test_distances_follow_the_definition():
    a, b = points(5, 7, 0), points(4, 7, 1)
    torch.testing.assert_close(euclidean(a, b), slow_euclidean(a, b), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(squared_euclidean(a, b), torch.cdist(a, b).square(), rtol=1e-12, atol=1e-12)
    assert euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item() == 5.0


@pytest.mark.parametrize(
    ("given", "computed"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_precision_is_at_least_float32_and_never_below_the_input(given, computed):
    a, b = points(6, 300, 2).to(given), points(6, 300, 3).to(given)
    result = euclidean(a, b)
    assert result.dtype == computed
    tolerance = 1e-12 if given == torch.float64 else 1e-5
    torch.testing.assert_close(result.double(), torch.cdist(a.double(), b.double()), rtol=tolerance, atol=tolerance)


def test_mixed_types_take_the_wider_one():
    assert euclidean(points(2, 3, 0).half(), points(2, 3, 1)).dtype == torch.float64


def test_autocast_does_not_lower_the_precision():
    a, b = points(8, 64, 4, torch.float32), points(8, 64, 5, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = squared_euclidean(a, b)
        chunk = next(squared_euclidean_chunks(a, b))[1].clone()
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, squared_euclidean(a, b), rtol=0, atol=0)
    torch.testing.assert_close(chunk, inside, rtol=1e-6, atol=1e-5)


def test_gradient_is_that_of_the_definition_and_zero_where_rows_are_equal():
    a, b = points(4, 3, 6).requires_grad_(), points(5, 3, 7).requires_grad_()
    assert torch.autograd.gradcheck(euclidean, (a, b))
    same = points(4, 3, 8).requires_grad_()
    euclidean(same, same).diagonal().sum().backward()
    assert torch.equal(same.grad, torch.zeros_like(same))


def test_equal_rows_are_at_the_floor_and_never_negative():
    a = 100 * points(50, 200, 9, torch.float32)
    assert euclidean(points(3, 4, 0), points(3, 4, 0)).diagonal().max() < 1.01e-6
    assert squared_euclidean(a, a).min() >= 0
    assert euclidean(a, a).min() >= 0.99e-6


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_chunks_are_the_rows_of_the_whole(rows):
    a, b = points(7, 5, 10), points(9, 5, 11)
    parts = [(start, block.clone()) for start, block in squared_euclidean_chunks(a.requires_grad_(), b, rows)]
    assert [start for start, _ in parts] == list(range(0, 7, rows))
    assert not parts[0][1].requires_grad
    whole = torch.cat([block for _, block in parts])
    torch.testing.assert_close(whole, squared_euclidean(a, b).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("side", "value"), [("first", torch.nan), ("second", torch.inf), ("second", 1e30)])
def test_chunks_refuse_values_that_are_not_finite(side, value):
    features = {"first": points(3, 5, 12, torch.float32), "second": points(4, 5, 13, torch.float32)}
    features[side][1, 2] = value
    with pytest.raises(ValueError, match=f"1 of {len(features[side])} rows of the {side}"):
        next(squared_euclidean_chunks(features["first"], features["second"]))


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((4,), (3, 4)), ((2, 3, 4), (3, 4))])
def test_shapes_that_do_not_match_are_refused(shapes):
    with pytest.raises(ValueError, match="expected"):
        euclidean(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_integers_are_refused():
    with pytest.raises(ValueError, match="int64"):
        euclidean(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3))
