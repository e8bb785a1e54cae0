"""The options of tracking people in a video."""

from __future__ import annotations

import dataclasses

from dygait.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of :func:`dygait.video.tracks`; an invalid value raises UserError.

    Attributes:
        rate: frames per second; None: those of the source, or 25 for a folder of pictures.
        seconds: length of the source that is read; None: all.
        min_height: least height of a person in pixels; smaller ones are not used.
        min_frames: a track with fewer frames in use is marked as a problem.
    """

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
