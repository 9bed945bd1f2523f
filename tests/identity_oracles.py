"""The identity losses in float64, pair by pair, from their papers' equations: with acos, loops and no thought for speed."""

import math


def angle(x, w):
    """The angle between two rows."""
    return math.acos(max(-1.0, min(1.0, dot(x, w) / (norm(x) * norm(w)))))


def dot(x, w):
    return sum(a * b for a, b in zip(x, w, strict=True))


def norm(x):
    return math.sqrt(dot(x, x))


def cross_entropy(rows, labels, smoothing=0.0):
    """Mean of -sum_j q_j log softmax_j; q = (1 - e) one-hot + e / C."""
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        log_sum = math.log(sum(math.exp(v - max(row)) for v in row)) + max(row)
        for j, value in enumerate(row):
            q = (1 - smoothing) * (j == label) + smoothing / len(row)
            total -= q * (value - log_sum)
    return total / len(labels)


def with_margin(x, w, labels, true, negative=None, scale=None, smoothing=0.0):
    """-log softmax: true(theta, row) for the true class, negative(cos, true value) for others, times scale(row, class)."""
    negative = negative or (lambda cosine, value: cosine)
    rows = []
    for features, label in zip(x, labels, strict=True):
        value = true(angle(features, w[label]), features)
        row = [value if j == label else negative(math.cos(angle(features, w[j])), value) for j in range(len(w))]
        rows.append([scale(features, w[j]) * v for j, v in enumerate(row)])
    return cross_entropy(rows, labels, smoothing)


def additive_angle(theta, m):
    """ArcFace's, continued beyond pi - m by cos(theta) - m sin(m)."""
    return math.cos(theta + m) if theta < math.pi - m else math.cos(theta) - m * math.sin(m)


def psi(theta, m):
    k = min(int(theta * m / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def circle(x, w, labels, g, m):
    total = 0.0
    for features, label in zip(x, labels, strict=True):
        s = [math.cos(angle(features, row)) for row in w]
        a_p = max(0.0, 1 + m - s[label])
        positive = math.exp(-g * a_p * (s[label] - (1 - m)))
        negatives = sum(math.exp(g * max(0.0, s[j] + m) * (s[j] - m)) * positive for j in range(len(w)) if j != label)
        total += math.log(1 + negatives)
    return total / len(labels)


def center(x, centers, labels):
    return sum(
        sum((a - b) ** 2 for a, b in zip(f, centers[y], strict=True)) for f, y in zip(x, labels, strict=True)
    ) / (2 * len(labels))


def contrastive(x, labels, m):
    """Mean over pairs i < j of d^2 / 2 or max(0, m - d)^2 / 2."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
    total = 0.0
    for i, j in pairs:
        d = math.dist(x[i], x[j])
        total += d * d / 2 if labels[i] == labels[j] else max(0.0, m - d) ** 2 / 2
    return total / len(pairs)
