"""A dry run of a network on fake tensors, which have shapes but no data: it finds sizes that do not fit in a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)

from dygait.config_problems import Problem, SettingsError
from dygait.modeling.build import build_model
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS

_SEQUENCES = 4  # a BatchNorm in training needs two, and so does each of two views
_NOT_FAKEABLE = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
_NOT_FAKEABLE_MESSAGES = ("not supported for tensor subclasses", "Couldn't swap")
"""Messages of `.numpy()`, and of a constructor that converts its weights (`.double()`)."""
Sizes = Sequence[tuple[int, ...]]
"""(H, W) or (C, H, W) of each modality."""


def forward_once(
    model_cfg: Mapping[str, Any], dataset_name: str | None, sizes: Sizes, frames: int
) -> tuple[nn.Module, GaitOutput]:
    """Build a network in training mode and run one forward pass; to be called in FakeTensorMode.

    Takes the arguments of `build_model`, the size of each modality, where a single (H, W) gets the channels of the
    model, and S.

    Raises:
        ValueError: a single (C, H, W) does not have the model's number of channels.
    """
    model = build_model(model_cfg, dataset_name)
    if len(sizes) == 1:
        sizes = [(*_channels(model, sizes[0][:-2]), *sizes[0][-2:])]
    inputs = tuple(torch.empty(_SEQUENCES, frames, *size) for size in sizes)
    return model, model(inputs[0] if len(inputs) == 1 else inputs)


def _channels(model: nn.Module, channels: tuple[int, ...]) -> tuple[int, ...]:
    """Return (C,), or () for one channel, of a network's input; ValueError unless `channels` is () or fits."""
    expected = getattr(model, "in_channels", 1)
    if channels not in ((), (expected,)):
        raise ValueError(f"the model takes frames of {expected} channels, got {channels[0]}")
    return (expected,) if expected > 1 else ()


def dry_run(
    model_cfg: Mapping[str, Any], dataset_name: str | None, sizes: Sizes, frames: int
) -> tuple[GaitOutput | None, list[Problem]]:
    """Return the output of `forward_once` on fake tensors, and the problems of building and running the network.

    The output is None, without a problem, for a network that needs values or conversions that fake tensors lack, and
    for one that takes another number of modalities.
    """
    name = str(model_cfg.get("model"))
    modalities = getattr(MODELS.get(name), "modalities", 1) if name in MODELS else 1
    try:
        with FakeTensorMode(), torch.no_grad():
            if modalities == len(sizes):
                return forward_once(model_cfg, dataset_name, sizes, frames)[1], []
            build_model(model_cfg, dataset_name)
            return None, []
    except SettingsError as error:
        return None, error.problems
    except _NOT_FAKEABLE:
        return None, []
    except (ValueError, RuntimeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        if any(text in message for text in _NOT_FAKEABLE_MESSAGES):
            return None, []
        problem = MODELS.problem(name, message, ("input_size",))
        shown = " and ".join("x".join(map(str, size[-2:])) for size in sizes)
        return None, [Problem(problem.path, f"{problem.message} (with silhouettes of {shown})")]
