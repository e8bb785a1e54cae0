"""Frames of a sequence whose person jumps in height, area or position against the neighbouring frames.

A person changes little from frame to frame: where a frame jumps, the mask contains something else, lacks a part of the
person, or shows somebody else.

Letters: S frames.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_FOREGROUND = 128
_WINDOW = 9
"""Frames that a frame is compared with, itself included; a sequence of fewer than `_MIN_FRAMES` is not checked."""
_MIN_FRAMES = 5
_REACH = 0.04
"""Pieces that are nearer than this share of the height are measured as one: segmentation often cuts a head off."""
_HEIGHT, _AREA = np.log(1.15), np.log(1.5)
"""The largest change of the height and of the area against the neighbours, as logarithms."""
_CENTRE = 0.2
"""The largest distance of the centre from its expected position, in heights of the person."""


class Measures(NamedTuple):
    """Measures of a silhouette, in pixels; all 0 if it is empty.

    Attributes:
        height: of all white pixels, specks included.
        largest: height of the largest piece, with those near it.
        area: of that piece, dilated.
        x: column of its centre.
        y: row of its centre.
    """

    height: float
    largest: float
    area: float
    x: float
    y: float


class Jump(NamedTuple):
    """A frame that jumps.

    Attributes:
        frame: its index.
        what: ``height``, ``area`` or ``centre``.
        amount: height or area as a multiple of the neighbours', or the distance of the centre in heights.
    """

    frame: int
    what: str
    amount: float

    def __str__(self) -> str:
        if self.what == "centre":
            return f"centre {self.amount:.2f} heights away"
        return f"{self.what} {self.amount:.2f} of its neighbours'"


def measure(silhouette: np.ndarray) -> Measures:
    """Measure a raw mask or a normalised frame, uint8 (H, W); levels of at least 128 are the person."""
    solid = cv2.threshold(silhouette, _FOREGROUND - 1, 255, cv2.THRESH_BINARY)[1]
    height = cv2.boundingRect(solid)[3]
    reach = max(1, round(_REACH * height))
    joined = cv2.dilate(solid, np.ones((reach + 1, reach + 1), np.uint8))
    count, _, stats, centres = cv2.connectedComponentsWithStats(joined, connectivity=8)
    if count < 2:
        return Measures(0, 0, 0, 0, 0)
    person = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    # Without the dilation, except where it was clipped at the picture's edge.
    largest = max(1, min(height, int(stats[person, cv2.CC_STAT_HEIGHT]) - reach))
    x, y = centres[person].tolist()
    return Measures(height, largest, int(stats[person, cv2.CC_STAT_AREA]), x, y)


def find_jumps(measures: list[Measures]) -> list[Jump]:
    """Return the frames of a sequence that jump, one reason each, in order.

    Each value is compared with a line through those of the nine frames around it, given by the median of their values
    and the median of their changes. Empty frames are skipped.
    """
    present = [index for index, m in enumerate(measures) if m.area]
    if len(present) < _MIN_FRAMES:
        return []
    height, largest, area, x, y = np.array([measures[index] for index in present], np.float64).T
    unit = np.median(largest)
    values = np.stack([np.log(height), np.log(largest), np.log(area), x / unit, y / unit])
    deviation = values - _expected(values)
    size = np.maximum(np.abs(deviation[0]), np.abs(deviation[1])) > _HEIGHT
    reasons = (
        ("height", size, np.exp(np.where(np.abs(deviation[0]) > np.abs(deviation[1]), deviation[0], deviation[1]))),
        ("area", np.abs(deviation[2]) > _AREA, np.exp(deviation[2])),
        ("centre", np.hypot(deviation[3], deviation[4]) > _CENTRE, np.hypot(deviation[3], deviation[4])),
    )
    jumps_by_index: dict[int, Jump] = {}
    for what, is_jump, amounts in reasons:
        for index in np.flatnonzero(is_jump).tolist():
            jumps_by_index.setdefault(index, Jump(present[index], what, float(amounts[index])))
    return [jumps_by_index[index] for index in sorted(jumps_by_index)]


def _expected(values: np.ndarray) -> np.ndarray:
    """Return the values that are expected of each frame by its neighbours, for values (V, S): (V, S)."""
    frames = np.arange(values.shape[1])
    width = min(_WINDOW, len(frames))
    first = np.clip(frames - width // 2, 0, len(frames) - width)
    window = first[:, None] + np.arange(width)  # (S, width)
    near = values[:, window]
    slope = np.median(np.diff(near, axis=2), axis=2, keepdims=True)
    return np.median(near - slope * (window - frames[:, None]), axis=2)
