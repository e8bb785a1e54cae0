"""A track: one person of a video, as a sequence of silhouettes.

T frames in which a person was seen, S of them in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Track:
    """One person, for as long as there is no doubt that it is the same person.

    Attributes:
        source: name of the source: that of a file or folder without its suffix, or `camera0`.
        number: number of the track in its source, from 1, in the order of the tracks' starts; there can be gaps.
        frames: uint8 (S, 64, 64), the normalised silhouettes in use.
        indices: int (T,), the index of each frame in the source, from 0.
        times: float (T,), seconds from the source's start.
        boxes: int (T, 4), left, top, width and height in pixels.
        flaws: T strings, the reason why each frame is not in use; empty if it is in use.
        end: the reason why the track ends.
        measures: measures of quality, with their units in their names.
        problems: the reasons why the sequence should not be used; empty if it can be used.
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
        """Mask of the frames in use, bool (T,): `track.times[track.used]` are the times of `track.frames`."""
        return np.array([not flaw for flaw in self.flaws])

    @property
    def usable(self) -> bool:
        """Whether the sequence has no problem."""
        return not self.problems
