"""The distance of a track to a person, and the search for the nearest people in a gallery.

Both a track and a person are sets of windows, some of which are bad: occluded, badly segmented, of another view. The
distance of a window to a person is the mean of its `NEAREST` smallest distances to windows of that person, so that a
person may be enrolled in several views, and no single window decides. The distance of a track to a person is the mean
over the nearer half of the track's windows.

The search is exact. Float32 products give a lower bound of every distance between windows, with rounding errors taken
into account. The distances of people are computed in ascending order of their bounds, until no bound is below the
distances of the nearest people.

Letters: T windows of a track, G windows of a gallery, Q people, C channels, P parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dygait.errors import UserError
from dygait.evaluation import pairwise_distance

NEAREST = 3
"""Number of a person's windows, the nearest ones, over which the distance of a window is averaged."""
_PIECE = 2048  # gallery windows whose products are computed at a time, so that they stay in the cache
_FIRST = 16  # people whose distances are computed first; the number doubles with each step
_TRACKS = 256  # tracks whose distances are computed at a time
_UNIT = 2.0**-24  # the rounding error of float32
_SLACK = 1 - 1e-5
"""Accounts for the rounding errors of roots and means; those of the products are subtracted from the squares."""


class Candidate(NamedTuple):
    """A person of the gallery, and the distance of a track to the person."""

    name: str
    distance: float


def windows_to_people(distance: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the distances of T windows to Q people, from the distances to the windows of these people.

    Args:
        distance: (T, G).
        starts: (Q + 1,); the columns of person q, at least one, are `starts[q]` to `starts[q + 1]`.

    Returns:
        (T, Q) of the same type.
    """
    result = np.empty((len(distance), len(starts) - 1), distance.dtype)
    for person, (start, stop) in enumerate(pairwise(starts.tolist())):
        windows = distance[:, start:stop]
        if stop - start > NEAREST:
            windows = np.partition(windows, NEAREST - 1, axis=1)[:, :NEAREST]
        windows.mean(1, out=result[:, person])
    return result


def track_to_people(windows: np.ndarray) -> np.ndarray:
    """Return the distances (Q,) of a track to Q people from those of its windows, (T, Q) with T at least 1."""
    half = (len(windows) + 1) // 2
    return np.partition(windows, half - 1, axis=0)[:half].mean(0)


def distances_of_tracks(tracks: Sequence[np.ndarray], people: Sequence[np.ndarray], metric: str) -> np.ndarray:
    """Return the distances of M tracks to Q people: (M, Q) float32.

    Args:
        tracks: M arrays (T, C, P), each of one window or more.
        people: Q arrays (n, C, P), each of one window or more.
        metric: the distance of windows, ``euc`` or ``cos``.
    """
    gallery = torch.from_numpy(np.concatenate(people))
    starts = np.cumsum([0, *map(len, people)])
    result = np.empty((len(tracks), len(people)), np.float32)
    for first in range(0, len(tracks), _TRACKS):
        batch = tracks[first : first + _TRACKS]
        distance = pairwise_distance(torch.from_numpy(np.concatenate(batch)), gallery, metric).numpy()
        rows = np.cumsum([0, *map(len, batch)]).tolist()
        near = windows_to_people(distance, starts)
        for number, (start, stop) in enumerate(pairwise(rows)):
            result[first + number] = track_to_people(near[start:stop])
    return result


class ExactSearch:
    """The features of a gallery in memory, 4 · G · (C + 2) · P bytes, and the search in them.

    Args:
        names: of Q people.
        counts: their numbers of windows, each at least 1.
        features: features of each person, float32 (n, C, P).
        metric: the distance, ``euc`` or ``cos``.
    """

    def __init__(
        self, names: Sequence[str], counts: Sequence[int], features: Iterable[np.ndarray], metric: str
    ) -> None:
        self.names, self.metric = list(names), metric
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._rows = torch.empty(0)  # (P, G, C + 2): features, 1, the square of their norm
        for (start, stop), part in zip(pairwise(self.starts.tolist()), features, strict=True):
            prepared = self._prepare(torch.from_numpy(part))
            if not len(self._rows):
                self._rows = torch.empty(prepared.shape[0], int(self.starts[-1]), prepared.shape[2] + 2)
            self._rows[:, start:stop, :-2] = prepared
            self._rows[:, start:stop, -2] = 1
            self._rows[:, start:stop, -1] = self._squares(prepared)

    def nearest(self, track: np.ndarray, count: int) -> list[Candidate]:
        """Return the `count` nearest people of a track (T, C, P), or all if there are fewer, nearest first."""
        windows = self._lower_bounds(torch.from_numpy(track))
        bounds = _SLACK * track_to_people(np.minimum.reduceat(windows, self.starts[:-1], axis=1))
        order = np.argsort(bounds, kind="stable")
        nearest: list[Candidate] = []
        first, size = 0, max(count, _FIRST)
        while first < len(order):
            limit = nearest[count - 1].distance if len(nearest) >= count else np.inf
            people = [q for q in order[first : first + size].tolist() if bounds[q] <= limit]
            if not people:
                break
            people = [q for q in people if self._tighter_bound(windows, q) <= limit]
            nearest = sorted([*nearest, *self.distances(track, people)], key=lambda c: (c.distance, c.name))[:count]
            first, size = first + size, 2 * size
        return nearest

    def distances(self, track: np.ndarray, people: Sequence[int]) -> list[Candidate]:
        """Return the distances of a track (T, C, P) to people given by their indices."""
        if not people:
            return []
        parts = [self.features(q) for q in people]
        gallery, starts = torch.cat(parts), np.cumsum([0, *map(len, parts)])
        distance = pairwise_distance(torch.from_numpy(track), gallery, self.metric).numpy()
        values = track_to_people(windows_to_people(distance, starts)).tolist()
        return [Candidate(self.names[q], value) for q, value in zip(people, values, strict=True)]

    def features(self, person: int) -> Tensor:
        """Return the features of a person, a view (n, C, P)."""
        return self._rows[:, self._span(person), :-2].permute(1, 2, 0)

    def flattened(self, features: Tensor) -> np.ndarray:
        """Return features (n, C, P) with concatenated parts, (n, P * C), as the approximate search compares them."""
        return self._prepare(features).transpose(0, 1).flatten(1).numpy()

    def rows(self, indices: slice | Tensor) -> np.ndarray:
        """Return windows of the gallery with concatenated parts, as `flattened`."""
        return self._rows[:, indices, :-2].transpose(0, 1).flatten(1).numpy()

    def _span(self, person: int) -> slice:
        return slice(*self.starts[person : person + 2].tolist())

    def _tighter_bound(self, windows: np.ndarray, person: int) -> float:
        span = self._span(person)
        near = windows_to_people(windows[:, span], np.array([0, span.stop - span.start]))
        return _SLACK * float(track_to_people(near)[0])

    def _lower_bounds(self, track: Tensor) -> np.ndarray:
        """Return a lower bound of the distance of each window of a track to each window of the gallery: (T, G)."""
        prepared = self._prepare(track)
        parts, windows, channels = prepared.shape
        if (parts, channels + 2) != (self._rows.shape[0], self._rows.shape[2]):
            raise UserError(
                f"features of (C, P) = {(channels, parts)}, those of the gallery are "
                f"{(self._rows.shape[2] - 2, self._rows.shape[0])}; use the weights of the gallery"
            )
        left = torch.empty(parts, windows, channels + 2)
        left[:, :, :-2] = prepared * (-2 if self.metric == "euc" else -1)
        left[:, :, -2] = self._squares(prepared)
        left[:, :, -1] = 1
        bounds = torch.empty(windows, self._rows.shape[1])
        for start in range(0, self._rows.shape[1], _PIECE):
            product = torch.bmm(left, self._rows[:, start : start + _PIECE].transpose(1, 2))
            if self.metric == "euc":
                product.clamp_(min=0).sqrt_()
            torch.mean(product, 0, out=bounds[:, start : start + _PIECE])
        return bounds.numpy()

    def _prepare(self, features: Tensor) -> Tensor:
        """Return features (n, C, P) as (P, n, C), normalised to length 1 if the distance is the cosine."""
        parts = features.permute(2, 0, 1)
        return parts if self.metric == "euc" else torch.nn.functional.normalize(parts, dim=2)

    def _squares(self, prepared: Tensor) -> Tensor:
        """Return the squared norms that are added to the products, less the error of a product of C + 2 terms."""
        error = 4 * (prepared.shape[2] + 2) * _UNIT
        if self.metric == "euc":
            return prepared.square().sum(2) * (1 - error)
        return torch.full(prepared.shape[:2], 0.5 - error)
