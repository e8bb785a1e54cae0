"""Smooth displacements of normalised frames, by which mean silhouettes become those of real people.

They stand for what the means of bodies, clothes and cameras cannot explain: how cameras roll, how clothes fold, what
segmentation adds and removes. `scripts/fit_displacements.py` writes `displacements.json`: in pixels of
64 x 64 frames, for the conditions `nm`, `bg` and `cl` and each view, the horizontal and the vertical displacements of
7 x 4 points, row by row, over the middle 44 columns.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import cv2
import numpy as np

from dygait.frames.normalisation import FRAME

ROWS, COLUMNS = 7, 4
WIDTH = 44
"""Columns of a frame over which the points are spread."""
FILE = Path(__file__).with_name("displacements.json")


@functools.cache
def _points() -> dict[str, dict[str, list[list[float]]]]:
    return json.loads(FILE.read_text())


def sampling_positions(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and the row from which each pixel is taken, float32 (64, 64).

    Args:
        points: displacements of the points, in columns and in rows, (2, ROWS, COLUMNS).
    """
    side = (FRAME - WIDTH) // 2
    fields = [cv2.resize(part.astype(np.float32), (WIDTH, FRAME), interpolation=cv2.INTER_CUBIC) for part in points]
    x, y = (np.pad(field, ((0, 0), (side, side)), mode="edge") for field in fields)
    rows, columns = np.mgrid[0:FRAME, 0:FRAME].astype(np.float32)
    return columns + x, rows + y


@functools.cache
def _positions(condition: str, view: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    return sampling_positions(share * np.array(_points()[condition][view]).reshape(2, ROWS, COLUMNS))


def displace(frames: np.ndarray, kind: str, view: str, share: float) -> np.ndarray:
    """Displace normalised frames, uint8 (S, 64, 64), of a type of walk in a view by a share of the displacement."""
    x, y = _positions(kind.partition("-")[0], view, share)
    return np.stack([cv2.remap(frame, x, y, cv2.INTER_LINEAR) for frame in frames])
