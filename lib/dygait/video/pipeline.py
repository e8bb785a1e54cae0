"""The pipeline of a video: frames -> people -> tracks -> pieces -> sequences of silhouettes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from dygait.logs import log
from dygait.video.options import Options
from dygait.video.period import cut_at_changes
from dygait.video.quality import judge
from dygait.video.segmenters import Person, Segmenter
from dygait.video.segmenters.background import BackgroundSubtraction
from dygait.video.sightings import EDGE, flaws_of, sight
from dygait.video.sources import Frame, Source, open_source
from dygait.video.track import Track
from dygait.video.track_cutting import GONE_SECONDS, Follower, Piece, find_merged
from dygait.video.tracking import Tracker

_SHORTEST = 5  # sightings; shorter pieces are noise
_SETTLING_SECONDS = 0.25  # after two people have touched, a leg may still be segmented as the other person's
_TOUCHES = "touches somebody else"


class Seen(NamedTuple):
    """A person in a frame, as an observer sees it."""

    person: Person
    number: int | None  # number of the track; None if there is none yet
    flaw: str  # why the frame is not in use; empty if it is in use


Observer = Callable[[Frame, list[Seen]], None]


def tracks(
    source: str | Path | int | Source,
    options: Options | None = None,
    segmenter: Segmenter | None = None,
    observe: Observer | None = None,
    notify: Callable[[str], None] = log.warning,
) -> Iterator[Track]:
    """Yield the tracks of a source, each when it ends.

    The length of a track is bounded, and only the current frame is in memory, so that memory does not grow with the
    source. A camera is read until it stops, `options.seconds` are over, or Ctrl-C is pressed; the tracks that have not
    ended by then are still yielded.

    Args:
        source: a video file, a folder of pictures or masks, a camera's number, or an opened source.
        options: the options; None: all defaults.
        segmenter: finds the people in a picture; None: `background`.
        observe: called for every frame with the people in it.
        notify: called with each notice about the source, one sentence: a cut-off file, a shaking camera.

    Raises:
        UserError: the source or the segmenter cannot be used, or the package for tracking is missing.
    """
    options = options or Options()
    segmenter = segmenter or BackgroundSubtraction()
    opened = source if isinstance(source, Source) else open_source(str(source), options.rate, segmenter.reads_masks)
    scene = _Scene(opened, options)
    _notify_all(opened.notices, notify)
    if segmenter.learn_seconds is not None:
        segmenter.learn(opened.sample(segmenter.learn_seconds), opened.rate)
    interruption = contextlib.suppress(KeyboardInterrupt) if opened.is_live else contextlib.nullcontext()
    with interruption:
        for frame in opened.frames():
            if options.seconds is not None and frame.time >= options.seconds:
                break
            people = segmenter.segment(frame.picture)
            _notify_all(segmenter.notices, notify, f"{opened.name}, at {frame.time:.1f} s: ")
            finished, seen = scene.update(frame, people)
            if observe is not None:
                observe(frame, seen)
            yield from finished
    _notify_all(opened.notices, notify)
    yield from scene.end()


def _notify_all(notices: list[str], notify: Callable[[str], None], prefix: str = "") -> None:
    for notice in notices:
        notify(prefix + notice)
    notices.clear()


class _Scene:
    """The people in front of the camera."""

    def __init__(self, source: Source, options: Options) -> None:
        self._name = source.name
        self._options = options
        self._tracker = Tracker(source.rate)
        self._new_number = itertools.count(1).__next__
        self._followers: dict[int, Follower] = {}

    def update(self, frame: Frame, people: list[Person]) -> tuple[list[Track], list[Seen]]:
        """Process the people of the next frame; return the tracks that have ended, and the people that are seen."""
        finished = [
            piece
            for track, follower in list(self._followers.items())
            if frame.time - follower.last.time > GONE_SECONDS
            for piece in self._end(track)
        ]
        expected = {track: follower.expected_box(frame.time) for track, follower in self._followers.items()}
        merged = find_merged(people, expected)
        for tracks_ in merged.values():
            for track in tracks_:
                self._followers[track].doubt(f"{_TOUCHES} at {frame.time:.1f} s", _SETTLING_SECONDS)
        seen = [Seen(people[index], None, _TOUCHES) for index in merged]
        separate = [person for index, person in enumerate(people) if index not in merged]
        flaws = flaws_of(separate, frame.picture.shape[:2], self._options.min_height)
        numbers = self._tracker.update(frame.index, separate)
        for person, flaw, number in zip(separate, flaws, numbers, strict=True):
            if number is None:
                seen.append(Seen(person, None, flaw))
                continue
            if number not in self._followers:
                self._followers[number] = Follower(self._new_number)
            follower = self._followers[number]
            sighting = sight(frame.index, frame.time, person, flaw)
            finished += follower.add(sighting)
            seen.append(Seen(person, follower.number, sighting.flaw))
        return self._judge_pieces(finished), seen

    def end(self) -> list[Track]:
        """End all tracks."""
        return self._judge_pieces([piece for track in list(self._followers) for piece in self._end(track)])

    def _end(self, track: int) -> list[Piece]:
        follower = self._followers.pop(track)
        return follower.end("left the picture" if follower.last.flaw == EDGE else "not seen any more")

    def _judge_pieces(self, pieces: list[Piece]) -> list[Track]:
        parts = [part for piece in pieces for part in cut_at_changes(piece, self._new_number)]
        return [judge(part, self._options, self._name) for part in parts if len(part.sightings) >= _SHORTEST]
