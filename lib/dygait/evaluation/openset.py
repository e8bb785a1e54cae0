"""Open-set identification: who is it, and is it anyone in the gallery at all?

A search answers with the nearest gallery subject if its distance is at most a threshold, else with nobody (watch-list
identification: ISO/IEC 19795-1; NIST FRVT 1:N). At each threshold

* DIR, the detection and identification rate (1 - FNIR at rank 1), is the share of *mated* searches, whose subject is in
  the gallery, that are answered with the right subject;
* FPIR, the false-positive identification rate, is the share of *non-mated* searches, whose subject is not in the
  gallery, that are answered with anyone.

A closed-set protocol has no probe whose subject is not in the gallery. Every probe is therefore searched twice: with
the whole gallery (mated, if it has a true match there) and with its own subject taken out of the gallery (non-mated).
This needs no random split of the subjects, and uses every probe in both rates. Of a search two distances matter only:
that of the nearest true match, and that of the nearest other subject, who would be the answer without the true matches.

Letters: M searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FPIRS = (1e-1, 1e-2)
"""The false-positive identification rates at which DIR is reported."""

_RESOLVED = 1 - 1e-9  # 1e-2 of 100 searches is one search, whatever the rounding


@dataclass(frozen=True)
class OpenSet:
    """What the searches of a probe group tell; rates in 0..1.

    Attributes:
        mated: the number of mated searches.
        non_mated: the number of non-mated searches.
        dir_at_fpir: FPIR -> DIR; NaN where there are too few searches to tell.
    """

    mated: int
    non_mated: int
    dir_at_fpir: dict[float, float]


def identify(
    nearest_match: np.ndarray, nearest_other: np.ndarray, correct: np.ndarray, fpirs: Sequence[float] = FPIRS
) -> OpenSet:
    """Return the largest DIR of a threshold whose FPIR is not larger, for each FPIR, and the numbers of searches.

    With fewer than 1 / FPIR searches, or without a mated one, the rate cannot be resolved: NaN.

    Args:
        nearest_match: (M,) distances of the nearest true match; NaN or inf where there is none, and then the search is
            not mated.
        nearest_other: (M,) distances of the nearest gallery sequence of another subject; NaN or inf where there is
            none: the search with the own subject taken out finds nobody at any threshold.
        correct: (M,) bool, whether the nearest gallery sequence is a true match: ``nearest_match < nearest_other``, or
            the two tie and the true match comes first in the gallery.
        fpirs: the rates.
    """
    match = np.asarray(nearest_match, dtype=np.float64)
    other = np.asarray(nearest_other, dtype=np.float64)
    mated = np.isfinite(match)
    hits = match[mated & np.asarray(correct, dtype=bool)]
    alarms = np.sort(np.where(np.isfinite(other), other, np.inf))
    found = {}
    for fpir in fpirs:
        allowed = int(np.floor(len(alarms) * fpir / _RESOLVED))
        if allowed < 1 or not mated.any():
            found[fpir] = float("nan")
            continue
        # Up to just below the first false alarm too many: no threshold with at most so many accepts more.
        limit = alarms[allowed] if allowed < len(alarms) else np.inf
        found[fpir] = float((hits < limit).sum() / mated.sum())
    return OpenSet(int(mated.sum()), len(alarms), found)
