"""Evaluation by plain Python loops over lists, to compare `dygait.evaluation` with."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

Vector = Sequence[Sequence[float]]  # C lists of P numbers


def distance(x: Vector, y: Vector, metric: str) -> float:
    channels, parts = len(x), len(x[0])
    total = 0.0
    for p in range(parts):
        a = [float(x[c][p]) for c in range(channels)]
        b = [float(y[c][p]) for c in range(channels)]
        if metric == "euc":
            total += math.sqrt(sum((i - j) ** 2 for i, j in zip(a, b, strict=True)))
        else:
            norms = math.sqrt(sum(i * i for i in a)) * math.sqrt(sum(i * i for i in b))
            total += sum(i * j for i, j in zip(a, b, strict=True)) / norms if norms else 0.0
    mean = total / parts
    # Rounded to float32 like the distances of the package, so that the same ones are equal.
    return float(np.float32(mean if metric == "euc" else 1 - mean))


def ranked_matches(distances: Sequence[float], matches: Sequence[bool], excluded: Sequence[bool]) -> list[bool]:
    """Return whether each considered gallery sequence matches a probe, nearest first, ties in the gallery's order."""
    considered = [g for g in range(len(distances)) if not excluded[g]]
    considered.sort(key=lambda g: (distances[g], g))
    return [bool(matches[g]) for g in considered]


def rank_k(ranked: list[bool], k: int) -> float | None:
    return None if not any(ranked) else float(any(ranked[:k]))


def average_precision(ranked: list[bool]) -> float | None:
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked)) if ranked[i]]
    return sum(precisions) / len(precisions) if precisions else None


def inverse_negative_penalty(ranked: list[bool]) -> float | None:
    if not any(ranked):
        return None
    last = max(i + 1 for i in range(len(ranked)) if ranked[i])
    return sum(ranked) / last


def chance(ranked: list[bool]) -> float | None:
    return sum(ranked) / len(ranked) if any(ranked) else None


MEASURES: dict[str, Callable[[list[bool]], float | None]] = {
    **{f"rank-{k}": (lambda ranked, k=k: rank_k(ranked, k)) for k in (1, 2, 3, 5, 10, 20)},
    "mAP": average_precision,
    "mINP": inverse_negative_penalty,
    "chance": chance,
}


def rates(genuine: Sequence[float], impostor: Sequence[float], threshold: float) -> tuple[float, float]:
    """Return FAR and TAR of accepting distances up to the threshold."""
    return sum(d <= threshold for d in impostor) / len(impostor), sum(d <= threshold for d in genuine) / len(genuine)


def operating_points(genuine: Sequence[float], impostor: Sequence[float]) -> list[tuple[float, float]]:
    return [rates(genuine, impostor, t) for t in [-math.inf, *sorted({*genuine, *impostor})]]


def auc(genuine: Sequence[float], impostor: Sequence[float]) -> float:
    wins = [1.0 if g < i else 0.5 if g == i else 0.0 for g in genuine for i in impostor]
    return sum(wins) / len(wins)


def eer(genuine: Sequence[float], impostor: Sequence[float]) -> float:
    """Return FAR where the polygon of the operating points meets FAR = 1 - TAR, by bisection."""
    points = operating_points(genuine, impostor)
    for (far, tar), (next_far, next_tar) in pairwise(points):
        if far <= 1 - tar and next_far >= 1 - next_tar:
            low, high = 0.0, 1.0
            for _ in range(60):
                share = (low + high) / 2
                if far + share * (next_far - far) < 1 - (tar + share * (next_tar - tar)):
                    low = share
                else:
                    high = share
            return far + low * (next_far - far)
    raise AssertionError("the polygon ends at FAR = TAR = 1")


def tar_at_far(genuine: Sequence[float], impostor: Sequence[float], limit: float) -> float:
    if len(impostor) * limit < 1 - 1e-9:
        return math.nan
    return max(tar for far, tar in operating_points(genuine, impostor) if far <= limit + 1e-12)


def dir_at_fpir(match: Sequence[float], other: Sequence[float], correct: Sequence[bool], limit: float) -> float:
    """Try every distance, and one value between each two, as the threshold."""
    mated = [m for m in range(len(match)) if not math.isinf(match[m])]
    if len(other) * limit < 1 - 1e-9 or not mated:
        return math.nan
    finite = sorted({d for d in (*match, *other) if not math.isinf(d)})
    best = 0.0
    for threshold in [-math.inf, *finite, *((a + b) / 2 for a, b in pairwise(finite))]:
        alarms = sum(d <= threshold for d in other) / len(other)
        if alarms <= limit + 1e-12:
            best = max(best, sum(correct[m] and match[m] <= threshold for m in mated) / len(mated))
    return best


def reranked(distances: Sequence[Sequence[float]], probes: int, k1: int, k2: int, weight: float) -> list[list[float]]:
    """Re-rank N x N distances by k-reciprocal encoding, as in the paper; returns probes x the rest."""
    total = range(len(distances))
    normed = [[d / (max(row) or 1) for d in row] for row in distances]
    order = [sorted(total, key=lambda j, i=i: (j != i, distances[i][j], j)) for i in total]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encoded = []
    for i in total:
        first = reciprocal(i, k1)
        members = set(first)
        for c in first:
            more = reciprocal(c, round(k1 / 2))
            if len(more & first) > 2 / 3 * len(more):
                members |= more
        row = [math.exp(-normed[i][j]) if j in members else 0.0 for j in total]
        encoded.append([v / sum(row) for v in row])
    if k2 > 1:
        encoded = [[sum(encoded[n][j] for n in order[i][:k2]) / len(order[i][:k2]) for j in total] for i in total]
    result = []
    for i in range(probes):
        row = []
        for g in range(probes, len(distances)):
            shared = sum(min(encoded[i][j], encoded[g][j]) for j in total)
            row.append((1 - weight) * (1 - shared / (2 - shared)) + weight * normed[i][g])
        result.append(row)
    return result
