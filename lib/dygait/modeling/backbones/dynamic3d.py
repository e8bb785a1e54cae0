"""DyGait's backbones: 3-D convolutions around the Dynamic Augmentation Module.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023.
N sequences, C channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.dam import DAMOptions, DynamicAugmentation
from dygait.modeling.layers import LocalTemporalAggregation, avoid_few_frames, channels_last

Features = tuple[torch.Tensor, torch.Tensor | None]


def _halve(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool3d(x, (1, 2, 2))


class DeepBackbone(nn.Module):
    """DAM(1, c0), pool, DAM(c0, c1), LTA(c1), DAM(c1, c2), pool, DAM(c2, c3), DAM(c3, c3)."""

    depth = 4

    def __init__(self, channels: Sequence[int], options: DAMOptions) -> None:
        super().__init__()
        c0, c1, c2, c3 = channels
        self.dam0 = DynamicAugmentation(1, c0, options)
        self.dam1 = DynamicAugmentation(c0, c1, options)
        self.lta = LocalTemporalAggregation(c1)
        self.dam2 = DynamicAugmentation(c1, c2, options)
        self.dam3 = DynamicAugmentation(c2, c3, options)
        self.dam4 = DynamicAugmentation(c3, c3, options)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c3, S // 3, H // 4, W // 4) and its lengths for (N, 1, S, H, W), S at least 3."""
        x = _halve(self.dam0(x, lengths))
        x, lengths = avoid_few_frames(*self.lta(self.dam1(x, lengths), lengths))
        x = _halve(self.dam2(x, lengths))
        return self.dam4(self.dam3(x, lengths), lengths), lengths


class ShallowBackbone(nn.Module):
    """Conv3d(1, c0) + LeakyReLU, LTA(c0), DAM(c0, c1), pool, DAM(c1, c2), DAM(c2, c2)."""

    depth = 3

    def __init__(self, channels: Sequence[int], options: DAMOptions) -> None:
        super().__init__()
        c0, c1, c2 = channels
        self.options = options
        self.conv0 = nn.Conv3d(1, c0, 3, padding=1, bias=False)
        self.lta = LocalTemporalAggregation(c0)
        self.dam0 = DynamicAugmentation(c0, c1, options)
        self.dam1 = DynamicAugmentation(c1, c2, options)
        self.dam2 = DynamicAugmentation(c2, c2, options)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c2, S // 3, H // 2, W // 2) and its lengths for (N, 1, S, H, W), S at least 3."""
        x = F.leaky_relu(self.conv0(channels_last(x) if self.options.form == "fast" else x), 0.01)
        x, lengths = avoid_few_frames(*self.lta(x, lengths))
        x = _halve(self.dam0(x, lengths))
        return self.dam2(self.dam1(x, lengths), lengths), lengths
