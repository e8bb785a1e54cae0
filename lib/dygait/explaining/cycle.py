"""The phase of the step in silhouettes, whose legs are furthest apart once in every step, half a gait cycle."""

from __future__ import annotations

import numpy as np

_LOWER = 0.6
"""Rows below this fraction of the height show the legs."""
_PERIODS = np.arange(5.0, 40.0, 0.1)
"""Candidate durations of a step in frames: 0.4 to 1.0 seconds at 12 to 40 frames a second."""
_EXPLAINED = 0.4
"""Least share of the variance of the legs' spread that the sinusoid of a regular step explains."""


def step_phase(frames: np.ndarray) -> np.ndarray | None:
    """Estimate the phase of the step from silhouettes.

    A sinusoid is fitted to the spread of the legs, the standard deviation of their pixels' columns. The frames must
    show at least one and a half periods.

    Args:
        frames: uint8 (S, H, W), normalised silhouettes in temporal order.

    Returns:
        float (S,) in steps, 0 (mod 1) where the legs are furthest apart; None if there is no regular step.
    """
    spread = _spread(frames)
    time = np.arange(len(spread))
    known = ~np.isnan(spread)
    periods = _PERIODS[known.sum() >= 1.5 * _PERIODS]
    if not len(periods):
        return None
    time_known, values = time[known], spread[known]
    values = values - np.polyval(np.polyfit(time_known, values, 1), time_known)  # the person comes nearer or turns
    variance = float((values**2).sum())
    if variance < 1e-9:
        return None
    fits = [_fit(time_known, values, period) for period in periods.tolist()]
    residual, phase = min(fits, key=lambda fit: fit[0])
    best = periods[[fit[0] for fit in fits].index(residual)]
    return time / best - phase if residual <= (1 - _EXPLAINED) * variance else None


def _spread(frames: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the columns of the legs' pixels in each frame, (S,); NaN if there is none."""
    legs = (frames[:, round(_LOWER * frames.shape[1]) :] > 127).sum(1).astype(float)  # (S, W)
    total = legs.sum(1)
    columns = np.arange(frames.shape[2])
    with np.errstate(invalid="ignore"):
        mean = legs @ columns / total
        return np.sqrt((legs * (columns - mean[:, None]) ** 2).sum(1) / total)


def _fit(time: np.ndarray, values: np.ndarray, period: float) -> tuple[float, float]:
    """Fit a sinusoid by least squares; return the sum of squared residuals and the phase of its maximum, in periods."""
    angle = 2 * np.pi * time / period
    basis = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], 1)
    solution = np.linalg.lstsq(basis, values, rcond=None)[0]
    residual = values - basis @ solution
    return float(residual @ residual), float(np.arctan2(solution[2], solution[1]) / (2 * np.pi))
