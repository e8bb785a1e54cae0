"""Pooling and heads by plain Python loops over lists."""

import math
from collections.abc import Callable, Sequence

Grid = Sequence[Sequence[float]]


def generalised_mean(values: Sequence[float], p: float, eps: float = 1e-6) -> float:
    return (sum(max(v, eps) ** p for v in values) / len(values)) ** (1 / p)


def strips(image: Grid, bins: Sequence[int], pool: Callable[[list[float]], float]) -> list[float]:
    """Return the pooled value of every strip of rows of an H x W image, for each number of strips in turn."""
    pooled = []
    for count in bins:
        rows = len(image) // count
        for strip in range(count):
            lines = image[strip * rows : (strip + 1) * rows]
            pooled.append(pool([v for line in lines for v in line]))
    return pooled


def separate_fcs(features: Grid, matrices: Sequence[Grid]) -> list[list[float]]:
    """Map (C_in, P) features by (P, C_in, C_out) matrices to (C_out, P)."""
    channels, parts, out = len(features), len(matrices), len(matrices[0][0])
    return [
        [sum(features[c][p] * matrices[p][c][o] for c in range(channels)) for p in range(parts)] for o in range(out)
    ]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms
