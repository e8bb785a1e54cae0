"""Windows: overlapping parts of a sequence, each of which is embedded separately.

Parts of a sequence can be of another direction, occluded, or badly segmented. With a feature for each short window of
about one gait cycle, a distance can disregard such parts.
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
    """Cut a sequence into overlapping windows, which are views and together cover all frames.

    Args:
        frames: (S, H, W).
        size: frames of a window; a shorter sequence gives a single, shorter window.
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
    """Return the windows of N sequences, and N + 1 indices: sequence n has windows `starts[n]` to `starts[n + 1]`.

    At most `most` windows of each sequence are returned, evenly spaced.
    """
    all_windows: list[np.ndarray] = []
    starts = [0]
    for frames in sequences:
        windows = windows_of(frames, size, step)
        if most is not None and len(windows) > most:
            windows = [windows[n] for n in np.linspace(0, len(windows) - 1, most).round().astype(int)]
        all_windows += windows
        starts.append(len(all_windows))
    return all_windows, starts
