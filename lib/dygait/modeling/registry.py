"""The registries of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from dygait.config_problems import below
from dygait.registry import Registry

MODELS: Registry[type[nn.Module]] = Registry("model", key="model")

BACKBONES: Registry[type[nn.Module]] = Registry("backbone")

Backbone = TypeVar("Backbone")


def build_backbone(backbone_cfg: Mapping[str, Any], kind: type[Backbone]) -> Backbone:
    """Build the backbone that a `backbone_cfg` mapping describes; ValueError unless it is an instance of `kind`."""
    with below("backbone_cfg"):
        backbone = BACKBONES.build(backbone_cfg)
    if not isinstance(backbone, kind):
        raise ValueError(f"backbone_cfg.type: must be {kind.__name__}, got {backbone_cfg['type']}")
    return backbone
