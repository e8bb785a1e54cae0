"""Windows: overlapping parts of a sequence, each of which is embedded on its own.

A walk changes its direction, is occluded, or is segmented badly for a while. Features of short windows, about one gait
cycle each, keep such parts apart, so that a distance can disregard them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZE = 30
"""Frames of a window: one gait cycle at 25 to 30 frames a second."""
STEP = 15
"""Frames from the start of a window to that of the next."""
FEWEST = 15
"""Sequences with fewer frames, about a single step, are too short to be recognised."""


def windows_of(frames: np.ndarray, size: int = SIZE, step: int = STEP) -> list[np.ndarray]:
    """Cut a sequence into windows, views of its frames, which together cover all of them.

    Args:
        frames: (S, H, W).
        size: frames of a window; a shorter sequence is a single, shorter window.
        step: frames from one window to the next; the last window ends where the sequence ends.

    Returns:
        Windows (size, H, W) in order; none if S is less than `FEWEST`.
    """
    if len(frames) < FEWEST:
        return []
    last = max(len(frames) - size, 0)
    return [frames[start : start + size] for start in (*range(0, last, step), last)]


def windows_of_all(
    sequences: Sequence[np.ndarray], size: int = SIZE, step: int = STEP, most: int | None = None
) -> tuple[list[np.ndarray], list[int]]:
    """Return the windows of N sequences, and N + 1 indices: those of sequence n are `starts[n]` to `starts[n + 1]`.

    Of a sequence with more than `most` windows so many are returned, evenly spread.
    """
    found: list[np.ndarray] = []
    starts = [0]
    for frames in sequences:
        windows = windows_of(frames, size, step)
        if most is not None and len(windows) > most:
            windows = [windows[n] for n in np.linspace(0, len(windows) - 1, most).round().astype(int)]
        found += windows
        starts.append(len(found))
    return found, starts
