"""From a configuration to its network."""

from __future__ import annotations

import fnmatch

import torch
from torch import nn

from dygait.config.schema import Config
from dygait.errors import UserError
from dygait.modeling import MODELS, complete_model_cfg
from dygait.runs.sources import Data


def build_network(config: Config, device: torch.device) -> nn.Module:
    """Build the model of a configuration, initialised by its seed alone.

    Raises:
        UserError: it takes another number of modalities (its attribute `modalities`; 1 without) than are read.
    """
    torch.manual_seed(config.trainer_cfg.seed)
    dataset_name = config.data_cfg.dataset_name
    model: nn.Module = MODELS.build(complete_model_cfg(config.model_cfg.model_dump(), dataset_name))
    takes, read = getattr(model, "modalities", 1), config.data_cfg.modalities
    if takes != read:
        raise UserError(
            f"data_cfg.data_in_use reads {read} file(s) of a sequence, but the model {config.model_cfg.model} takes "
            f"{takes}: set as many entries to true"
        )
    return model.to(device)


def check_classes(model: nn.Module, data: Data) -> None:
    """Check that the class head is as large as the number of training ids.

    Raises:
        UserError: it is smaller.
    """
    classes, people = getattr(model, "class_num", None), len(data.train_ids)
    if classes is not None and classes < people:
        raise UserError(f"model_cfg: class_num is {classes}, but {people} ids train; set it to {people} or more")


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Exclude the weights whose names match a pattern from training.

    Raises:
        UserError: a pattern matches no name, or nothing is left to train.
    """
    named = dict(model.named_parameters())
    for pattern in patterns:
        matching = fnmatch.filter(named, pattern)
        if not matching:
            raise UserError(
                f"trainer_cfg.freeze: no weight's name matches {pattern!r}; the names begin with "
                f"{', '.join(dict.fromkeys(name.partition('.')[0] for name in named))}"
            )
        for name in matching:
            named[name].requires_grad_(False)
    if patterns and not any(p.requires_grad for p in named.values()):
        raise UserError(f"trainer_cfg.freeze: {patterns} leaves nothing to train")
