"""Sightings: one person in one frame, and whether it can be used."""

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
"""The reasons why a frame is not in use."""

_OVERLAP = 0.15  # the largest shared area of two boxes, as a fraction of the smaller one


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One person in one frame."""

    index: int  # of the frame in its source
    time: float  # seconds
    box: tuple[int, int, int, int]  # left, top, width and height, in pixels
    area: int  # pixels of the mask
    silhouette: np.ndarray | None  # uint8 (64, 64), normalised; None if the frame is not in use
    flaw: str  # why the frame is not in use; empty if it is in use

    def rejected(self, flaw: str) -> Sighting:
        """Return the sighting as one that is not in use because of `flaw`."""
        return dataclasses.replace(self, flaw=flaw, silhouette=None)


def sight(index: int, time: float, person: Person, flaw: str) -> Sighting:
    """Return the sighting of a person in a frame; without a silhouette if there is a flaw."""
    area = int(np.count_nonzero(person.mask))
    silhouette = None if flaw else normalise_silhouette(_pad_columns(person.mask))
    return Sighting(index, time, person.box, area, silhouette, flaw or (SMALL if silhouette is None else ""))


def _pad_columns(mask: np.ndarray) -> np.ndarray:
    """Pad a mask at both sides to a width that scales to whole pixels, so that resizing does not distort it."""
    height, width = mask.shape
    padding = (width // height + 2) * height - width
    return np.pad(mask, ((0, 0), (padding // 2, padding - padding // 2)))


def flaws_of(people: Sequence[Person], size: tuple[int, int], min_height: int) -> list[str]:
    """Return for each person the reason, from this frame alone, why it cannot be used; empty if it can be used.

    Args:
        size: height and width of the picture.
        min_height: least height of a person, in pixels.
    """
    flaws = []
    for person in people:
        left, top, width, height = person.box
        if left <= 0 or top <= 0 or left + width >= size[1] or top + height >= size[0]:
            flaws.append(EDGE)
        elif height < min_height:
            flaws.append(SMALL)
        elif any(_hides(other, person) for other in people if other is not person):
            flaws.append(HIDDEN)
        else:
            flaws.append("")
    return flaws


def _hides(other: Person, person: Person) -> bool:
    """Return whether `other` overlaps `person` and is nearer to the camera: its feet are lower in the picture."""
    shared = overlap(other.box, person.box)
    smaller = min(other.box[2] * other.box[3], person.box[2] * person.box[3])
    return other.box[1] + other.box[3] > person.box[1] + person.box[3] and shared > _OVERLAP * smaller


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the area of the intersection of two boxes (left, top, width, height)."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)
