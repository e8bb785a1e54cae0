"""Warping and erasing, pixel by pixel in the plainest Python: slow, obvious, to compare with."""

import math

import numpy as np


def warp(frame: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Sample each pixel at the coordinates that `source` (2, 3) or (3, 3) gives, bilinearly: float64 (H, W)."""
    height, width = frame.shape

    def level(row: int, column: int) -> float:
        inside = 0 <= row < height and 0 <= column < width
        return float(frame[row, column]) if inside else 0.0

    result = np.zeros(frame.shape)
    for row in range(height):
        for column in range(width):
            x, y = transform_point(source, column, row)
            left, top = math.floor(x), math.floor(y)
            right_share, bottom_share = x - left, y - top
            above = (1 - right_share) * level(top, left) + right_share * level(top, left + 1)
            below = (1 - right_share) * level(top + 1, left) + right_share * level(top + 1, left + 1)
            result[row, column] = (1 - bottom_share) * above + bottom_share * below
    return result


def transform_point(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Apply a matrix (2, 3) or (3, 3) to a point."""
    rows = [*matrix.tolist(), [0.0, 0.0, 1.0]][:3]
    u, v, w = (a * x + b * y + c for a, b, c in rows)
    return u / w, v / w


def black_rectangle(frame: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return top, left, height and width of the black rectangle of a frame that has no other black; None: no black."""
    black = [(r, c) for r in range(frame.shape[0]) for c in range(frame.shape[1]) if frame[r, c] == 0]
    if not black:
        return None
    rows, columns = [r for r, _ in black], [c for _, c in black]
    top, left = min(rows), min(columns)
    height, width = max(rows) - top + 1, max(columns) - left + 1
    assert len(black) == height * width, "a rectangle without holes"
    return top, left, height, width
