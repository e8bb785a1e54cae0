"""Several networks side by side, whose features are compared together.

N sequences, C channels, S frames, H x W pixels, P parts of all members together, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dygait.config_problems import below
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS


@MODELS.register("Ensemble")
class Ensemble(nn.Module):
    """Networks that see the same silhouettes, each in its own resolution; their parts are those of one feature.

    A distance is the mean over all parts, so a member with more parts counts more.

    Args:
        members: `model_cfg` of each network, by name. Its `input_size` must divide that of the silhouettes, which are
            averaged over blocks of pixels; without one, it sees them as they are.
        class_num: K, the number of training ids, for members that take it.
    """

    def __init__(self, members: dict[str, dict[str, Any]], class_num: int | None = None) -> None:
        super().__init__()
        if not members:
            raise ValueError("members: at least one network is needed")
        networks, self.sizes = {}, {}
        for name, settings in members.items():
            with below(f"members.{name}"):
                networks[name] = _build(name, settings, class_num)
            self.sizes[name] = settings.get("input_size")
        self.members = nn.ModuleDict(networks)
        self.class_head = tuple(
            f"members.{name}.{head}" for name, member in networks.items() for head in getattr(member, "class_head", ())
        )

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings, logits, inference features and features after BNNecks, each with the parts of all."""
        outputs = [
            member(_reduced(silhouettes, self.sizes[name], name), lengths) for name, member in self.members.items()
        ]
        widths = {output.embeddings.shape[1] for output in outputs}
        if len(widths) > 1:
            raise ValueError(f"members: their features have {sorted(widths)} channels, which must be equal")
        return GaitOutput(
            torch.cat([output.embeddings for output in outputs], 2),
            _joined([output.logits for output in outputs]),
            torch.cat([output.inference for output in outputs], 2),
            _joined([output.after_neck for output in outputs]),
        )


def _joined(features: list[torch.Tensor | None]) -> torch.Tensor | None:
    present = [x for x in features if x is not None]
    return torch.cat(present, 2) if len(present) == len(features) else None


def _build(name: str, settings: Mapping[str, Any], class_num: int | None) -> nn.Module:
    from dygait.modeling.build import build_model, lacks_class_num  # which imports the models

    if class_num is not None and settings.get("model") in MODELS and lacks_class_num(settings):
        settings = {**settings, "class_num": class_num}
    member = build_model(settings)
    if getattr(member, "in_channels", 1) != 1:
        raise ValueError(f"members.{name}: {settings['model']} takes frames of several channels, which a member cannot")
    return member


def _reduced(silhouettes: torch.Tensor, size: list[int] | None, name: str) -> torch.Tensor:
    """Return silhouettes (N, S, H, W) averaged over blocks of pixels, (N, S, *size)."""
    height, width = silhouettes.shape[2:]
    if size is None or size == [height, width]:
        return silhouettes
    if height % size[0] or width % size[1]:
        raise ValueError(
            f"members.{name}.input_size: silhouettes of {height} x {width} pixels do not divide into blocks for "
            f"{size[0]} x {size[1]}"
        )
    blocks = silhouettes.unflatten(3, (size[1], -1)).unflatten(2, (size[0], -1))
    return blocks.mean((3, 5))
