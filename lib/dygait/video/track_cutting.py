"""Cutting a track where it may continue with another person.

A tracker compares boxes: when two people touch or hide each other, it can swap their numbers, or take both for one
person. A gait sequence must not mix two people. So a track ends where its person touches somebody else, where the size
jumps for longer than a segmentation fault lasts, after the person was at the edge of the picture, and after the person
was not seen for a while. A new track starts there.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dygait.video.segmenters.base import Person
from dygait.video.sightings import APART, EDGE, JUMP, Sighting, overlap

GONE_SECONDS = 1.0
"""Somebody who is not seen for this long has left."""

_GAP_SECONDS = 0.5  # after a longer gap, it may be another person
_JUMP_SECONDS = 0.4  # a shorter jump is a segmentation fault
_LONGEST_SECONDS = 60.0  # bounds the memory of a track
_RECENT = 15  # frames over whose sizes the median is taken
_FEWEST = 5
_EDGE_SECONDS = 0.2  # after longer at the edge of the picture, it may be another person
_HEIGHT, _AREA, _WIDTH = 1.25, 1.6, 1.5  # ratios to recent sizes beyond which a size jumps; the width varies in a step
_COVERED = 0.6  # least share of a person's expected box that a detection must cover
_LARGER = 1.25  # least ratio of the area of two merged people to that of each


@dataclasses.dataclass
class Piece:
    """A part of a track that shows one person without doubt."""

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
        self._doubt = ""  # the reason to cut before the next sighting; empty for none
        self._settling = 0.0  # seconds after the cut for which sightings are not used
        self._settled = 0.0  # the time from which sightings are used
        self._jumping: list[Sighting] = []
        self._recent: deque[Sighting] = deque(maxlen=_RECENT)
        self._at_edge: float | None = None  # the time since which the person is at the edge
        self._finished: list[Piece] = []

    @property
    def number(self) -> int:
        """The number of the current piece."""
        return self._piece.number

    @property
    def last(self) -> Sighting:
        """The last sighting."""
        return (self._jumping or self._piece.sightings)[-1]

    def expected_box(self, time: float) -> tuple[float, float, float, float]:
        """Return the box at a time, extrapolated from the last frames."""
        before, last = self._piece.sightings[-_FEWEST:][0], self._piece.sightings[-1]
        left, top, width, height = last.box
        if last.time == before.time:
            return last.box
        steps = (time - last.time) / (last.time - before.time)
        right = left + width / 2 - before.box[0] - before.box[2] / 2
        down = top + height / 2 - before.box[1] - before.box[3] / 2
        return left + steps * right, top + steps * down, width, height

    def doubt(self, reason: str, settling: float = 0.0) -> None:
        """Cut the track before its next sighting, and reject the sightings of the first `settling` seconds after it."""
        self._doubt = self._doubt or reason
        self._settling = max(self._settling, settling)

    def add(self, sighting: Sighting) -> list[Piece]:
        """Add the next sighting; return the pieces that have ended."""
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

    def end(self, reason: str) -> list[Piece]:
        """End the track; return the pieces that have ended."""
        self._finish(self._doubt or reason)
        return self._finished

    def _has_been_at_edge(self, time: float) -> bool:
        return self._at_edge is not None and time - self._at_edge > _EDGE_SECONDS

    def _append(self, sighting: Sighting) -> None:
        self._piece.sightings.append(sighting)
        if not sighting.flaw:
            self._recent.append(sighting)

    def _reject_jump(self) -> None:
        """Append the frames of a jump that was short, as not in use."""
        for sighting in self._jumping:
            self._append(sighting.rejected(JUMP))
        self._jumping = []

    def _begin_with_jump(self) -> None:
        """Cut the track where a lasting jump began."""
        jumping, self._jumping = self._jumping, []
        self._cut(JUMP)
        for sighting in jumping:
            self._append(sighting)

    def _cut(self, reason: str) -> None:
        """End the current piece and begin the next."""
        self._finish(reason)
        self._piece, self._doubt = Piece(self._new_number(), []), ""
        self._recent.clear()

    def _finish(self, reason: str) -> None:
        self._reject_jump()
        self._piece.end = reason
        self._finished.append(self._piece)

    def _jumps(self, sighting: Sighting) -> bool:
        """Return whether the size differs much from recent sizes."""
        if len(self._recent) < _FEWEST:
            return False
        sizes = np.array([(s.box[3], s.area) for s in self._recent], np.float64)
        height, area = np.median(sizes, 0)
        widest = max(s.box[2] for s in self._recent)
        ratios = ((sighting.box[3] / height, _HEIGHT), (sighting.area / area, _AREA))
        return any(not 1 / limit <= ratio <= limit for ratio, limit in ratios) or sighting.box[2] > _WIDTH * widest


def find_merged(people: Sequence[Person], expected: Mapping[int, Sequence[float]]) -> dict[int, list[int]]:
    """Find the people of a frame that are two or more people merged into one.

    Args:
        expected: track -> expected box of its person.

    Returns:
        index of each such person -> the tracks that it covers.
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
