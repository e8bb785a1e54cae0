"""The Dynamic Augmentation Module (DAM).

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023.
N sequences, C channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.kernels.dam import fast_stage, pointwise
from dygait.modeling.kernels.recomputation import recomputed
from dygait.modeling.layers import FrameBatchNorm, temporal_mean, zero_padding

Norm = Literal["none", "batch"]
Form = Literal["fast", "plain"]
Shortcut = Literal["where needed", "always"]


@dataclass(frozen=True)
class DAMOptions:
    """How every DAM of a network is built and computed: the keywords of `DyGait` that concern it.

    Attributes:
        norm: `batch`: a BatchNorm on the global branch and one on the sum of the others, before each relu.
        form: `dam` of DyGait. `plain` computes the formula as written; `fast` computes the same with fewer products.
    """

    norm: Norm = "none"
    form: Form = "fast"
    checkpointing: bool = False
    dynamic: bool = True
    spatial: bool = True
    shortcut: Shortcut = "where needed"


class DynamicStage(nn.Module):
    """One stage of a DAM: relu(global) + relu(dynamic + spatial).

    The global branch convolves the features; the dynamic branch their difference from the temporal mean of the
    sequence, which is motion; the spatial branch convolves the features over `spatial_frames` frames, 1 or 3.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_frames: int, options: DAMOptions) -> None:
        super().__init__()
        self.options = options
        self.conv_global = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_dynamic = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_spatial: nn.Conv3d | None = None
        if options.spatial:
            kernel, padding = (spatial_frames, 3, 3), (spatial_frames // 2, 1, 1)
            self.conv_spatial = nn.Conv3d(in_channels, out_channels, kernel, padding=padding, bias=False)
        self.norm_global = FrameBatchNorm(out_channels) if options.norm == "batch" else None
        self.norm_local = FrameBatchNorm(out_channels) if options.norm == "batch" else None

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return (N, C_out, S, H, W) for (N, C_in, S, H, W), which must be zero in padding."""
        if self.options.form == "fast":
            return fast_stage(self, x, lengths)
        global_map = self.conv_global(x)
        motion = zero_padding(x - temporal_mean(x, lengths), lengths) if self.options.dynamic else x
        local_map = self.conv_dynamic(motion)
        if self.conv_spatial is not None:
            local_map = local_map + self.conv_spatial(x)
        return _rectified(global_map, self.norm_global, lengths) + _rectified(local_map, self.norm_local, lengths)


def _rectified(x: torch.Tensor, norm: FrameBatchNorm | None, lengths: torch.Tensor | None) -> torch.Tensor:
    # BatchNorm saves its input for the backward pass, not its output, so that the output can be overwritten.
    return F.relu(x) if norm is None else torch.relu_(norm(x, lengths))


class DynamicAugmentation(nn.Module):
    """The Dynamic Augmentation Module: two stages and a shortcut.

    Where the numbers of channels differ, the shortcut is a 1x1x1 convolution; the authors' release adds the input as it
    is, which cannot run (docs/fidelity.md).
    """

    def __init__(self, in_channels: int, out_channels: int, options: DAMOptions = DAMOptions()) -> None:
        super().__init__()
        self.options = options
        self.stage1 = DynamicStage(in_channels, out_channels, 1, options)
        self.stage2 = DynamicStage(out_channels, out_channels, 3, options)
        projected = options.shortcut == "always" or in_channels != out_channels
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1, bias=False) if projected else nn.Identity()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C_out, S, H, W), zero in padding, for (N, C_in, S, H, W), which must be zero in padding."""
        if self.options.checkpointing and torch.is_grad_enabled():
            return recomputed(self, self._stages, x, lengths)
        return self._stages(x, lengths)

    def _stages(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        out = self.stage2(zero_padding(self.stage1(x, lengths), lengths), lengths)
        if self.options.form == "fast" and isinstance(self.shortcut, nn.Conv3d):
            return zero_padding(out + pointwise(self.shortcut, x), lengths)
        return zero_padding(out + self.shortcut(x), lengths)
