"""A track: one person of a video, as a sequence of silhouettes.

Legend: T frames in which a person was seen, S of them in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Track:
    """One person, followed for as long as nothing put in doubt that it is the same person.

    Attributes:
        source: the name of the source: a file's or folder's without its ending, `camera0`.
        number: of this track in its source, from 1, in the order in which they began; not all numbers are in use.
        frames: uint8 (S, 64, 64), the normalised silhouettes in use.
        indices: int (T,), the number of each frame in the source, from 0.
        times: float (T,), seconds from the source's start.
        boxes: int (T, 4), left, top, width and height in pixels.
        flaws: T strings: why a frame is not in use, empty where it is.
        end: why the track ends.
        measures: numbers that the quality was judged by, in the unit that their name says.
        problems: why the sequence should not be used; empty if it can be.
    """

    source: str
    number: int
    frames: np.ndarray
    indices: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    flaws: tuple[str, ...]
    end: str
    measures: Mapping[str, float]
    problems: tuple[str, ...]

    @property
    def used(self) -> np.ndarray:
        """Which of the T frames are in use, bool (T,): `track.times[track.used]` are the times of `track.frames`."""
        return np.array([not flaw for flaw in self.flaws])

    @property
    def usable(self) -> bool:
        """Whether the sequence has no problem."""
        return not self.problems
