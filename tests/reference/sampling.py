"""Lists of the possible choices of frames."""

from collections.abc import Sequence
from itertools import combinations


def windows(length: int, size: int) -> list[list[int]]:
    """Return every window of `size` frames of a sequence, which is repeated until it is long enough."""
    repeated = list(range(length))
    while len(repeated) < size:
        repeated += list(range(length))
    return [repeated[start : start + size] for start in range(len(repeated) - size + 1)]


def ordered_choices(length: int, count: int, skip: int) -> set[tuple[int, ...]]:
    """Return every choice of `count` frames, in order, of a window of `count + skip` frames."""
    return {choice for window in windows(length, count + skip) for choice in combinations(window, count)}


def middle(length: int, limit: int | None) -> list[int]:
    """Return all frames, or the `limit` frames in the middle; an odd frame is left out at the end."""
    frames = list(range(length))
    while limit is not None and len(frames) > limit:
        surplus = len(frames) - limit
        frames = frames[:-1] if surplus % 2 else frames[1:]
    return frames


def repetitions(chosen: Sequence[int]) -> list[int]:
    return sorted(list(chosen).count(v) for v in set(chosen))
