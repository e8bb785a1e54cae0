"""Tests of a GPU: `bash scripts/test.sh tests/gpu`. Without a GPU, one test is skipped, and the others are ignored.

`DYGAIT_GPU_TESTS=cpu` runs those that can run on a CPU there; `tests/test_gpu_tests.py` does so.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.accelerator import DEVICE

collect_ignore = [p.name for p in Path(__file__).parent.glob("test_*.py") if DEVICE is None and p.stem != "test_a_gpu"]


@pytest.fixture
def device() -> torch.device:
    assert DEVICE is not None
    return DEVICE


@pytest.fixture(autouse=True)
def _exact_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unhide the GPU, and disable TF32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: DEVICE is not None and DEVICE.type == "cuda")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs CUDA")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a CPU, deselect tests that need CUDA, and all but one case for each value of each parameter."""
    if DEVICE is None or DEVICE.type == "cuda":
        return
    seen: set[tuple[str, str, str]] = set()
    selected = []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {"": ""}
        values = {(item.function.__qualname__, name, str(value)) for name, value in parameters.items()}
        if item.get_closest_marker("cuda") is None and not values <= seen:
            selected.append(item)
            seen |= values
    config.hook.pytest_deselected(items=[item for item in items if item not in selected])
    items[:] = selected
