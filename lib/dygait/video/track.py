"""What is asked of a video (:class:`Options`) and what comes out of it (:class:`Track`).

Legend: T frames in which a person was seen, S of them in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dygait.errors import UserError

FRAME = 64
"""Height and width of a normalised frame."""

BACKGROUND = {"segmenter": "background"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of :func:`dygait.video.tracks`; an invalid value raises UserError.

    Attributes:
        segmenter: the mapping that names the segmenter (`segmenter`) and its keywords.
        rate: frames per second, instead of the source's own; folders of pictures have none, and 25 is assumed.
        seconds: read only this much of a source.
        min_height: a person of fewer rows of pixels is too small to be used.
        min_frames: a track of fewer frames in use is marked.
    """

    segmenter: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(BACKGROUND))
    rate: float | None = None
    seconds: float | None = None
    min_height: int = 48
    min_frames: int = 30

    def __post_init__(self) -> None:
        for name, value, low in (("rate", self.rate, 1), ("seconds", self.seconds, 0)):
            if value is not None and not low <= value < float("inf"):
                raise UserError(f"{name}={value}: give a number of at least {low}")
        for name, number in (("min_height", self.min_height), ("min_frames", self.min_frames)):
            if number < 1:
                raise UserError(f"{name}={number}: give a whole number of at least 1")


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
