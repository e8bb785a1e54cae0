"""The device of `tests/gpu`: the first GPU, or a CPU to check those tests themselves."""

import os

import torch

ON_CPU = "DYGAIT_GPU_TESTS"
"""The environment variable that, set to `cpu`, runs on a CPU those of the tests that can."""


def _choose_device() -> torch.device | None:
    if os.environ.get(ON_CPU) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


DEVICE = _choose_device()
"""None without a GPU."""
