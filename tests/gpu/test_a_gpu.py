"""Whether there is a GPU at all."""

import pytest
import torch

from helpers.accelerator import DEVICE, ON_CPU


def test_there_is_one() -> None:
    if DEVICE is None:
        pytest.skip(f"no GPU: the tests of tests/gpu have not run ({ON_CPU}=cpu runs on a CPU those that can)")
    assert (torch.arange(3, device=DEVICE) * 2).tolist() == [0, 2, 4]
