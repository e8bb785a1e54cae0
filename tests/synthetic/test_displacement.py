"""Displacements of normalised frames."""

import json

import cv2
import numpy as np
import pytest

from dygait.data.stores import open_store
from dygait.errors import UserError
from dygait.synthetic import displacement
from dygait.synthetic.cameras import VIEWS

WALKERS = "syngait://quick?seed=3&train_ids=1&test_ids=0&frames=4"


def test_a_frame_is_sampled_at_displaced_positions() -> None:
    """A plain loop, bilinear; OpenCV rounds positions to 1/32 of a pixel."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (2, displacement.ROWS, displacement.COLUMNS))
    columns, rows = displacement.sampling_positions(points)
    frame = np.zeros((64, 64))
    frame[20:40, 25:38] = np.linspace(50, 250, 13)
    for y, x in ((25, 30), (33, 28), (30, 36)):
        u, v = float(columns[y, x]), float(rows[y, x])
        left, top = int(u), int(v)
        a, b = u - left, v - top
        expected = (1 - b) * ((1 - a) * frame[top, left] + a * frame[top, left + 1]) + b * (
            (1 - a) * frame[top + 1, left] + a * frame[top + 1, left + 1]
        )
        sampled = cv2.remap(frame.astype(np.float32), columns, rows, cv2.INTER_LINEAR)
        assert sampled[y, x] == pytest.approx(expected, abs=3)


def test_equal_points_move_the_whole_frame() -> None:
    columns, rows = displacement.sampling_positions(np.stack([np.full((7, 4), 2.0), np.full((7, 4), -1.0)]))
    assert columns[10, 20] == pytest.approx(22)
    assert rows[10, 20] == pytest.approx(9)


def test_each_condition_and_view_has_points() -> None:
    content = json.loads(displacement.FILE.read_text())
    assert set(content) == {"nm", "bg", "cl"}
    for by_view in content.values():
        assert tuple(by_view) == VIEWS
        assert {np.shape(points) for points in by_view.values()} == {(2, displacement.ROWS * displacement.COLUMNS)}


def test_frames_of_a_dataset_are_displaced() -> None:
    before, after = open_store(WALKERS), open_store(f"{WALKERS}&cameras.displacement=1")
    for index, (_, kind, view) in list(enumerate(before.table.all_keys()))[::17]:
        frames = np.asarray(before.read(index))
        expected = displacement.displace(frames, kind, view, 1.0)
        assert (expected != frames).any()
        np.testing.assert_array_equal(np.asarray(after.read(index)), expected)


def test_other_cameras_are_refused() -> None:
    with pytest.raises(UserError, match=r": cameras\.displacement: leave [^,]*$"):
        open_store("syngait://wild?cameras.displacement=1")
