"""A dry run reports sizes that do not fit, without using memory or random numbers."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from dygait.modeling import MODELS, GaitOutput
from dygait.modeling.dry_run import dry_run

NETWORK: dict[str, Any] = {"model": "DyGait", "variant": "shallow", "channels": [2, 3, 4], "bin_num": [8]}
LARGE: dict[str, Any] = {
    "model": "DyGait", "variant": "deep", "channels": [64, 128, 256, 512], "bin_num": [16, 8], "class_num": 10**7,
}  # fmt: skip


class CustomModel(nn.Module):
    """A custom model with one fault at a time."""

    def __init__(self, fault: str, width: int = 2) -> None:
        super().__init__()
        if fault == "constructor":
            raise ValueError("width: must be odd")
        if fault == "unnamed":
            raise ValueError("no such thing")
        self.fault = fault
        self.modalities = 1
        self.layer = nn.Linear(44, width)
        self.next = nn.Linear(width + (fault == "sizes"), 3)
        if fault == "double":
            self.double()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        if self.fault == "values" and x.sum() > 0:
            x = -x
        if self.fault == "numpy":
            x.numpy()
        features = self.next(self.layer(x)).mean((1, 2))[:, :, None]
        return GaitOutput(features, None, features)


@pytest.fixture(autouse=True)
def custom_model() -> Iterator[None]:
    MODELS.add("CustomModel", CustomModel)
    yield
    del MODELS._entries["CustomModel"]


def problems_of(model_cfg: dict[str, Any], size: tuple[int, int] = (64, 44)) -> list[tuple[str, str]]:
    return [(".".join(p.path), p.message) for p in dry_run(model_cfg, None, [size], 9)[1]]


def test_the_sizes_of_the_output() -> None:
    output, problems = dry_run(LARGE, None, [(64, 44)], 30)
    assert not problems
    assert output.logits.shape == (4, 10**7, 24)


def test_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    dry_run(NETWORK, None, [(64, 44)], 9)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model_cfg", "size", "path", "keyword"),
    [
        ({**NETWORK, "bin_num": [3]}, (64, 44), "bin_num", "32 rows"),
        (NETWORK, (20, 44), "bin_num", "20x44"),
        (NETWORK, (64, 1), "model", "64x1"),
        ({**NETWORK, "channels": [2, 3, 10**12]}, (64, 44), "model", ""),
        ({"model": "GaitGL", "channels": [2, 3, 4]}, (40, 44), "input_size", "8 strips"),
        ({"model": "CustomModel", "fault": "constructor"}, (64, 44), "width", "must be odd"),
        ({"model": "CustomModel", "fault": "unnamed"}, (64, 44), "model", "no such thing"),
        ({"model": "CustomModel", "fault": "sizes"}, (64, 44), "model", "64x44"),
        ({"model": "CustomModel", "fault": "none", "widht": 1}, (64, 44), "widht", "did you mean 'width'"),
    ],
)
def test_sizes_that_do_not_fit(model_cfg: dict[str, Any], size: tuple[int, int], path: str, keyword: str) -> None:
    (first, message), *_ = problems_of(model_cfg, size)
    assert first == path
    assert keyword in message


@pytest.mark.parametrize("fault", ["none", "values", "numpy", "double"])
def test_operations_without_fake_tensors_are_no_problem(fault: str) -> None:
    assert problems_of({"model": "CustomModel", "fault": fault}) == []


def test_another_number_of_channels() -> None:
    (problem,) = dry_run(NETWORK, None, [(2, 64, 44)], 9)[1]
    assert problem.message == "DyGait: the model takes frames of 1 channels, got 2 (with silhouettes of 64x44)"


def test_another_number_of_modalities_is_not_run() -> None:
    assert dry_run(NETWORK, None, [(64, 44)] * 2, 9) == (None, [])
