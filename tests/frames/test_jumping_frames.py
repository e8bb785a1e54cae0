"""Frames that jump relative to their neighbours, in raw masks and in normalised frames."""

import numpy as np
import pytest

from dygait.frames.jumping_frames import Measures, find_jumps, measure
from dygait.frames.normalisation import is_normalised, normalise_silhouette

SHAPE = (240, 320)


def mask(left: int, height: int = 120, width: int = 40, top: int = 60) -> np.ndarray:
    image = np.zeros(SHAPE, np.uint8)
    image[top : top + height, left : left + width] = 255
    return image


def walk(frames: int = 20) -> list[np.ndarray]:
    """Return masks that walk from left to right and grow by 1 % a frame, with legs that open and close."""
    return [mask(20 + 9 * n, 90 + n, 40 + (10 if n % 4 < 2 else 0)) for n in range(frames)]


def jumps(images: list[np.ndarray]) -> dict[int, str]:
    return {jump.frame: jump.what for jump in find_jumps([measure(image) for image in images])}


def test_measures() -> None:
    image = mask(100, 50, 20, 30)
    measures = measure(image)
    assert (measures.height, measures.largest) == (50, 50)
    assert measures.area == pytest.approx(1000, rel=0.2)
    assert (measures.x, measures.y) == pytest.approx((109.5, 54.5), abs=1)
    image[45:47] = 0  # a gap does not split the person
    assert measure(image) == measures
    image[239, 319] = 200
    image[0, 0] = 127  # background
    measures = measure(image)
    assert (measures.height, measures.largest) == (210, 50)
    assert measure(np.zeros(SHAPE, np.uint8)) == (0, 0, 0, 0, 0)


def test_a_walk_does_not_jump() -> None:
    assert jumps(walk()) == {}
    assert jumps(walk(5)) == jumps(walk(6)[::-1]) == {}


@pytest.mark.parametrize("frame", [0, 1, 9, 18, 19])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda image: np.maximum(image, np.eye(*SHAPE, dtype=np.uint8) * np.uint8(255)), "height"),
        (lambda image: image * (np.arange(SHAPE[0]) < 115)[:, None].astype(np.uint8), "height"),
        (lambda image: np.maximum.reduce([image, np.roll(image, 38, 1), np.roll(image, 76, 1)]), "area"),
        (lambda image: np.roll(image, 40, 0), "centre"),
    ],
)
def test_one_jumping_frame(frame: int, change, what: str) -> None:  # type: ignore[no-untyped-def]
    images = walk()
    images[frame] = change(images[frame])
    assert jumps(images) == {frame: what}
    (jump,) = find_jumps([measure(image) for image in images])
    assert what in str(jump)
    assert jump.amount > 0


def test_jumps_in_normalised_frames() -> None:
    images = walk()
    for index in (4, 5, 12):
        images[index][0, 300] = images[index][235:, 300] = 255
    frames = [frame for image in images if (frame := normalise_silhouette(image)) is not None]
    assert jumps(frames) == {4: "height", 5: "height", 12: "height"}


def test_specks_in_half_of_the_frames_are_detected() -> None:
    rng, images = np.random.default_rng(0), walk(40)
    dirty = rng.permutation(40)[:20].tolist()
    for index in dirty:
        images[index][238:, 3:6] = 255
    assert len(jumps([image for image in images if image.any()])) >= 8


def test_short_sequences_and_empty_frames() -> None:
    images = walk()
    images[3][:] = 0
    images[9] = np.roll(images[9], 40, 0)
    assert jumps(images) == {9: "centre"}
    assert jumps(images[7:11]) == {}
    assert find_jumps([]) == find_jumps([Measures(0, 0, 0, 0, 0)] * 9) == []


def test_is_normalised() -> None:
    frames = np.stack([frame for image in walk() if (frame := normalise_silhouette(image)) is not None])
    assert is_normalised(frames)
    assert not is_normalised(np.stack(walk()))
    frames[:9, 0] = 0
    assert is_normalised(frames)
    frames[:11, -1] = 0
    assert not is_normalised(frames)
