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
    """A loss reads one output of the model and the labels; it returns a scalar and named statistics.

    Attributes:
        reads: which field of `GaitOutput` it reads.
        compares_with: the labels that it takes: ids of sequences, or masks of their pixels.
        needs_whole_batch: it compares sequences with each other: under several processes it must see those of all.
        prefix: the first part of its names in log and TensorBoard, unless the config gives one.
    """

    reads: ClassVar[Literal["embeddings", "logits"]]
    compares_with: ClassVar[Literal["ids", "masks"]] = "ids"
    needs_whole_batch: ClassVar[bool]
    prefix: ClassVar[str]

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return `compute`'s loss and statistics, with `loss` among them: in float32 at least, under autocast too."""
        with torch.autocast(outputs.device.type, enabled=False):
            loss, statistics = self.compute(at_least_float32(outputs), labels)
        return loss, {"loss": loss.detach(), **statistics}

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss, a scalar tensor, and statistics, scalar tensors without gradient."""
        raise NotImplementedError  # pragma: no cover - every loss has its own


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return a floating-point tensor in float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


_OF_THE_SUM = ("loss_term_weight", "log_prefix")
"""Keys of a term that belong to the sum of losses, not to the loss."""


def loss_problems(term: Mapping[str, Any]) -> list[Problem]:
    """Check one term of a configuration's `loss_cfg`: its name, its keywords, and that training has its labels."""
    found = LOSSES.check(_keywords(term))
    name = term.get("type")
    if isinstance(name, str) and name in LOSSES and LOSSES.get(name).compares_with == "masks":
        message = f"{name} compares with masks, and training gives ids of sequences; use CrossEntropyLoss"
        found.append(Problem(("type",), message))
    return found


def _keywords(term: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in term.items() if k not in _OF_THE_SUM}


def build_loss(loss_cfg: Mapping[str, Any]) -> Loss:
    """Build the loss that a `loss_cfg` mapping describes.

    `loss, info = build_loss({"type": "TripletLoss", "margin": 0.2})(embeddings, labels)`

    Args:
        loss_cfg: `type`, the loss's name, and its constructor's keywords; `loss_term_weight` and `log_prefix` belong to
            the sum of losses and are left to it.

    Raises:
        UserError: the loss is unknown, or its keywords are.
    """
    if not isinstance(loss_cfg, Mapping):
        raise UserError("loss_cfg must be a mapping with the key `type`")
    return LOSSES.build(_keywords(loss_cfg))
