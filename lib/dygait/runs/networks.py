"""From a configuration to its network."""

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
    """Build the model of a configuration, initialised by its seed alone.

    Raises:
        UserError: it takes another number of modalities (its attribute `modalities`; 1 without) than are read.
    """
    settings = model_settings(config)
    torch.manual_seed(config.trainer_cfg.seed)
    model = build_model(settings)
    takes, read = getattr(model, "modalities", 1), config.modalities
    if takes != read:
        raise UserError(
            f"data_cfg.data_in_use and trainer_cfg.transform make {read} input(s) of a sequence, but the model "
            f"{config.model_cfg.model} takes {takes}: "
            + ("give one transform, which stacks the files to channels" if takes == 1 else "read as many files")
        )
    return model.to(device)


def model_settings(config: Config) -> dict[str, Any]:
    """Return `model_cfg` with what it leaves to the data: the variant, and as many classes as the partition trains."""
    given = {k: v for k, v in config.model_cfg.model_dump().items() if v is not None}
    read = [LOSSES.get(term.type).reads for term in config.loss_cfg if term.type in LOSSES]
    classes = None
    if needs_classes(given, read):
        protocol = classification_of(config)
        found = set(open_partition(config).train) if protocol is None else protocol.classes
        classes = max(1, len(found or ()))  # a partition without training ids is for tests, without the class head
    return complete_model_cfg(given, config.data_cfg.dataset_name, classes)


def needs_classes(model_cfg: Mapping[str, Any], read: Iterable[str]) -> bool:
    """Return whether the number of classes is left out and needed: by a loss that reads logits, or by the model.

    `read` names the outputs that the losses read.
    """
    model = model_cfg.get("model")
    if not isinstance(model, str) or model not in MODELS or not lacks_class_num(model_cfg):
        return False
    required = inspect.signature(MODELS.get(model)).parameters["class_num"].default is inspect.Parameter.empty
    return required or "logits" in read or model_cfg.get("SeparateBNNecks") is not None


def check_classes(model: nn.Module, data: Data) -> None:
    """Raise a UserError if the class head has fewer classes than there are training ids, or another protocol's."""
    classes, people, protocol = getattr(model, "class_num", None), len(data.train_ids), data.classification
    if classes is not None and protocol is not None:
        wanted = len(protocol.classes or ())
        if classes != wanted:
            raise UserError(f"model_cfg: class_num is {classes}, but the protocol {protocol.name} has {wanted} classes")
    elif classes is not None and classes < people:
        raise UserError(f"model_cfg: class_num is {classes}, but {people} ids train; set it to {people} or more")


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Exclude the weights whose names match a pattern from training; UserError if none match, or none are left."""
    named = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching_names(named, pattern, "trainer_cfg.freeze"):
            named[name].requires_grad_(False)
    if patterns and not any(p.requires_grad for p in named.values()):
        raise UserError(f"trainer_cfg.freeze: {patterns} leaves nothing to train")


def matching_names(names: Collection[str], pattern: str, key: str) -> list[str]:
    """Return the names of weights that match the pattern of a key; UserError if none do."""
    matching = fnmatch.filter(names, pattern)
    if not matching:
        beginnings = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
        raise UserError(f"{key}: no weight's name matches {pattern!r}; the names begin with {beginnings}")
    return matching
