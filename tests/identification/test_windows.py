"""The windows of a sequence cover all of its frames."""

from itertools import pairwise

import numpy as np
import pytest

from dygait.identification.windows import FEWEST, windows_of, windows_of_all


@pytest.mark.parametrize("length", [FEWEST, 29, 30, 31, 44, 45, 46, 60, 100])
@pytest.mark.parametrize(("size", "step"), [(30, 15), (16, 16), (20, 7)])
def test_every_frame_is_in_a_window(length: int, size: int, step: int) -> None:
    frames = np.arange(length)[:, None, None]
    windows = [window[:, 0, 0].tolist() for window in windows_of(frames, size, step)]
    assert sorted({n for window in windows for n in window}) == list(range(length))
    assert {len(window) for window in windows} == {min(size, length)}
    starts = [window[0] for window in windows]
    assert len(set(starts)) == len(starts)
    assert all(0 < after - before <= step for before, after in pairwise(starts))
    assert all(window == list(range(window[0], window[0] + len(window))) for window in windows)


def test_a_short_sequence_has_no_windows() -> None:
    assert windows_of(np.zeros((FEWEST - 1, 2, 2), np.uint8)) == []


def test_windows_of_several_sequences() -> None:
    lengths = (60, 3, 31)
    windows, starts = windows_of_all([np.full((n, 2, 2), n, np.uint8) for n in lengths])
    assert starts == [0, 3, 3, 5]
    assert [int(window[0, 0, 0]) for window in windows] == [60] * 3 + [31] * 2
    assert windows_of_all([])[1] == [0]
