"""Verification: are two sequences of one subject? Curves and rates of pairs' distances, smaller being more alike.

A pair is accepted at a threshold if its distance is at most the threshold, so that pairs of equal distance are accepted
together. At each threshold FAR is the share of impostor pairs (two subjects) that are accepted, and TAR the share of
genuine pairs (one subject) that are. Without a genuine or without an impostor pair there is no curve: no points, and
every rate is NaN.

Letters: A genuine pairs, B impostor pairs, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
"""The false accept rates at which TAR is reported."""

_RESOLVED = 1 - 1e-9  # 1e-4 of 10,000 pairs is one pair, whatever the rounding


class Roc(NamedTuple):
    """A receiver operating characteristic, from nothing accepted to everything accepted.

    Points in the middle of a level or an upright piece are left out; nothing that is computed depends on them.

    Attributes:
        far: (T,) false accept rates, rising from 0 to 1.
        tar: (T,) true accept rates, rising from 0 to 1.
        thresholds: (T,) distances up to which pairs are accepted; the first is -inf.
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class Verification:
    """What the genuine and the impostor pairs of a probe group tell; rates in 0..1.

    Attributes:
        genuine: the number of genuine pairs.
        impostor: the number of impostor pairs.
        auc: area under the ROC.
        eer: equal error rate.
        tar_at_far: false accept rate -> true accept rate; NaN where there are too few impostor pairs to tell.
        roc: the curve.
    """

    genuine: int
    impostor: int
    auc: float
    eer: float
    tar_at_far: dict[float, float]
    roc: Roc


class PairDistances:
    """The distances of any number of pairs, each different one kept once with its counts, so that memory stays bounded.

    Distances are float32, of which there are 2²³ in an octave. However many pairs there are, they take at most 20 bytes
    times that (170 MB) for each factor of two between the smallest and the largest distance, three times as much for a
    moment while new ones are sorted in, and 4 bytes for each that waits: 64 MB, or as many as are sorted already.
    """

    _BUFFER_SIZE = 2**24
    """Distances that are kept as they come before they are sorted in."""

    def __init__(self) -> None:
        self._values = np.empty(0, dtype=np.float32)
        self._counts = np.empty((2, 0), dtype=np.int64)
        self._pending: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._size = 0

    def add(self, genuine: np.ndarray, impostor: np.ndarray) -> None:
        """Add float32 distances, each (any number,)."""
        for pending, more in zip(self._pending, (genuine, impostor), strict=True):
            if len(more):
                pending.append(more)
                self._size += len(more)
        if self._size > max(self._BUFFER_SIZE, len(self._values)):
            self._merge()

    def verification(self, fars: Sequence[float] = FARS) -> Verification:
        """Return what the pairs tell, exact, ties included.

        Args:
            fars: false accept rates for `tar_at_far`; of a threshold whose FAR is not larger, the largest TAR, nothing
                interpolated. With fewer than 1 / FAR impostor pairs the rate cannot be resolved: NaN.
        """
        self._merge()
        genuine, impostor = (int(n) for n in self._counts.sum(1))
        curve = _roc(self._values, self._counts)
        rates = _tar_at_far(curve, impostor, fars)
        return Verification(genuine, impostor, _auc(curve), _eer(curve), rates, curve)

    def histogram(self, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges of bins from the smallest to the largest distance, and the pairs in each.

        Returns:
            (bins + 1,) edges, and (2, bins) numbers of genuine and of impostor pairs.
        """
        self._merge()
        low, high = self._values[[0, -1]].tolist()
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        return edges, np.stack([np.histogram(self._values, edges, weights=counts)[0] for counts in self._counts])

    def _merge(self) -> None:
        if not self._size:
            return
        parts = [np.concatenate([np.empty(0, dtype=np.float32), *pending]) for pending in self._pending]
        found = [np.unique(part, return_counts=True) for part in parts]
        values = np.unique(np.concatenate([self._values, *(different for different, _ in found)]))
        counts = np.zeros((2, len(values)), dtype=np.int64)
        counts[:, np.searchsorted(values, self._values)] = self._counts
        for row, (different, times) in zip(counts, found, strict=True):
            row[np.searchsorted(values, different)] += times
        self._values, self._counts = values, counts
        self._pending, self._size = ([], []), 0


def _roc(values: np.ndarray, counts: np.ndarray) -> Roc:
    """Return the curve of different distances, rising, and the numbers of genuine and impostor pairs at each (2, .)."""
    if not counts.sum(1).all():
        return Roc(np.empty(0), np.empty(0), np.empty(0))
    # Within a level or an upright piece, neither the step to a point nor that from it goes the other way.
    zero = counts == 0
    kept = np.append(~(zero[:, :-1] & zero[:, 1:]).any(0), True)
    tar, far = (np.append(0.0, np.cumsum(row)[kept] / row.sum()) for row in counts)
    return Roc(far, tar, np.append(-np.inf, values[kept].astype(np.float64)))


def _auc(curve: Roc) -> float:
    """Return the chance that a genuine pair is nearer than an impostor pair, ties half."""
    if not len(curve.far):
        return float("nan")
    return float((np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])).sum() / 2)


def _eer(curve: Roc) -> float:
    """Return the FAR at which FAR = 1 - TAR; the curve is straight between its points, which accepts by lot."""
    if not len(curve.far):
        return float("nan")
    excess = curve.far - (1 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def _tar_at_far(curve: Roc, impostor: int, fars: Sequence[float]) -> dict[float, float]:
    found = {}
    for far in fars:
        resolved = len(curve.far) > 0 and impostor * far >= _RESOLVED
        # Rates are compared as numbers of pairs: 0.1 of 30 is 3, whatever the rounding.
        allowed = np.floor(impostor * far / _RESOLVED) + 0.5
        found[far] = float(curve.tar[curve.far * impostor <= allowed].max()) if resolved else float("nan")
    return found
