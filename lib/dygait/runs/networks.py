"""Building the network of a configuration, and checks of its classes and weights."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from dygait.config.schema import Config
from dygait.errors import UserError
from dygait.evaluation import classification_of
from dygait.losses import LOSSES
from dygait.modeling import MODELS, build_model, complete_model_cfg, lacks_class_num
from dygait.runs.sources import Data, open_partition


def build_network(config: Config, device: torch.device) -> nn.Module:
    """Build the model of a configuration; its initial weights depend only on the seed.

    Raises:
        UserError: the model takes another number of modalities (its attribute `modalities`, by default 1) than are
            read.
    """
    settings = model_settings(config)
    torch.manual_seed(config.trainer_cfg.seed)
    model = build_model(settings)
    expected, inputs = getattr(model, "modalities", 1), config.modalities
    if expected != inputs:
        raise UserError(
            f"data_cfg.data_in_use and trainer_cfg.transform make {inputs} input(s) of a sequence, but the model "
            f"{config.model_cfg.model} takes {expected}: "
            + ("give one transform, which stacks the files to channels" if expected == 1 else "read as many files")
        )
    return model.to(device)


def model_settings(config: Config) -> dict[str, Any]:
    """Return `model_cfg` with the missing settings that depend on the data: the variant, and the number of classes."""
    model_cfg = {k: v for k, v in config.model_cfg.model_dump().items() if v is not None}
    reads = [LOSSES.get(term.type).reads for term in config.loss_cfg if term.type in LOSSES]
    class_num = None
    if needs_classes(model_cfg, reads):
        protocol = classification_of(config)
        classes = set(open_partition(config).train) if protocol is None else protocol.classes
        class_num = max(1, len(classes or ()))  # a partition without training ids is for tests: any number will do
    return complete_model_cfg(model_cfg, config.data_cfg.dataset_name, class_num)


def needs_classes(model_cfg: Mapping[str, Any], reads: Iterable[str]) -> bool:
    """Return whether the number of classes is not set, but needed by the model or by a loss that reads logits.

    `reads` names the outputs that the losses read.
    """
    model = model_cfg.get("model")
    if not isinstance(model, str) or model not in MODELS or not lacks_class_num(model_cfg):
        return False
    required = inspect.signature(MODELS.get(model)).parameters["class_num"].default is inspect.Parameter.empty
    return required or "logits" in reads or model_cfg.get("SeparateBNNecks") is not None


def check_classes(model: nn.Module, data: Data) -> None:
    """Raise a UserError if the class head has fewer classes than training ids, or not as many as the protocol."""
    classes, ids, protocol = getattr(model, "class_num", None), len(data.train_ids), data.classification
    if classes is not None and protocol is not None:
        needed = len(protocol.classes or ())
        if classes != needed:
            raise UserError(f"model_cfg: class_num is {classes}, but the protocol {protocol.name} has {needed} classes")
    elif classes is not None and classes < ids:
        raise UserError(f"model_cfg: class_num is {classes}, but {ids} ids train; set it to {ids} or more")


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Exclude weights whose names match a pattern from training; UserError if none match, or none remain."""
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching_names(parameters, pattern, "trainer_cfg.freeze"):
            parameters[name].requires_grad_(False)
    if patterns and not any(p.requires_grad for p in parameters.values()):
        raise UserError(f"trainer_cfg.freeze: {patterns} leaves nothing to train")


def matching_names(names: Collection[str], pattern: str, key: str) -> list[str]:
    """Return the names of weights that match the pattern of a key; UserError if none do."""
    matching = fnmatch.filter(names, pattern)
    if not matching:
        prefixes = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
        raise UserError(f"{key}: no weight's name matches {pattern!r}; the names begin with {prefixes}")
    return matching
