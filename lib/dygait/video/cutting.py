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
_COVERED = 0.6  # the share of a person's place that somebody found there covers
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
        self._piece: Piece | None = None
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
        assert self._piece is not None
        return self._piece.number

    @property
    def last(self) -> Sighting:
        """The last sighting."""
        assert self._piece is not None
        return self._jumping[-1] if self._jumping else self._piece.sightings[-1]

    def place(self, time: float) -> tuple[float, float, float, float]:
        """Return the box in which the person is expected at a time, moved as in its last frames."""
        assert self._piece is not None
        last = self._piece.sightings[-1]
        before = self._piece.sightings[-_FEWEST:][0]
        left, top, width, height = last.box
        if last.time == before.time:
            return last.box
        steps = (time - last.time) / (last.time - before.time)
        centres = [(s.box[0] + s.box[2] / 2, s.box[1] + s.box[3] / 2) for s in (before, last)]
        return (
            left + steps * (centres[1][0] - centres[0][0]),
            top + steps * (centres[1][1] - centres[0][1]),
            width,
            height,
        )

    def doubt(self, why: str, settling: float = 0.0) -> None:
        """Cut the track before its next sighting, and leave so many seconds out from there."""
        self._doubt = self._doubt or why
        self._settling = max(self._settling, settling)

    def add(self, sighting: Sighting) -> list[Piece]:
        """Add the next sighting; return the pieces that end by it."""
        if self._piece is not None:
            gap = sighting.time - self.last.time
            if gap > _GAP_SECONDS:
                self.doubt(f"not seen for {gap:.1f} s")
            elif sighting.time - self._piece.sightings[0].time > _LONGEST_SECONDS:
                self.doubt(f"longer than {_LONGEST_SECONDS:.0f} s")
            elif sighting.flaw != EDGE and self._recent and self._has_been_at_edge(sighting.time):
                self.doubt(EDGE)
            if self._doubt:
                self._settled, self._settling = sighting.time + self._settling, 0.0
                self._finish(self._doubt)
        if not sighting.flaw and sighting.time < self._settled:
            sighting = sighting.rejected(APART)
        if self._piece is None:
            self._piece = Piece(self._new_number(), [])
        self._at_edge = None if sighting.flaw != EDGE else sighting.time if self._at_edge is None else self._at_edge
        if not sighting.flaw and self._jumps(sighting):
            self._jumping.append(sighting)
            if sighting.time - self._jumping[0].time > _JUMP_SECONDS:
                self._restart()
        else:
            self._keep_jumping()
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
        assert self._piece is not None
        self._piece.sightings.append(sighting)
        if not sighting.flaw:
            self._recent.append(sighting)

    def _keep_jumping(self) -> None:
        """Take a short jump as what it is: frames that are not in use."""
        for sighting in self._jumping:
            self._append(sighting.rejected(JUMP))
        self._jumping = []

    def _restart(self) -> None:
        """Begin a piece with a jump that lasts."""
        jumping, self._jumping = self._jumping, []
        self._finish(JUMP)
        self._piece = Piece(self._new_number(), [])
        for sighting in jumping:
            self._append(sighting)

    def _finish(self, why: str) -> None:
        if self._piece is None:
            return
        self._keep_jumping()
        self._piece.end = why
        self._finished.append(self._piece)
        self._piece, self._doubt = None, ""
        self._recent.clear()

    def _jumps(self, sighting: Sighting) -> bool:
        """Return whether the size differs much from the recent ones."""
        if len(self._recent) < _FEWEST:
            return False
        sizes = np.array([(s.box[3], s.area) for s in self._recent], np.float64)
        height, area = np.median(sizes, 0)
        widest = max(s.box[2] for s in self._recent)
        ratios = ((sighting.box[3] / height, _HEIGHT), (sighting.area / area, _AREA))
        return any(not 1 / most <= ratio <= most for ratio, most in ratios) or sighting.box[2] > _WIDTH * widest


def find_merged(people: Sequence[Person], places: Mapping[int, Sequence[float]]) -> dict[int, list[int]]:
    """Return which people of a frame are two or more that were apart before.

    Args:
        places: track -> the box in which its person is expected.

    Returns:
        The index of each such person, and the tracks that it covers.
    """
    claims: dict[int, list[int]] = {}
    for track, place in places.items():
        shared = [overlap(person.box, place) for person in people]
        if not shared:
            continue
        best = int(np.argmax(shared))
        if shared[best] > _COVERED * place[2] * place[3]:
            claims.setdefault(best, []).append(track)
    merged = {}
    for person, tracks in claims.items():
        size = people[person].box[2] * people[person].box[3]
        largest = max(places[track][2] * places[track][3] for track in tracks)
        if len(tracks) > 1 and size > _LARGER * largest:
            merged[person] = tracks
    return merged
