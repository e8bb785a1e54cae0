"""The period of a gait, and its sudden changes, at which a track has switched to another person.

S frames in use.
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
_RATE = 25.0  # samples a second of the interpolated signal
_REGULAR = 0.5  # least autocorrelation at the lag of one step
_AGREE = 1.12  # the largest ratio between the periods of overlapping windows of one person
_WINDOWS = 3  # overlapping windows that must agree on each side of a change
_LARGEST_GAP = 0.2  # the most seconds between two frames of a window
_CHANGE = (1.35, 1.8)  # ratio of two periods at a change of person; a larger one mistakes a step for a stride
_CHANGED = "its gait period jumps"


def step_seconds(times: np.ndarray, frames: np.ndarray) -> float | None:
    """Return the duration of a step in seconds, half of the gait period.

    Args:
        times: float (S,), increasing.
        frames: uint8 (S, 64, 64), normalised silhouettes.

    Returns:
        The lag from 0.3 to 0.9 s with the highest autocorrelation of the legs' width; None if that is below 0.5.
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
    correlations = np.array([_correlation(signal[lag:], signal[:-lag]) for lag in lags if lag < len(signal) // 2 + 1])
    peaks = [i for i in range(1, len(correlations) - 1) if correlations[i - 1] < correlations[i] >= correlations[i + 1]]
    best = max(peaks, key=lambda i: correlations[i], default=None)
    return None if best is None or correlations[best] < _REGULAR else float(lags[best] / _RATE)


def cut_at_changes(piece: Piece, new_number: Callable[[], int]) -> list[Piece]:
    """Cut a piece where its regular period changes to another; return the pieces in order."""
    used = [sighting for sighting in piece.sightings if not sighting.flaw]
    time = _find_change(used)
    if time is None:
        return [piece]
    before = Piece(piece.number, [s for s in piece.sightings if s.time < time], _CHANGED)
    after = Piece(new_number(), [s for s in piece.sightings if s.time >= time], piece.end)
    return [before, *cut_at_changes(after, new_number)]


def _find_change(used: list[Sighting]) -> float | None:
    """Return the time of the first change of the period, at which several windows before and after agree."""
    if not used:
        return None
    times = np.array([sighting.time for sighting in used])
    frames = np.stack([sighting.silhouette for sighting in used if sighting.silhouette is not None])
    starts = np.arange(times[0], times[-1] - _WINDOW_SECONDS, _HOP_SECONDS)
    distance = _WINDOWS - 1 + round(_WINDOW_SECONDS / _HOP_SECONDS)  # from the first window before to the first after
    if len(starts) < distance + _WINDOWS:
        return None
    periods = [_period(times, frames, start) for start in starts.tolist()]
    for first in range(len(periods) - distance - _WINDOWS + 1):
        before, after = (_common_period(periods[start : start + _WINDOWS]) for start in (first, first + distance))
        if before is None or after is None:
            continue
        if _CHANGE[0] <= max(before, after) / min(before, after) <= _CHANGE[1]:
            return float(starts[first + distance])
    return None


def _period(times: np.ndarray, frames: np.ndarray, start: float) -> float | None:
    """Return the duration of a step in a window of a piece, in seconds; None if it is irregular or has gaps."""
    first, last = np.searchsorted(times, (start, start + _WINDOW_SECONDS))
    window = times[first:last]
    if len(window) < 2 or window[-1] - window[0] < 0.9 * _WINDOW_SECONDS or np.diff(window).max() > _LARGEST_GAP:
        return None
    return step_seconds(window, frames[first:last])


def _common_period(periods: list[float | None]) -> float | None:
    """Return the median of periods; None if one is missing or they differ."""
    known = [period for period in periods if period is not None]
    if len(known) < len(periods) or max(known) > _AGREE * min(known):
        return None
    return float(np.median(known))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else 0.0
