"""Calibration: the threshold at a given false-positive identification rate (FPIR), from a labelled dataset.

Somebody who is not enrolled is about as far from the second nearest person as from the nearest. So a track is known or
unknown by its *ratio*: the distance to the nearest person over that to the second nearest, as in the ratio test for
image features (Lowe, *Distinctive Image Features from Scale-Invariant Keypoints*, IJCV 2004). A camera or a coat that
makes all distances larger changes the ratio little, so a threshold of ratios transfers to other people better than one
of distances. A gallery of one person has no second nearest: there the distance itself is compared.

Some sequences of each person are enrolled, and the others are searched, both in the whole gallery and in the gallery
without their own person, as in `dygait.evaluation.openset`. Rates depend on the size of the gallery: the rate for n
people is the mean over all choices of n of the calibration's people, in closed form.

Letters: M searches, N other people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from dygait.errors import UserError
from dygait.evaluation.intervals import bootstrap, interval
from dygait.files import write_errors
from dygait.identification.folder import GallerySettings, read_tensors, write_tensors

_RESAMPLES = 1000
_HALVINGS = 20  # of the range of ratios, for a threshold to 1e-6


class Rate(NamedTuple):
    """A rate in 0..1 and its 95 % confidence interval, by the bootstrap over the calibration's people."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """The distances of the searches of a calibration.

    Attributes:
        match: (M,) float32, the distance to the same person.
        other: (M, N) float32, the distances to all other people, ascending.
        subjects: (M,) int64, the person of each search.
        source: a description of the labelled dataset.
        fpir: the target false-positive identification rate.
    """

    match: np.ndarray
    other: np.ndarray
    subjects: np.ndarray
    source: str
    fpir: float
    _thresholds: dict[tuple[int, float], float] = field(default_factory=dict, init=False, repr=False)

    def false_positive_rate(self, ratio: float, people: int) -> Rate:
        """Return the rate at which people who are not enrolled have at most this ratio in a gallery of `people` people.

        For a gallery of one person, `ratio` is the distance, here and below. `people` is clamped to N.
        """
        return _rate(self._false_positives(ratio, people), self.subjects)

    def identification_rate(self, threshold: float, people: int) -> Rate:
        """Return the rate at which enrolled people are nearest to themselves and within the threshold.

        `people` must not exceed the number of people in the calibration.
        """
        if people == 1:
            return _rate((self.match <= threshold).astype(float), self.subjects)
        nearer = (threshold * self.other < self.match[:, None]).sum(1)
        total = self.other.shape[1]
        return _rate(_binomial_ratio(total - nearer, people - 1, total, people - 1), self.subjects)

    def threshold(self, people: int, fpir: float | None = None) -> float:
        """Return the largest ratio whose false-positive identification rate is at most `fpir`.

        Raises:
            UserError: there are too few searches to measure such a rate.
        """
        fpir = self.fpir if fpir is None else fpir
        check_resolved(fpir, len(self.match))
        if (people, fpir) not in self._thresholds:
            largest = self._largest_ratio(people, fpir, lambda r: float(self._false_positives(r, people).mean()))
            self._thresholds[people, fpir] = largest
        return self._thresholds[people, fpir]

    def threshold_interval(self, people: int) -> tuple[float, float]:
        """Return the 95 % confidence interval of the threshold."""
        # Rates increase with the ratio in every resample, so quantiles of thresholds follow from quantiles of rates.
        low = self._largest_ratio(people, self.fpir, lambda ratio: self.false_positive_rate(ratio, people).high)
        high = self._largest_ratio(people, self.fpir, lambda ratio: self.false_positive_rate(ratio, people).low)
        return low, high

    def _false_positives(self, ratio: float, people: int) -> np.ndarray:
        """Return the probability (M,) that each search has at most this ratio among `people` other people."""
        total = self.other.shape[1]
        if people == 1:
            return (self.other <= ratio).mean(1)
        people = min(people, total)
        # If the nearest of the chosen people is other[m, i], the rest must be at least other[m, i] / ratio away.
        nearer = np.stack([np.searchsorted(ratio * row, row) for row in self.other])
        far = total - np.maximum(nearer, np.arange(1, total + 1))
        return _binomial_ratio(far, people - 1, total, people).sum(1)

    def _largest_ratio(self, people: int, target: float, rate: Callable[[float], float]) -> float:
        """Return the largest ratio at which a rate, which increases with the ratio, is at most `target`."""
        low, high = 0.0, float(self.other.max()) if people == 1 else 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if rate(middle) > target * (1 + 1e-9) else (middle, high)
        return low

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
            UserError: it is damaged, or was made with other weights.
        """
        if not path.exists():
            return None
        tensors, texts = read_tensors(path, verify=True)
        if texts.get("weights") != settings.identity:
            raise UserError(f"{path} was made with other weights than the gallery: run `dygait calibrate` again")
        return cls(tensors["match"], tensors["other"], tensors["subjects"], texts["source"], float(texts["fpir"]))


def check_resolved(fpir: float, searches: int) -> None:
    """Raise a UserError unless a rate is between 0 and 1 and can be measured with this number of searches."""
    if not 0 < fpir < 1:
        raise UserError(f"--fpir {fpir:g}: give a rate between 0 and 1, such as 0.01")
    if searches * fpir < 1:
        raise UserError(
            f"--fpir {fpir:g}: the calibration has {searches} searches, and {int(np.ceil(1 / fpir))} are needed: "
            "calibrate on more sequences, or choose a higher rate"
        )


def _rate(scores: np.ndarray, subjects: np.ndarray) -> Rate:
    if not scores.any():  # every resample is 0 too: the exact bound of the binomial distribution
        return Rate(0.0, 0.0, 1 - 0.025 ** (1 / len(scores)))
    low, high = interval(bootstrap(scores[:, None], subjects, _RESAMPLES)) or (np.nan, np.nan)
    return Rate(float(scores.mean()), low, high)


def _binomial_ratio(available: np.ndarray, chosen: int, total: int, people: int) -> np.ndarray:
    """Return the binomial coefficient of (available, chosen) divided by that of (total, people)."""
    logarithm = _log_binomial(np.maximum(available, chosen), chosen) - _log_binomial(np.array(total), people)
    return np.where(available >= chosen, np.exp(logarithm), 0.0)


def _log_binomial(total: np.ndarray, chosen: int) -> np.ndarray:
    logarithm: np.ndarray = gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
    return logarithm
