"""Calibration: the threshold at a wanted false-positive identification rate, from a labelled dataset.

Some sequences of every person are enrolled, the others searched, each also in the gallery without its own person, as
`dygait.evaluation.openset` does. A larger gallery has more people to be confused with, so a threshold is that of a
number of people: all rates are means over every choice of so many people from the calibration's, in closed form.

Letters: M searches, N other people.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from dygait.errors import UserError
from dygait.evaluation.intervals import bootstrap, interval
from dygait.files import write_errors
from dygait.identification.folder import GallerySettings, read_tensors, write_tensors

_RESAMPLES = 1000


class Rate(NamedTuple):
    """A rate in 0..1 and its 95 % interval, by the bootstrap over the calibration's people."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """The distances of the searches of a calibration.

    Attributes:
        match: (M,) float32, to the own person.
        other: (M, N) float32, to all other people, ascending.
        subjects: (M,) int64, whose search it is.
        source: the labelled dataset, in words.
        fpir: the false-positive identification rate that was wanted.
    """

    match: np.ndarray
    other: np.ndarray
    subjects: np.ndarray
    source: str
    fpir: float

    def false_positive_rate(self, distance: float, people: int) -> Rate:
        """Return how often somebody who is not enrolled is at most at this distance from one of so many people."""
        found = _rate(self._false_positives(distance, people), self.subjects)
        return Rate(*(self._extrapolated(rate, people) for rate in found))

    def identification_rate(self, threshold: float, people: int) -> Rate:
        """Return how often somebody of so many enrolled people is nearest to its own, and within the threshold.

        There must be no more people than in the calibration.
        """
        nearer = (self.other < self.match[:, None]).sum(1)
        first = _probability_of_none(nearer, self.other.shape[1], people - 1)
        return _rate(np.where(self.match <= threshold, first, 0.0), self.subjects)

    def threshold(self, people: int, fpir: float | None = None) -> float:
        """Return the largest distance whose false-positive identification rate is at most the wanted one.

        Raises:
            UserError: there are too few searches to resolve the rate.
        """
        wanted = self.fpir if fpir is None else fpir
        check_resolved(wanted, len(self.match))

        def rate(distance: float) -> float:
            return self._extrapolated(float(self._false_positives(distance, people).mean()), people)

        return self._largest(rate, wanted)

    def threshold_interval(self, people: int) -> tuple[float, float]:
        """Return the 95 % interval of the threshold; the rate at its lower end is below the wanted one in 97.5 %."""
        # Rates rise with the distance in every resample, so that quantiles of thresholds are those of rates, inverted.
        low = self._largest(lambda distance: self.false_positive_rate(distance, people).high, self.fpir)
        high = self._largest(lambda distance: self.false_positive_rate(distance, people).low, self.fpir)
        return low, high

    def _false_positives(self, distance: float, people: int) -> np.ndarray:
        """Return the probability that a search finds one of so many others within a distance: (M,)."""
        others = self.other.shape[1]
        return 1 - _probability_of_none((self.other <= distance).sum(1), others, min(people, others))

    def _extrapolated(self, rate: float, people: int) -> float:
        """Return the rate of more people than there are: of several galleries, independent of each other."""
        return 1 - (1 - rate) ** max(people / self.other.shape[1], 1)

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return np.unique(self.other)

    def _largest(self, rate: Callable[[float], float], wanted: float) -> float:
        """Return the largest distance at which a rate, which rises with the distance, is at most the wanted one."""
        values = self._values
        first = bisect.bisect_right(values, wanted * (1 + 1e-9), key=lambda distance: rate(float(distance)))
        beyond = values[first] if first < len(values) else np.float32(np.inf)
        return float(np.nextafter(beyond, np.float32(-np.inf)))

    def save(self, path: Path, settings: GallerySettings) -> None:
        """Write the calibration of a gallery atomically; UserError if that fails."""
        tensors = {"match": self.match, "other": self.other, "subjects": self.subjects}
        texts = {"weights": settings.identity, "source": self.source, "fpir": repr(self.fpir)}
        with write_errors(path):
            write_tensors(path, tensors, texts)

    @classmethod
    def load(cls, path: Path, settings: GallerySettings) -> Calibration | None:
        """Read the calibration of a gallery; None if there is none.

        Raises:
            UserError: it is damaged, or that of other weights.
        """
        if not path.exists():
            return None
        tensors, texts = read_tensors(path, verify=True)
        if texts.get("weights") != settings.identity:
            raise UserError(f"{path} was made with other weights than the gallery: run `dygait calibrate` again")
        return cls(tensors["match"], tensors["other"], tensors["subjects"], texts["source"], float(texts["fpir"]))


def check_resolved(fpir: float, searches: int) -> None:
    """Raise a UserError unless a rate is between 0 and 1 and can be measured with so many searches."""
    if not 0 < fpir < 1:
        raise UserError(f"--fpir {fpir:g}: give a rate between 0 and 1, such as 0.01")
    if searches * fpir < 1:
        raise UserError(
            f"--fpir {fpir:g}: the calibration has {searches} searches, and {int(np.ceil(1 / fpir))} are needed: "
            "calibrate on more sequences, or choose a higher rate"
        )


def _rate(scores: np.ndarray, subjects: np.ndarray) -> Rate:
    if not scores.any():  # no resample has any; the exact bound of the binomial distribution
        return Rate(0.0, 0.0, 1 - 0.025 ** (1 / len(scores)))
    low, high = interval(bootstrap(scores[:, None], subjects, _RESAMPLES)) or (np.nan, np.nan)
    return Rate(float(scores.mean()), low, high)


def _probability_of_none(near: np.ndarray, total: int, people: int) -> np.ndarray:
    """Return the probability that a random choice of `people` of `total` misses all `near` ones: that of `near`."""
    left = total - near
    fits = left >= people
    left = np.where(fits, left, people)
    logarithm = gammaln(left + 1) - gammaln(left - people + 1) - gammaln(total + 1) + gammaln(total - people + 1)
    return np.where(fits, np.exp(logarithm), 0.0)
