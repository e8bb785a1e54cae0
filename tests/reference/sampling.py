"""Which choices of frames are possible, written out as lists."""

from collections.abc import Sequence
from itertools import combinations


def windows(length: int, size: int) -> list[list[int]]:
    """Every window of `size` frames of a sequence that is walked through again and again until it is long enough."""
    walked = list(range(length))
    while len(walked) < size:
        walked += list(range(length))
    return [walked[start : start + size] for start in range(len(walked) - size + 1)]


def ordered_choices(length: int, count: int, skip: int) -> set[tuple[int, ...]]:
    """Every possible result: `count` frames of a window of `count + skip`, in its order."""
    return {choice for window in windows(length, count + skip) for choice in combinations(window, count)}


def middle(length: int, limit: int | None) -> list[int]:
    """All frames, or the `limit` frames in the middle: one more is left out at the end where it is not even."""
    frames = list(range(length))
    while limit is not None and len(frames) > limit:
        surplus = len(frames) - limit
        frames = frames[:-1] if surplus % 2 else frames[1:]
    return frames


def repetitions(chosen: Sequence[int]) -> list[int]:
    return sorted(list(chosen).count(v) for v in set(chosen))
