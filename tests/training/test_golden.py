"""Loss curves equal the recorded ones, so that a change of training is noticed."""

from pathlib import Path

import pytest
import torch

from helpers.golden import RATES, computing_in, curve, recorded


@pytest.mark.parametrize("name", RATES)
def test_loss_curve_is_the_recorded_one(tmp_path: Path, name: str) -> None:
    expected = recorded(name)
    with computing_in(torch.float64):
        actual = curve(name, tmp_path)
    assert actual.keys() == expected.keys()
    for key, values in expected.items():
        assert actual[key] == pytest.approx(values, rel=1e-10), key
