"""The options of following people through a video."""

from __future__ import annotations

import dataclasses

from dygait.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of :func:`dygait.video.tracks`; an invalid value raises UserError.

    Attributes:
        rate: frames per second, instead of the source's own; folders of pictures have none, and 25 is assumed.
        seconds: read only this much of a source.
        min_height: a person of fewer rows of pixels is too small to be used.
        min_frames: a track of fewer frames in use is marked.
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
