"""Windows cover a sequence."""

from itertools import pairwise

import numpy as np
import pytest

from dygait.identification.windows import FEWEST, windows_of, windows_of_all


@pytest.mark.parametrize("length", [FEWEST, 29, 30, 31, 44, 45, 46, 60, 100])
@pytest.mark.parametrize(("size", "step"), [(30, 15), (16, 16), (20, 7)])
def test_every_frame_is_in_a_window(length: int, size: int, step: int) -> None:
    frames = np.arange(length)[:, None, None]
    found = [window[:, 0, 0].tolist() for window in windows_of(frames, size, step)]
    assert sorted({n for window in found for n in window}) == list(range(length))
    assert {len(window) for window in found} == {min(size, length)}
    firsts = [window[0] for window in found]
    assert len(set(firsts)) == len(firsts)
    assert all(0 < after - before <= step for before, after in pairwise(firsts))
    assert all(window == list(range(window[0], window[0] + len(window))) for window in found)


def test_a_step_of_frames_is_too_short() -> None:
    assert windows_of(np.zeros((FEWEST - 1, 2, 2), np.uint8)) == []


def test_windows_of_several_sequences() -> None:
    lengths = (60, 3, 31)
    windows, starts = windows_of_all([np.full((n, 2, 2), n, np.uint8) for n in lengths])
    assert starts == [0, 3, 3, 5]
    assert [int(window[0, 0, 0]) for window in windows] == [60] * 3 + [31] * 2
    assert windows_of_all([])[1] == [0]
