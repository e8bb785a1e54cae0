"""Building a network from a `model_cfg` mapping."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from torch import nn

from dygait.errors import UserError
from dygait.modeling import backbones, models
from dygait.modeling.registry import MODELS

for _package in (backbones, models):
    for _module in iter_modules(_package.__path__):  # importing a file registers its models
        import_module(f"{_package.__name__}.{_module.name}")


def complete_model_cfg(
    model_cfg: Mapping[str, Any], dataset_name: str | None, class_num: int | None = None
) -> dict[str, Any]:
    """Return a copy of the mapping with the missing settings that depend on the data.

    A model may choose defaults by `dataset_name`, as DyGait does its variant; `class_num` is set for a model with a
    class head.
    """
    model = model_cfg.get("model")
    if not isinstance(model, str) or model not in MODELS:
        return dict(model_cfg)
    entry = MODELS.get(model)
    choose = getattr(entry, "chosen_by_dataset", None)
    completed = {**(choose(dataset_name) if choose else {}), **model_cfg}
    if class_num is not None and lacks_class_num(model_cfg):
        completed["class_num"] = class_num
    return completed


def lacks_class_num(model_cfg: Mapping[str, Any]) -> bool:
    """Return whether a model takes the number of classes and the mapping does not set it."""
    necks = model_cfg.get("SeparateBNNecks")
    is_set = "class_num" in model_cfg or (isinstance(necks, Mapping) and "class_num" in necks)
    return not is_set and takes(model_cfg["model"], "class_num")


def takes(model: str, keyword: str) -> bool:
    """Return whether the constructor of a registered model has a keyword."""
    return keyword in inspect.signature(MODELS.get(model)).parameters


def build_model(model_cfg: Mapping[str, Any], dataset_name: str | None = None) -> nn.Module:
    """Build the network that a `model_cfg` mapping describes.

    Args:
        model_cfg: `model`, the network's name, and the keyword arguments of its constructor. `input_size`, which the
            check of a configuration uses, is passed only to constructors that take it.
        dataset_name: a model may choose defaults by it, as DyGait does its variant.

    Returns:
        A module: `model(silhouettes, lengths=None)` takes float (N, S, H, W) in 0..1, S at least 1, and the true
        lengths (N,) of the sequences, each from 1 to S, preferably on the host, and returns a `GaitOutput`. Frames
        beyond a sequence's length are ignored; None: all have S frames. A model whose attribute `in_channels` is C > 1
        takes (N, S, C, H, W), or a tuple of modalities with C channels in total, which it stacks.

    Raises:
        UserError: the model is unknown, or its keywords do not fit.
    """
    if not isinstance(model_cfg, Mapping):
        raise UserError("model_cfg must be a mapping with the key `model`")
    completed = complete_model_cfg(model_cfg, dataset_name)
    model = str(completed.get("model"))
    if completed.get("input_size") is None or (model in MODELS and not takes(model, "input_size")):
        completed.pop("input_size", None)
    return MODELS.build(completed)
