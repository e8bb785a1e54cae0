"""Losses by plain Python loops over lists."""

import math
from collections.abc import Sequence
from typing import NamedTuple

Grid = Sequence[Sequence[float]]  # C x P, or K x P, of one sequence


class Triplet(NamedTuple):
    loss: float
    hard_loss: float
    loss_num: float
    mean_dist: float


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def triplet(embeddings: Sequence[Grid], labels: Sequence[int], margin: float, exclude_self: bool = False) -> Triplet:
    """Loop over every anchor, positive and negative of every part."""
    count, channels, parts = len(labels), len(embeddings[0]), len(embeddings[0][0])
    losses, hards, numbers, distances = [], [], [], []
    for p in range(parts):

        def distance(i: int, j: int, p: int = p) -> float:
            return math.sqrt(sum((embeddings[i][c][p] - embeddings[j][c][p]) ** 2 for c in range(channels)))

        violations = []
        for a in range(count):
            positives = [i for i in range(count) if labels[i] == labels[a] and not (exclude_self and i == a)]
            negatives = [i for i in range(count) if labels[i] != labels[a]]
            for i in positives:
                for j in negatives:
                    violations.append(max(0.0, distance(a, i) - distance(a, j) + margin))
            hard = 0.0
            if positives and negatives:
                farthest, nearest = max(distance(a, i) for i in positives), min(distance(a, j) for j in negatives)
                hard = max(0.0, farthest - nearest + margin)
            hards.append(hard)
        violated = [v for v in violations if v > 0]
        losses.append(mean(violated))
        numbers.append(float(len(violated)))
        distances += [distance(i, j) for i in range(count) for j in range(count)]
    return Triplet(mean(losses), mean(hards), mean(numbers), mean(distances))


def cross_entropy(logits: Sequence[Grid], labels: Sequence[int], scale: float, eps: float) -> float:
    """Cross entropy with a target of 1 - eps for the label plus eps spread evenly over all classes."""
    terms = []
    for grid, label in zip(logits, labels, strict=True):
        classes, parts = len(grid), len(grid[0])
        for p in range(parts):
            scaled = [scale * grid[k][p] for k in range(classes)]
            largest = max(scaled)
            norm = largest + math.log(sum(math.exp(v - largest) for v in scaled))
            for k in range(classes):
                target = eps / classes + (1 - eps if k == label else 0)
                terms.append(-target * (scaled[k] - norm))
    return sum(terms) / (len(labels) * len(logits[0][0]))


def accuracy(logits: Sequence[Grid], labels: Sequence[int]) -> float:
    correct = []
    for grid, label in zip(logits, labels, strict=True):
        for p in range(len(grid[0])):
            column = [grid[k][p] for k in range(len(grid))]
            correct.append(float(column.index(max(column)) == label))
    return mean(correct)


def binary_cross_entropy(maps: Sequence[Sequence[float]], masks: Sequence[Sequence[int]], eps: float) -> list[float]:
    """Return the term of every pixel of N maps."""
    return [
        -math.log((p if mask else 1 - p) + eps)
        for pixels, mask_pixels in zip(maps, masks, strict=True)
        for p, mask in zip(pixels, mask_pixels, strict=True)
    ]


def mean_iou(maps: Sequence[Sequence[float]], masks: Sequence[Sequence[int]]) -> float:
    shares = []
    for pixels, mask_pixels in zip(maps, masks, strict=True):
        predicted = {i for i, p in enumerate(pixels) if p > 0.5}
        expected = {i for i, mask in enumerate(mask_pixels) if mask}
        shares.append(len(predicted & expected) / len(predicted | expected) if predicted | expected else 0.0)
    return mean(shares)


def contrastive(
    walks: Sequence[Sequence[Sequence[float]]],
    labels: Sequence[int],
    temperature: float,
    base_temperature: float,
    only_first: bool = False,
    reduce_zero: bool = False,
    p: float | None = None,
) -> float:
    """The supervised contrastive loss of N sequences, V views of each, C values of a view."""

    def norm(values: Sequence[float]) -> float:
        return float(sum(abs(v) ** p for v in values) ** (1 / p))

    def normal(values: Sequence[float]) -> list[float]:
        return list(values) if p is None else [v / norm(values) for v in values]

    def similarity(a: Sequence[float], b: Sequence[float]) -> float:
        if p is None:
            return sum(x * y for x, y in zip(a, b, strict=True))
        return -norm([x - y for x, y in zip(a, b, strict=True)])

    views = [(n, v, normal(view)) for n, walk in enumerate(walks) for v, view in enumerate(walk)]
    terms = []
    for n, v, anchor in views:
        if only_first and v:
            continue
        others = [(m, similarity(anchor, view) / temperature) for m, w, view in views if (m, w) != (n, v)]
        largest = max(s for _, s in others)
        log_sum = largest + math.log(sum(math.exp(s - largest) for _, s in others))
        terms.append(-mean([s - log_sum for m, s in others if labels[m] == labels[n]]) * temperature / base_temperature)
    return mean([t for t in terms if t > 0] if reduce_zero else terms)
