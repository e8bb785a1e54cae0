"""Where a track must be cut, because from there on it may be somebody else.

A tracker goes by boxes: when two people touch or hide each other, their numbers can change places, and what is found
as one person can be two. A sequence of gait must not be of two people, so a track ends where somebody else is touched,
where the size jumps for longer than a fault of segmentation lasts, where the picture's edge was reached, and where
nobody was seen for a while. What follows is a new track.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dygait.video.segmenters.base import Person
from dygait.video.sightings import APART, EDGE, JUMP, Sighting, overlap

GONE_SECONDS = 1.0
"""Somebody who is not seen for as long has left."""

_GAP_SECONDS = 0.5  # somebody who is seen again after this may be somebody else
_JUMP_SECONDS = 0.4  # a jump that lasts no longer is a fault of segmentation
_LONGEST_SECONDS = 60.0  # for the memory that a track takes
_RECENT = 15  # frames whose median a size is compared with
_FEWEST = 5
_EDGE_SECONDS = 0.2  # somebody who was cut by the picture's edge for longer may have left, and somebody else come
_HEIGHT, _AREA, _WIDTH = 1.25, 1.6, 1.5  # ratios to recent sizes beyond which one jumps; a walk widens and narrows
_COVERED = 0.6  # the share of a person's expected box that somebody found there covers
_LARGER = 1.25  # two people who are found as one are as much larger than each of them


@dataclasses.dataclass
class Piece:
    """One person, as long as nothing puts it in doubt."""

    number: int
    sightings: list[Sighting]
    end: str = ""


class Follower:
    """One track of the tracker, cut into pieces.

    Args:
        new_number: returns the number of the next piece.
    """

    def __init__(self, new_number: Callable[[], int]) -> None:
        self._new_number = new_number
        self._piece = Piece(new_number(), [])
        self._doubt = ""  # why the piece ends when the person is seen again
        self._settling = 0.0  # seconds for which the person is not used then
        self._settled = 0.0  # the time from which the person is used
        self._jumping: list[Sighting] = []
        self._recent: deque[Sighting] = deque(maxlen=_RECENT)
        self._at_edge: float | None = None  # since when
        self._finished: list[Piece] = []

    @property
    def number(self) -> int:
        """The number of the piece that goes on."""
        return self._piece.number

    @property
    def last(self) -> Sighting:
        """The last sighting."""
        return (self._jumping or self._piece.sightings)[-1]

    def expected_box(self, time: float) -> tuple[float, float, float, float]:
        """Return the box in which the person is expected at a time, moved as in its last frames."""
        before, last = self._piece.sightings[-_FEWEST:][0], self._piece.sightings[-1]
        left, top, width, height = last.box
        if last.time == before.time:
            return last.box
        steps = (time - last.time) / (last.time - before.time)
        right = left + width / 2 - before.box[0] - before.box[2] / 2
        down = top + height / 2 - before.box[1] - before.box[3] / 2
        return left + steps * right, top + steps * down, width, height

    def doubt(self, why: str, settling: float = 0.0) -> None:
        """Cut the track before its next sighting, and leave so many seconds out from there."""
        self._doubt = self._doubt or why
        self._settling = max(self._settling, settling)

    def add(self, sighting: Sighting) -> list[Piece]:
        """Add the next sighting; return the pieces that end by it."""
        if self._piece.sightings:
            gap = sighting.time - self.last.time
            if gap > _GAP_SECONDS:
                self.doubt(f"not seen for {gap:.1f} s")
            elif sighting.time - self._piece.sightings[0].time > _LONGEST_SECONDS:
                self.doubt(f"longer than {_LONGEST_SECONDS:.0f} s")
            elif sighting.flaw != EDGE and self._recent and self._has_been_at_edge(sighting.time):
                self.doubt(EDGE)
        if self._doubt:
            self._settled, self._settling = sighting.time + self._settling, 0.0
            self._cut(self._doubt)
        if not sighting.flaw and sighting.time < self._settled:
            sighting = sighting.rejected(APART)
        if sighting.flaw != EDGE:
            self._at_edge = None
        elif self._at_edge is None:
            self._at_edge = sighting.time
        if not sighting.flaw and self._jumps(sighting):
            self._jumping.append(sighting)
            if sighting.time - self._jumping[0].time > _JUMP_SECONDS:
                self._begin_with_jump()
        else:
            self._reject_jump()
            self._append(sighting)
        finished, self._finished = self._finished, []
        return finished

    def end(self, why: str) -> list[Piece]:
        """End the track; return the pieces that end by it."""
        self._finish(self._doubt or why)
        return self._finished

    def _has_been_at_edge(self, time: float) -> bool:
        return self._at_edge is not None and time - self._at_edge > _EDGE_SECONDS

    def _append(self, sighting: Sighting) -> None:
        self._piece.sightings.append(sighting)
        if not sighting.flaw:
            self._recent.append(sighting)

    def _reject_jump(self) -> None:
        """Take a short jump as what it is: frames that are not in use."""
        for sighting in self._jumping:
            self._append(sighting.rejected(JUMP))
        self._jumping = []

    def _begin_with_jump(self) -> None:
        """Cut the track where a jump that lasts began."""
        jumping, self._jumping = self._jumping, []
        self._cut(JUMP)
        for sighting in jumping:
            self._append(sighting)

    def _cut(self, why: str) -> None:
        """End a piece and begin the next."""
        self._finish(why)
        self._piece, self._doubt = Piece(self._new_number(), []), ""
        self._recent.clear()

    def _finish(self, why: str) -> None:
        self._reject_jump()
        self._piece.end = why
        self._finished.append(self._piece)

    def _jumps(self, sighting: Sighting) -> bool:
        """Return whether the size differs much from the recent ones."""
        if len(self._recent) < _FEWEST:
            return False
        sizes = np.array([(s.box[3], s.area) for s in self._recent], np.float64)
        height, area = np.median(sizes, 0)
        widest = max(s.box[2] for s in self._recent)
        ratios = ((sighting.box[3] / height, _HEIGHT), (sighting.area / area, _AREA))
        return any(not 1 / most <= ratio <= most for ratio, most in ratios) or sighting.box[2] > _WIDTH * widest


def find_merged(people: Sequence[Person], expected: Mapping[int, Sequence[float]]) -> dict[int, list[int]]:
    """Return which people of a frame are two or more that were apart before.

    Args:
        expected: track -> the box in which its person is expected.

    Returns:
        The index of each such person, and the tracks that it covers.
    """
    covered: dict[int, list[int]] = {}
    for track, box in expected.items():
        shared = [overlap(person.box, box) for person in people]
        if shared and max(shared) > _COVERED * box[2] * box[3]:
            covered.setdefault(int(np.argmax(shared)), []).append(track)
    merged = {}
    for person, tracks in covered.items():
        size = people[person].box[2] * people[person].box[3]
        largest = max(expected[track][2] * expected[track][3] for track in tracks)
        if len(tracks) > 1 and size > _LARGER * largest:
            merged[person] = tracks
    return merged
