"""The step phase estimated from silhouettes against the true phase of synthetic walkers."""

import numpy as np
import pytest

from dygait.explaining.cycle import step_phase
from dygait.synthetic.body_parts import gait_phase
from dygait.synthetic.settings import PRESETS
from dygait.synthetic.walker import render_frames, walk


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_phase_of_a_synthetic_walk(subject: int) -> None:
    settings = PRESETS["quick"]
    frames = render_frames(settings, subject, "nm-01", "090", walk(settings, subject, "nm-01"))
    phase = step_phase(frames)
    assert phase is not None
    true = 2 * gait_phase(settings, subject, "nm-01")  # the legs are farthest apart at either heel strike
    error = (phase - true + 0.5) % 1 - 0.5
    mean_error = np.angle(np.exp(2j * np.pi * error).mean()) / (2 * np.pi)
    assert abs(mean_error) < 0.12
    assert np.abs((error - mean_error + 0.5) % 1 - 0.5).max() < 0.12


def test_a_known_period() -> None:
    frames = np.zeros((40, 64, 64), np.uint8)
    for frame, time in zip(frames, range(40), strict=True):
        half_width = round(8 + 5 * np.cos(2 * np.pi * (time - 3) / 11))
        frame[:, 32 - half_width : 32 + half_width] = 255
    phase = step_phase(frames)
    assert phase is not None
    assert np.diff(phase) == pytest.approx(1 / 11, rel=0.03)
    assert (phase[3] + 0.5) % 1 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("kind", ["still", "noise", "empty", "short"])
def test_no_phase(kind: str) -> None:
    frames = np.zeros((40, 64, 64), np.uint8)
    if kind == "still":
        frames[:, :, 20:30] = 255
    elif kind == "noise":
        rng = np.random.default_rng(0)
        for frame, half_width in zip(frames, rng.integers(4, 20, 40).tolist(), strict=True):
            frame[:, 32 - half_width : 32 + half_width] = 255
    elif kind == "short":
        frames = frames[:4]
    assert step_phase(frames) is None
