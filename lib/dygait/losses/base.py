"""The base class and the registry of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from dygait.config_problems import Problem
from dygait.errors import UserError
from dygait.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")

Statistics = dict[str, torch.Tensor]


class Loss(nn.Module):
    """Base class of losses: functions of one model output and the labels that return a scalar and named statistics.

    Attributes:
        reads: the field of `GaitOutput` that it reads.
        compares_with: the labels that it takes: ids of sequences, or masks of their pixels.
        needs_whole_batch: whether it compares sequences with each other, and so needs those of all processes.
        prefix: the first part of its names in log and TensorBoard, unless `log_prefix` is set.
    """

    reads: ClassVar[Literal["embeddings", "logits"]]
    compares_with: ClassVar[Literal["ids", "masks"]] = "ids"
    needs_whole_batch: ClassVar[bool]
    prefix: ClassVar[str]

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss and the statistics of `compute`, and `loss`; at least in float32, under autocast too."""
        with torch.autocast(outputs.device.type, enabled=False):
            loss, statistics = self.compute(at_least_float32(outputs), labels)
        return loss, {"loss": loss.detach(), **statistics}

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss, a scalar tensor, and statistics, scalar tensors without gradient."""
        raise NotImplementedError  # pragma: no cover - every loss has its own


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Convert a floating-point tensor to float32, unless it is float64."""
    return x if x.dtype == torch.float64 else x.float()


_AGGREGATOR_KEYS = ("loss_term_weight", "log_prefix")
"""Keys of a term that `LossAggregator` reads, not the loss."""


def loss_problems(term: Mapping[str, Any]) -> list[Problem]:
    """Check one term of `loss_cfg`: its name, its keywords, and that training has the labels that it takes."""
    problems = LOSSES.check(_keywords(term))
    name = term.get("type")
    if isinstance(name, str) and name in LOSSES and LOSSES.get(name).compares_with == "masks":
        message = f"{name} compares with masks, and training gives ids of sequences; use CrossEntropyLoss"
        problems.append(Problem(("type",), message))
    return problems


def _keywords(term: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in term.items() if k not in _AGGREGATOR_KEYS}


def build_loss(loss_cfg: Mapping[str, Any]) -> Loss:
    """Build the loss that a `loss_cfg` mapping describes.

    `loss, info = build_loss({"type": "TripletLoss", "margin": 0.2})(embeddings, labels)`

    Args:
        loss_cfg: `type`, the name of the loss, and the keywords of its constructor; `loss_term_weight` and
            `log_prefix`, which `LossAggregator` reads, are ignored.

    Raises:
        UserError: the loss is unknown, or its keywords are.
    """
    if not isinstance(loss_cfg, Mapping):
        raise UserError("loss_cfg must be a mapping with the key `type`")
    return LOSSES.build(_keywords(loss_cfg))
