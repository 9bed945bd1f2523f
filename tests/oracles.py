"""Losses written out row by row from their definitions, in Python's floats: what the ones in torch must come to.

Rows are (N, D) tensors, labels (N,) tensors or lists.
"""

import math


def distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(max(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)), 1e-12))


def triplet(rows, labels, margin: float, *, soft: bool = False, anchors=None) -> float:
    """Batch-hard triplet loss, a mean over the anchors (N,), or over all rows; soft: of log(1 + exp(gap)), with no margin."""
    x, y = rows.tolist(), [int(label) for label in labels]
    terms = []
    for a in range(len(y)):
        if anchors is not None and not anchors[a]:
            continue
        hardest_positive = max(distance(x[a], x[p]) for p in range(len(y)) if y[p] == y[a])
        hardest_negative = min(distance(x[a], x[n]) for n in range(len(y)) if y[n] != y[a])
        gap = hardest_positive - hardest_negative
        terms.append(math.log1p(math.exp(gap)) if soft else max(0.0, margin + gap))
    return sum(terms) / len(terms)


def contrastive(rows, labels, margin: float) -> float:
    """Mean over pairs: the squared distance of a positive one, the squared lack of the margin of a negative one."""
    x, y = rows.tolist(), [int(label) for label in labels]
    terms = []
    for i in range(len(y)):
        for j in range(i + 1, len(y)):
            d = distance(x[i], x[j])
            terms.append(d**2 if y[i] == y[j] else max(0.0, margin - d) ** 2)
    return sum(terms) / len(terms)


def mmd(a, b, sigmas: tuple[float, ...] = (1, 2, 10)) -> float:
    """Root of the squared MMD under a sum of Gaussians of these deviations, a row's pair with itself included."""

    def kernel(x, y):
        pairs = [sum((u - v) ** 2 for u, v in zip(r, s, strict=True)) for r in x.tolist() for s in y.tolist()]
        return sum(sum(math.exp(-d / (2 * sigma**2)) for sigma in sigmas) for d in pairs) / len(pairs)

    return math.sqrt(max(0.0, kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)))


def difference(shared, private) -> float:
    """||C^T P||_F^2 / D^2 of rows of length 1, the D x D matrix written out."""

    def unit(row):
        norm = math.sqrt(sum(v * v for v in row))
        return [v / norm for v in row]

    c, p = [unit(r) for r in shared.tolist()], [unit(r) for r in private.tolist()]
    dim = len(c[0])
    product = [[sum(c[n][a] * p[n][b] for n in range(len(c))) for b in range(dim)] for a in range(dim)]
    return sum(v * v for row in product for v in row) / dim**2
