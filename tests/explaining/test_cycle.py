"""The phase of the step, read from silhouettes, against that of synthetic walkers."""

import numpy as np
import pytest

from dygait.explaining.cycle import step_phase
from dygait.synthetic.body_parts import gait_phase
from dygait.synthetic.settings import PRESETS
from dygait.synthetic.walker import render_frames, walk


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_it_is_that_of_the_walk(subject: int) -> None:
    settings = PRESETS["quick"]
    frames = render_frames(settings, subject, "nm-01", "090", walk(settings, subject, "nm-01"))
    found = step_phase(frames)
    assert found is not None
    true = 2 * gait_phase(settings, subject, "nm-01")  # the legs are apart where either heel strikes
    away = (found - true + 0.5) % 1 - 0.5
    middle = np.angle(np.exp(2j * np.pi * away).mean()) / (2 * np.pi)
    assert abs(middle) < 0.12
    assert np.abs((away - middle + 0.5) % 1 - 0.5).max() < 0.12


def test_a_known_period() -> None:
    frames = np.zeros((40, 64, 64), np.uint8)
    for frame, time in zip(frames, range(40), strict=True):
        half = round(8 + 5 * np.cos(2 * np.pi * (time - 3) / 11))
        frame[:, 32 - half : 32 + half] = 255
    found = step_phase(frames)
    assert found is not None
    assert np.diff(found) == pytest.approx(1 / 11, rel=0.03)
    assert (found[3] + 0.5) % 1 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("kind", ["still", "noise", "empty", "short"])
def test_there_is_none(kind: str) -> None:
    frames = np.zeros((40, 64, 64), np.uint8)
    if kind == "still":
        frames[:, :, 20:30] = 255
    elif kind == "noise":
        rng = np.random.default_rng(0)
        for frame, half in zip(frames, rng.integers(4, 20, 40).tolist(), strict=True):
            frame[:, 32 - half : 32 + half] = 255
    elif kind == "short":
        frames = frames[:4]
    assert step_phase(frames) is None
