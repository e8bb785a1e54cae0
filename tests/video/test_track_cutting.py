"""Where tracks are cut, on synthetic sightings without pictures."""

import dataclasses
import itertools

import numpy as np

from dygait.video.period import cut_at_changes, step_seconds
from dygait.video.segmenters import Person
from dygait.video.sightings import APART, EDGE, HIDDEN, JUMP, SMALL, Sighting, flaws_of
from dygait.video.track_cutting import Follower, Piece, find_merged

RATE = 25


def sighting(index: int, height: int = 100, width: int = 40, left: int = 0, flaw: str = "") -> Sighting:
    silhouette = None if flaw else np.zeros((64, 64), np.uint8)
    return Sighting(index, index / RATE, (left, 50, width, height), height * width // 2, silhouette, flaw)


def follow(sightings: list[Sighting]) -> list[Piece]:
    numbers = itertools.count(1)
    follower = Follower(lambda: next(numbers))
    pieces = [piece for current in sightings for piece in follower.add(current)]
    return pieces + follower.end("left")


def indices(piece: Piece) -> list[int]:
    return [s.index for s in piece.sightings]


def test_a_regular_track_is_one_piece() -> None:
    (piece,) = follow([sighting(i, width=35 + 10 * (i % 3)) for i in range(50)])
    assert (piece.number, piece.end, indices(piece)) == (1, "left", list(range(50)))
    assert not any(s.flaw for s in piece.sightings)


def test_a_short_jump_is_skipped() -> None:
    sizes = [100] * 20 + [40] * 5 + [100] * 20
    (piece,) = follow([sighting(i, height) for i, height in enumerate(sizes)])
    assert [s.index for s in piece.sightings if s.flaw == JUMP] == list(range(20, 25))
    assert indices(piece) == list(range(45))


def test_a_lasting_jump_cuts_the_track() -> None:
    widths = [40] * 20 + [90] * 20 + [40] * 20
    first, middle, second = follow([sighting(i, width=width) for i, width in enumerate(widths)])
    assert (indices(first), first.end) == (list(range(20)), JUMP)
    assert (indices(middle), middle.end) == (list(range(20, 40)), JUMP)
    assert (indices(second), second.end) == (list(range(40, 60)), "left")
    assert [first.number, middle.number, second.number] == [1, 2, 3]
    assert not any(s.flaw for piece in (first, middle, second) for s in piece.sightings)


def test_slow_growth_is_no_jump() -> None:
    assert len(follow([sighting(i, height=60 + 2 * i, width=25 + i) for i in range(100)])) == 1


def test_a_gap_cuts_and_a_short_one_does_not() -> None:
    (piece,) = follow([sighting(i) for i in [*range(20), *range(30, 50)]])
    assert len(piece.sightings) == 40
    before, after = follow([sighting(i) for i in [*range(20), *range(40, 60)]])
    assert before.end == "not seen for 0.8 s"
    assert indices(after) == list(range(40, 60))


def test_leaving_and_entering_at_the_edge_are_separate_pieces() -> None:
    def flawed(count: int) -> list[Sighting]:
        edge = [sighting(20 + i, flaw=EDGE) for i in range(count)]
        return [*(sighting(i) for i in range(20)), *edge, *(sighting(20 + count + i) for i in range(20))]

    before, after = follow(flawed(10))
    assert (before.end, len(before.sightings), len(after.sightings)) == (EDGE, 30, 20)
    assert len(follow(flawed(3))) == 1
    assert len(follow([sighting(i, flaw=EDGE if i < 10 else "") for i in range(30)])) == 1  # entering


def test_tracks_have_a_maximum_length() -> None:
    pieces = follow([sighting(i) for i in range(RATE * 150)])
    assert [piece.end for piece in pieces] == ["longer than 60 s", "longer than 60 s", "left"]
    assert sum(len(piece.sightings) for piece in pieces) == RATE * 150


def test_a_doubt_cuts_the_track_or_becomes_the_reason_of_its_end() -> None:
    follower = Follower(lambda: 7)
    for i in range(10):
        assert not follower.add(sighting(i))
    follower.doubt("touches")
    (piece,) = follower.add(sighting(12))
    assert (piece.end, indices(piece)) == ("touches", list(range(10)))
    follower.doubt("touches", settling=0.19)
    for i in range(13, 24):
        follower.add(sighting(i))
    follower.doubt("touches again")
    (piece,) = follower.end("left")
    assert piece.end == "touches again"
    assert [s.flaw for s in piece.sightings] == [APART] * 5 + [""] * 6


def test_the_expected_box_moves() -> None:
    follower = Follower(lambda: 1)
    for i in range(10):
        follower.add(sighting(i, left=5 * i))
    np.testing.assert_allclose(follower.expected_box(13 / RATE), (65, 50, 40, 100))


def person(left: int, top: int, width: int, height: int) -> Person:
    return Person((left, top, width, height), np.full((height, width), 255, np.uint8))


def test_merged_people_are_detected() -> None:
    boxes = {1: (100, 100, 40, 100), 2: (145, 100, 40, 100)}
    assert find_merged([person(100, 100, 85, 100)], boxes) == {0: [1, 2]}
    assert find_merged([person(100, 100, 40, 100), person(145, 100, 40, 100)], boxes) == {}
    assert find_merged([person(100, 100, 40, 100)], boxes) == {}
    assert find_merged([], boxes) == {}


def test_flaws_of_a_single_frame() -> None:
    people = [person(0, 10, 30, 80), person(50, 20, 20, 40), person(100, 10, 40, 80), person(110, 5, 40, 80)]
    assert flaws_of(people, (100, 200), min_height=48) == [EDGE, SMALL, "", HIDDEN]
    assert flaws_of([person(50, 20, 40, 80)], (100, 200), 48) == [EDGE]  # cut off at the feet
    assert flaws_of([person(50, 19, 40, 80)], (100, 200), 48) == [""]


def walking_sightings(step: float, first: int, count: int) -> list[Sighting]:
    """Return sightings of legs that open and close with a period of `step` seconds."""
    sightings = []
    for i in range(first, first + count):
        half_width = 4 + round(8 * abs(np.cos(np.pi * i / RATE / step)))
        frame = np.zeros((64, 64), np.uint8)
        frame[:42, 26:38] = 255
        frame[42:, 32 - half_width : 32 + half_width] = 255
        sightings.append(dataclasses.replace(sighting(i), silhouette=frame))
    return sightings


def frames_of(sightings: list[Sighting]) -> np.ndarray:
    return np.stack([s.silhouette for s in sightings if s.silhouette is not None])


def test_step_seconds() -> None:
    for step in (0.44, 0.56, 0.72):
        sightings = walking_sightings(step, 0, 75)
        assert step_seconds(np.array([s.time for s in sightings]), frames_of(sightings)) == step
    still = [dataclasses.replace(s, silhouette=sightings[0].silhouette) for s in sightings]
    assert step_seconds(np.array([s.time for s in still]), frames_of(still)) is None


def test_a_change_of_the_period_cuts_the_track() -> None:
    piece = Piece(1, walking_sightings(0.72, 0, 100) + walking_sightings(0.48, 100, 100), "left")
    first, second = cut_at_changes(piece, lambda: 2)
    assert abs(len(first.sightings) - 100) <= 13
    assert first.end == "its gait period jumps"
    assert (second.number, second.end) == (2, "left")
    steady = Piece(1, walking_sightings(0.6, 0, 200), "left")
    assert cut_at_changes(steady, lambda: 2) == [steady]
