"""Parts of the body in frames: strips of the silhouette, and its surroundings."""

import numpy as np

from dygait.explaining.parts import REACH, STRIPS, strips, with_surroundings


def test_strips_of_a_silhouette() -> None:
    frames = np.zeros((2, 64, 64), np.uint8)
    frames[0, :, 20:30] = 255
    labels = strips(frames)
    assert not labels[0, :, :20].any()
    assert not labels[1].any()
    rows = labels[0, :, 25].tolist()
    assert rows == sorted(rows)
    assert [rows.count(number) for number in range(1, len(STRIPS) + 1)] == [12, 18, 16, 14, 4]


def test_surroundings_have_the_label_of_the_nearest_part() -> None:
    """Pixel by pixel against a loop over all labelled pixels."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((2, 32, 20)) < 0.02, rng.integers(1, 4, (2, 32, 20)), 0).astype(np.uint8)
    labels[1] = 0
    labels[1, 5, 5] = 2
    for frame, spread in zip(labels, with_surroundings(labels), strict=True):
        points = np.argwhere(frame)
        for y, x in np.ndindex(32, 20):
            distances = np.hypot(*(points - (y, x)).T)
            nearest = {int(frame[tuple(p)]) for p in points[np.isclose(distances, distances.min())]}
            if distances.min() < REACH * 32 - 1e-3:
                assert spread[y, x] in nearest
            elif distances.min() > REACH * 32 + 1e-3:
                assert spread[y, x] == 0


def test_an_empty_frame_has_no_surroundings() -> None:
    assert not with_surroundings(np.zeros((1, 8, 8), np.uint8)).any()
