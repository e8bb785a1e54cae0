"""The device that `tests/gpu` runs on: the first GPU; or, to try those tests themselves, a CPU."""

import os

import torch

ON_CPU = "DYGAIT_GPU_TESTS"
"""The variable of the environment that, set to `cpu`, has the tests run on a CPU, as far as they can."""


def _found() -> torch.device | None:
    if os.environ.get(ON_CPU) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


DEVICE = _found()
"""None: there is none."""
