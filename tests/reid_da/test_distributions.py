"""FID and KID against closed forms and loops written from the equations."""

import numpy as np
import pytest

from reid_da.distributions import frechet_distance, kernel_distance


def test_frechet_of_lines_is_the_closed_form():
    """In one dimension: (m1 - m2)^2 + (s1 - s2)^2."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 1)), 3 * rng.normal(size=(70, 1)) + 5
    expected = (first.mean() - second.mean()) ** 2 + (first.std(ddof=1) - second.std(ddof=1)) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(("n1", "n2", "dim"), [(50, 60, 8), (5, 7, 30)])
def test_frechet_against_matrix_roots(n1, n2, dim):
    """tr (S1 S2)^1/2 from the eigenvalues of S1 S2; also where there are fewer images than dimensions."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(n1, dim)), rng.normal(size=(n2, dim)) @ rng.normal(size=(dim, dim)) + 1
    covariances = [np.cov(x, rowvar=False) for x in (first, second)]
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
    expected = np.square(first.mean(axis=0) - second.mean(axis=0)).sum() + sum(map(np.trace, covariances)) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(first, first + 3) == pytest.approx(9 * dim)


def test_kernel_as_the_equation_says():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)) + 1
    scale = np.mean([x @ x for x in (*first, *second)])
    kernel = lambda a, b: (a @ b / scale + 1) ** 3  # noqa: E731
    own = [np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in (first, second)]
    across = np.mean([kernel(a, b) for a in first for b in second])
    assert kernel_distance(first, second) == pytest.approx(sum(own) - 2 * across)
    assert kernel_distance(10 * first, 10 * second) == pytest.approx(kernel_distance(first, second))


def test_kernel_is_unbiased_and_frechet_is_not():
    """Many small samples of one distribution: the kernel distance averages to 0, the other cannot."""
    rng = np.random.default_rng(3)
    pairs = [rng.normal(size=(2, 10, 16)) for _ in range(300)]
    kernels = [kernel_distance(*pair) for pair in pairs]
    assert abs(np.mean(kernels)) < 3 * np.std(kernels) / np.sqrt(len(kernels))
    assert min(frechet_distance(*pair) for pair in pairs) > 1


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("shapes", [((1, 2), (3, 2)), ((3, 2), (3, 4)), ((3,), (3,))])
def test_they_refuse_what_does_not_fit(distance, shapes):
    with pytest.raises(ValueError, match=r"expected \(n, D\) with one D, n at least 2"):
        distance(*map(np.ones, shapes))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_nothing_but_zeros(distance):
    assert distance(np.zeros((3, 2)), np.zeros((4, 2))) == 0
