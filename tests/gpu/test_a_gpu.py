"""Whether there is a GPU at all."""

import pytest
import torch

from helpers.accelerator import DEVICE, ON_CPU


def test_there_is_one() -> None:
    if DEVICE is None:
        pytest.skip(f"no GPU: nothing of tests/gpu has run ({ON_CPU}=cpu tries on a CPU what can be tried there)")
    assert (torch.arange(3, device=DEVICE) * 2).tolist() == [0, 2, 4]
