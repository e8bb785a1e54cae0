"""The registries of networks."""

from __future__ import annotations

from torch import nn

from dygait.registry import Registry

MODELS: Registry[type[nn.Module]] = Registry("model", key="model")

BACKBONES: Registry[type[nn.Module]] = Registry("backbone")
