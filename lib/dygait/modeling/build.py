"""From a `model_cfg` mapping to a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from torch import nn

from dygait.errors import UserError
from dygait.modeling import backbones, models
from dygait.modeling.registry import MODELS

for _package in (backbones, models):
    for _module in iter_modules(_package.__path__):  # a file in the folder is a model in the registry
        import_module(f"{_package.__name__}.{_module.name}")


def complete_model_cfg(model_cfg: Mapping[str, Any], dataset_name: str | None) -> dict[str, Any]:
    """Fill in what a model lets the dataset's name decide, where the mapping does not say it."""
    model = model_cfg.get("model")
    known = isinstance(model, str) and model in MODELS
    chosen = getattr(MODELS.get(str(model)), "chosen_by_dataset", None) if known else None
    return {**(chosen(dataset_name) if chosen else {}), **model_cfg}


def build_model(model_cfg: Mapping[str, Any], dataset_name: str | None = None) -> nn.Module:
    """Build the network that a `model_cfg` mapping describes.

    Args:
        model_cfg: `model`, the network's name, and its constructor's keywords.
        dataset_name: lets a model choose what the mapping leaves open, as DyGait does its variant.

    Returns:
        A module: `model(silhouettes, lengths=None)` takes float (N, S, H, W) in 0..1 and the sequences' true lengths
        (N,), and returns a `GaitOutput`.

    Raises:
        UserError: the model is unknown, or its keywords are; every problem is listed.
    """
    if not isinstance(model_cfg, Mapping):
        raise UserError("model_cfg must be a mapping with the key `model`")
    return MODELS.build(complete_model_cfg(model_cfg, dataset_name))
