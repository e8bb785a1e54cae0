"""Random transforms, pixel by pixel in plain Python: slow and obvious."""

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
    """Return top, left, height and width of the only black rectangle of a frame; None without black pixels."""
    black = [(r, c) for r in range(frame.shape[0]) for c in range(frame.shape[1]) if frame[r, c] == 0]
    if not black:
        return None
    rows, columns = [r for r, _ in black], [c for _, c in black]
    top, left = min(rows), min(columns)
    height, width = max(rows) - top + 1, max(columns) - left + 1
    assert len(black) == height * width, "a rectangle without holes"
    return top, left, height, width


def dilate(frame: np.ndarray, shape: int, width: int, height: int) -> np.ndarray:
    """Return the largest level in a rectangle (0), a cross (1) or an ellipse (2) around each pixel."""
    rows, columns = frame.shape
    a, b = width // 2, height // 2

    def inside(x: int, y: int) -> bool:
        if shape == 0:
            return True
        if shape == 1:
            return x == 0 or y == 0
        return abs(x) <= round(a * math.sqrt((b * b - y * y) / (b * b)))  # as OpenCV, row by row

    offsets = [(x, y) for y in range(-b, b + 1) for x in range(-a, a + 1) if inside(x, y)]
    result = np.zeros_like(frame)
    for row in range(rows):
        for column in range(columns):
            levels = [
                frame[row + y, column + x] for x, y in offsets if 0 <= row + y < rows and 0 <= column + x < columns
            ]
            result[row, column] = max(levels)
    return result


def blur(frame: np.ndarray) -> np.ndarray:
    """Weigh 3x3 pixels by 1, 2, 1 in either direction, mirrored about the pixels at the edges: float64 (H, W)."""
    rows, columns = frame.shape

    def mirrored(index: int, count: int) -> int:
        return 1 if index < 0 else count - 2 if index == count else index

    result = np.zeros(frame.shape)
    for row in range(rows):
        for column in range(columns):
            for y, of_row in ((-1, 1), (0, 2), (1, 1)):
                for x, of_column in ((-1, 1), (0, 2), (1, 1)):
                    level = frame[mirrored(row + y, rows), mirrored(column + x, columns)]
                    result[row, column] += of_row * of_column * float(level) / 16
    return result
