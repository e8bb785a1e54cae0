"""The period of a gait, and where it changes at once: there somebody else has taken the place of a person.

Legend: S frames in use.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dygait.frames.normalisation import FRAME
from dygait.video.sightings import Sighting
from dygait.video.track_cutting import Piece

_WINDOW_SECONDS = 2.0  # three to five steps
_HOP_SECONDS = 0.5
_STEP_SECONDS = (0.3, 0.9)  # of walking and running people
_RATE = 25.0  # of the signal, which is interpolated
_REGULAR = 0.5  # the least correlation of a signal with itself a step later
_AGREE = 1.12  # the largest ratio of the periods of overlapping windows of one person
_WINDOWS = 3  # overlapping windows that must agree on each side of a change
_LARGEST_GAP = 0.2  # seconds without a frame in a window
_CHANGE = (1.35, 1.8)  # the ratio of two periods that is a change of person; beyond, a step is taken for a stride
_CHANGED = "its gait period jumps"


def step_seconds(times: np.ndarray, frames: np.ndarray) -> float | None:
    """Return the seconds of a step, half of the gait period.

    Args:
        times: float (S,), increasing.
        frames: uint8 (S, 64, 64), normalised silhouettes.

    Returns:
        The lag from 0.3 to 0.9 s at which the width of the legs is most like itself; None if it is not regular.
    """
    legs = frames[:, FRAME * 2 // 3 :].astype(np.float64)
    columns = np.arange(FRAME) - FRAME / 2
    mass = np.maximum(legs.sum((1, 2)), 1)
    spread = np.sqrt((legs * columns**2).sum((1, 2)) / mass)
    grid = np.arange(times[0], times[-1], 1 / _RATE)
    lags = np.arange(round(_STEP_SECONDS[0] * _RATE), round(_STEP_SECONDS[1] * _RATE) + 1)
    if len(grid) < 2 * lags[0]:
        return None
    signal = np.interp(grid, times, spread)
    signal = signal - np.polyval(np.polyfit(grid, signal, 1), grid)
    similar = np.array([_correlation(signal[lag:], signal[:-lag]) for lag in lags if lag < len(signal) // 2 + 1])
    peaks = [i for i in range(1, len(similar) - 1) if similar[i - 1] < similar[i] >= similar[i + 1]]
    best = max(peaks, key=lambda i: similar[i], default=None)
    return None if best is None or similar[best] < _REGULAR else float(lags[best] / _RATE)


def cut_at_changes(piece: Piece, new_number: Callable[[], int]) -> list[Piece]:
    """Cut a piece where the period before and after differs, both being regular; return the pieces in order."""
    used = [sighting for sighting in piece.sightings if not sighting.flaw]
    time = _change(used)
    if time is None:
        return [piece]
    before = Piece(piece.number, [s for s in piece.sightings if s.time < time], _CHANGED)
    after = Piece(new_number(), [s for s in piece.sightings if s.time >= time], piece.end)
    return [before, *cut_at_changes(after, new_number)]


def _change(used: list[Sighting]) -> float | None:
    """Return the time of the first change of the period: several windows before it agree, and several after it."""
    if not used:
        return None
    times = np.array([sighting.time for sighting in used])
    frames = np.stack([sighting.silhouette for sighting in used if sighting.silhouette is not None])
    starts = np.arange(times[0], times[-1] - _WINDOW_SECONDS, _HOP_SECONDS)
    apart = _WINDOWS - 1 + round(_WINDOW_SECONDS / _HOP_SECONDS)  # windows from the first before to the first after
    if len(starts) < apart + _WINDOWS:
        return None
    periods = [_period(times, frames, start) for start in starts.tolist()]
    for first in range(len(periods) - apart - _WINDOWS + 1):
        sides = [_agreed(periods[start : start + _WINDOWS]) for start in (first, first + apart)]
        if sides[0] is None or sides[1] is None:
            continue
        if _CHANGE[0] <= max(sides[0], sides[1]) / min(sides[0], sides[1]) <= _CHANGE[1]:
            return float(starts[first + apart])
    return None


def _period(times: np.ndarray, frames: np.ndarray, start: float) -> float | None:
    """Return the seconds of a step in a window of a piece; None if it is irregular or has gaps."""
    first, last = np.searchsorted(times, (start, start + _WINDOW_SECONDS))
    own = times[first:last]
    if len(own) < 2 or own[-1] - own[0] < 0.9 * _WINDOW_SECONDS or np.diff(own).max() > _LARGEST_GAP:
        return None
    return step_seconds(own, frames[first:last])


def _agreed(periods: list[float | None]) -> float | None:
    """Return the median of periods that are nearly the same; None if they are not."""
    found = [period for period in periods if period is not None]
    if len(found) < len(periods) or max(found) > _AGREE * min(found):
        return None
    return float(np.median(found))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else 0.0
