"""Open-set identification, where the subject of a probe need not be in the gallery (ISO/IEC 19795-1; NIST FRVT 1:N).

A search returns the nearest gallery subject if its distance is at most a threshold, else none. Every probe is searched
twice: in the whole gallery (*mated*, if it has a true match there) and in the gallery without its own subject
(*non-mated*). DIR is the share of mated searches that return the right subject, FPIR the share of non-mated searches
that return any. Both depend on the distances of the nearest true match and of the nearest other subject only.

Letters: M searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dygait.evaluation.verification import most_allowed

FPIRS = (1e-1, 1e-2)
"""The false-positive identification rates at which DIR is reported."""


@dataclass(frozen=True)
class OpenSet:
    """Open-set identification rates of a probe group, in 0..1."""

    mated: int  # number of mated searches
    non_mated: int  # number of non-mated searches
    dir_at_fpir: dict[float, float]  # FPIR -> DIR; NaN if there are too few searches to resolve the rate

    @property
    def rates(self) -> dict[str, float]:
        """The rates by their names, in percent."""
        return {f"DIR@FPIR={fpir:g}": 100 * rate for fpir, rate in self.dir_at_fpir.items()}


def identify(match: np.ndarray, other: np.ndarray, correct: np.ndarray, fpirs: Sequence[float] = FPIRS) -> OpenSet:
    """Return for each FPIR the largest DIR of a threshold whose FPIR is not larger, and the numbers of searches.

    With fewer than 1 / FPIR searches, or without a mated search, the rate is NaN.

    Args:
        match: (M,) distances of the nearest true match; inf without one: the search is not mated.
        other: (M,) distances of the nearest gallery sequence of another subject; inf without one: the non-mated search
            returns none at any threshold.
        correct: (M,) bool, whether the nearest gallery sequence is a true match: ``match < other``, or the two tie and
            the true match comes first in the gallery.
    """
    mated = np.isfinite(match)
    # The infinite entry leaves the threshold unbounded if all searches may raise a false alarm.
    hits, alarms = match[mated & correct], np.append(np.sort(other), np.inf)
    rates = {}
    for fpir in fpirs:
        allowed = most_allowed(fpir, len(other))
        # The threshold lies just below the first excess false alarm, which gives the largest DIR.
        limit = alarms[min(allowed, len(other))]
        rates[fpir] = float((hits < limit).sum() / mated.sum()) if allowed and mated.any() else float("nan")
    return OpenSet(int(mated.sum()), len(other), rates)
