"""One person in one frame: what is kept of it, and whether it can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dygait.frames.normalisation import normalise_silhouette
from dygait.video.segmenters.base import Person

EDGE = "cut by the picture's edge"
SMALL = "too small"
HIDDEN = "behind somebody else"
APART = "has just touched somebody else"
JUMP = "its size jumps"
FLICKER = "flickers"
STILL = "stands still"
"""Why a frame is not in use."""

_OVERLAP = 0.15  # of the smaller of two boxes


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One person in one frame."""

    index: int  # of the frame in its source
    time: float  # seconds
    box: tuple[int, int, int, int]  # left, top, width and height, in pixels
    area: int  # pixels of the mask
    silhouette: np.ndarray | None  # uint8 (64, 64), normalised; None if the frame is not in use
    flaw: str  # why it is not in use; empty if it is

    def rejected(self, flaw: str) -> Sighting:
        """Return the sighting as one that is not in use."""
        return dataclasses.replace(self, flaw=flaw, silhouette=None)


def sight(index: int, time: float, person: Person, flaw: str) -> Sighting:
    """Return what is kept of a person in a frame."""
    area = int(np.count_nonzero(person.mask))
    silhouette = None if flaw else normalise_silhouette(_widened(person.mask))
    return Sighting(index, time, person.box, area, silhouette, flaw or (SMALL if silhouette is None else ""))


def _widened(mask: np.ndarray) -> np.ndarray:
    """Return a mask with empty columns at both sides: a width that scales to whole pixels is not distorted."""
    height, width = mask.shape
    more = (width // height + 2) * height - width
    return np.pad(mask, ((0, 0), (more // 2, more - more // 2)))


def flaws_of(people: Sequence[Person], size: tuple[int, int], min_height: int) -> list[str]:
    """Return for each person of a frame why it cannot be used, by the frame alone; empty where it can.

    Args:
        size: height and width of the picture.
        min_height: a person of fewer rows is too small.
    """
    found = []
    for person in people:
        left, top, width, height = person.box
        if left <= 0 or top <= 0 or left + width >= size[1] or top + height >= size[0]:
            found.append(EDGE)
        elif height < min_height:
            found.append(SMALL)
        elif any(_hides(other, person) for other in people if other is not person):
            found.append(HIDDEN)
        else:
            found.append("")
    return found


def _hides(other: Person, person: Person) -> bool:
    """Return whether somebody whose feet are lower in the picture, and so nearer to the camera, is before a person."""
    shared = overlap(other.box, person.box)
    smaller = min(other.box[2] * other.box[3], person.box[2] * person.box[3])
    return other.box[1] + other.box[3] > person.box[1] + person.box[3] and shared > _OVERLAP * smaller


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the area that two boxes (left, top, width, height) share."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)
