"""A chain of 2-D convolutions, plain and focal, written as in OpenGait's configs: `BC-32`, `FC-64-2`, `M`.

The backbone of GaitPart: Fan et al., *GaitPart: Temporal Part-based Model for Gait Recognition*, CVPR 2020.
F frames, C channels, H x W pixels.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from dygait.modeling.heads import Renames
from dygait.modeling.parts import by_strips
from dygait.modeling.registry import BACKBONES

_LAYER = re.compile(r"BC-([1-9]\d*)|FC-([1-9]\d*)-(\d+)")
_POOL = "M"


class FocalConv2d(nn.Module):
    """Convolve each of 2^halving horizontal strips separately, with zero padding at the strips' edges.

    The kernel size is odd, so that the map keeps its size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, halving: int) -> None:
        super().__init__()
        self.strips = 2**halving
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (F, C_out, H, W) for (F, C_in, H, W); H must be a multiple of the number of strips."""
        return by_strips(self.conv, x, self.strips)


@BACKBONES.register("Plain")
class Plain(nn.Module):
    """Convolutions, each followed by LeakyReLU(0.01), and max pooling.

    The first kernel is 5x5, the others 3x3.

    Args:
        layers_cfg: the layers: `BC-C`, a convolution with C channels; `FC-C-H`, one by 2^H horizontal strips; `M`, max
            pooling by 2.
        in_channels: number of input channels: 1.
    """

    opengait_names: Renames = ((r"^backbone\.layers\.", "Backbone.forward_block.feature."),)

    def __init__(self, layers_cfg: list[str], in_channels: int = 1) -> None:
        super().__init__()
        if in_channels != 1:
            raise ValueError(f"in_channels: must be 1: silhouettes have one channel, got {in_channels}")
        if not layers_cfg or layers_cfg[0] == _POOL:
            raise ValueError("layers_cfg: the first layer must be a convolution")
        layers: list[nn.Module] = []
        for index, layer in enumerate(layers_cfg):
            if layer == _POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            match = _LAYER.fullmatch(layer)
            if match is None:
                raise ValueError(f"layers_cfg: {layer!r} is no layer: write BC-64, FC-128-3 (channels, halving) or M")
            channels, halving = int(match[1] or match[2]), int(match[3] or 0)
            layers += [FocalConv2d(in_channels, channels, 3 if index else 5, halving), nn.LeakyReLU(inplace=True)]
            in_channels = channels
        self.out_channels = in_channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (F, C_out, H_out, W_out) for (F, C_in, H, W)."""
        return self.layers(x)
