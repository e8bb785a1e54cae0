"""Verification of pairs of sequences by their distance: ROC, AUC, EER, TAR at FAR.

A pair is accepted at a threshold if its distance is at most the threshold. FAR is the share of impostor pairs (two
subjects) that are accepted, TAR the share of genuine pairs (one subject). Without genuine or without impostor pairs the
curve has no points, and every rate is NaN.

Letters: A genuine pairs, B impostor pairs, T thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
"""The false accept rates at which TAR is reported."""


class Roc(NamedTuple):
    """A receiver operating characteristic, from no pair accepted to all accepted.

    Points inside a horizontal or vertical segment are dropped; no rate depends on them.
    """

    far: np.ndarray  # (T,) false accept rates, rising from 0 to 1
    tar: np.ndarray  # (T,) true accept rates, rising from 0 to 1
    thresholds: np.ndarray  # (T,) thresholds of the distance; the first is -inf


@dataclass(frozen=True)
class Verification:
    """Verification rates of the pairs of a probe group, in 0..1."""

    genuine: int  # number of genuine pairs
    impostor: int  # number of impostor pairs
    auc: float  # area under the ROC
    eer: float  # equal error rate
    tar_at_far: dict[float, float]  # FAR -> TAR; NaN if there are too few impostor pairs to resolve the rate
    roc: Roc

    @property
    def rates(self) -> dict[str, float]:
        """The rates by their names, in percent."""
        tar = {f"TAR@FAR={far:g}": 100 * rate for far, rate in self.tar_at_far.items()}
        return {"AUC": 100 * self.auc, "EER": 100 * self.eer, **tar}


class PairDistances:
    """The distances of pairs, stored as distinct values with counts, so that memory is bounded.

    There are 2²³ float32 values for each factor of two between the smallest and the largest distance. They take at most
    20 bytes each (170 MB for each factor of two), three times as much while the buffer is merged. The buffer takes 4
    bytes for each distance: 64 MB, or as many distances as there are distinct values.
    """

    _BUFFER_SIZE = 2**24
    """Number of buffered distances above which they are merged."""

    def __init__(self) -> None:
        self._values = np.empty(0, dtype=np.float32)
        self._counts = np.empty((2, 0), dtype=np.int64)
        self._pending: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._size = 0

    def add(self, genuine: np.ndarray, impostor: np.ndarray) -> None:
        """Add float32 distances, (A,) and (B,)."""
        for pending, distances in zip(self._pending, (genuine, impostor), strict=True):
            if len(distances):
                pending.append(distances)
                self._size += len(distances)
        if self._size > max(self._BUFFER_SIZE, len(self._values)):
            self._merge()

    def verification(self, fars: Sequence[float] = FARS) -> Verification:
        """Return the exact verification rates, ties included.

        `tar_at_far` is the largest TAR of a threshold whose FAR is not larger, without interpolation; NaN with fewer
        than 1 / FAR impostor pairs.
        """
        self._merge()
        genuine, impostor = self._counts.sum(1).tolist()
        if not genuine or not impostor:
            empty = Roc(np.empty(0), np.empty(0), np.empty(0))
            return Verification(genuine, impostor, math.nan, math.nan, dict.fromkeys(fars, math.nan), empty)
        curve = _roc(self._values, self._counts)
        return Verification(genuine, impostor, _auc(curve), _eer(curve), _tar_at_far(curve, impostor, fars), curve)

    def histogram(self, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (bins + 1,) edges from the smallest to the largest distance, and (2, bins) numbers of pairs."""
        self._merge()
        low, high = self._values[[0, -1]].tolist()
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        return edges, np.stack([np.histogram(self._values, edges, weights=counts)[0] for counts in self._counts])

    def _merge(self) -> None:
        if not self._size:
            return
        parts = [np.concatenate([np.empty(0, dtype=np.float32), *pending]) for pending in self._pending]
        unique = [np.unique(part, return_counts=True) for part in parts]
        values = np.unique(np.concatenate([self._values, *(distinct for distinct, _ in unique)]))
        counts = np.zeros((2, len(values)), dtype=np.int64)
        counts[:, np.searchsorted(values, self._values)] = self._counts
        for row, (distinct, numbers) in zip(counts, unique, strict=True):
            row[np.searchsorted(values, distinct)] += numbers
        self._values, self._counts = values, counts
        self._pending, self._size = ([], []), 0


def _roc(values: np.ndarray, counts: np.ndarray) -> Roc:
    """Return the ROC of ascending distinct distances and their counts of genuine and impostor pairs, (2, .)."""
    # A point is inside a horizontal (vertical) segment if TAR (FAR) changes neither before nor after it.
    zero = counts == 0
    keep = np.append(~(zero[:, :-1] & zero[:, 1:]).any(0), True)
    tar, far = (np.append(0.0, np.cumsum(row)[keep] / row.sum()) for row in counts)
    return Roc(far, tar, np.append(-np.inf, values[keep].astype(np.float64)))


def _auc(curve: Roc) -> float:
    """Return the probability that a genuine pair is nearer than an impostor pair; ties count half."""
    return float((np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])).sum() / 2)


def _eer(curve: Roc) -> float:
    """Return the FAR at which FAR = 1 - TAR, by linear interpolation of the curve."""
    excess = curve.far - (1 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def _tar_at_far(curve: Roc, impostor: int, fars: Sequence[float]) -> dict[float, float]:
    rates = {}
    for far in fars:
        allowed = most_allowed(far, impostor)
        # Numbers of pairs are compared instead of rates, with a margin of half a pair against rounding.
        rates[far] = float(curve.tar[curve.far * impostor <= allowed + 0.5].max()) if allowed else math.nan
    return rates


def most_allowed(rate: float, count: int) -> int:
    """Return the largest number of trials within a rate: 1e-4 of 10,000 is 1, whatever the rounding."""
    return math.floor(count * rate / (1 - 1e-9))
