"""DyGait's backbones: 3-D convolutions around the Dynamic Augmentation Module.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023.
N sequences, C channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.layers import (
    FrameBatchNorm,
    LocalTemporalAggregation,
    avoid_two_frames,
    temporal_mean,
    zero_padding,
)
from dygait.modeling.registry import BACKBONES

Norm = Literal["none", "batch"]
Form = Literal["fast", "plain"]
Features = tuple[torch.Tensor, torch.Tensor | None]


class DynamicStage(nn.Module):
    """One stage of a DAM: relu(global) + relu(dynamic + spatial).

    The global branch convolves the features; the dynamic branch convolves their difference from the sequence's temporal
    mean, which keeps what moves; the spatial branch keeps each frame's shape.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        spatial_frames: how many frames the spatial branch sees, 1 or 3.
        norm: `none`, or `batch`: a BatchNorm on the global branch and one on the sum of the others, before each relu.
        form: `plain` computes what the formula says; `fast` the same with fewer products. Weights are the same for
            both.
    """

    def __init__(
        self, in_channels: int, out_channels: int, spatial_frames: int, norm: Norm, form: Form = "fast"
    ) -> None:
        super().__init__()
        spatial = (spatial_frames, 3, 3)
        self.conv_global = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_dynamic = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_spatial = nn.Conv3d(
            in_channels, out_channels, spatial, padding=(spatial_frames // 2, 1, 1), bias=False
        )
        self.norm_global = FrameBatchNorm(out_channels) if norm == "batch" else None
        self.norm_local = FrameBatchNorm(out_channels) if norm == "batch" else None
        self.local_branches = self.local_fast if form == "fast" else self.local_plain

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return (N, C_out, S, H, W) for (N, C_in, S, H, W), which must be zero in padding."""
        whole, local = self.conv_global(x), self.local_branches(x, lengths)
        if self.norm_global is not None and self.norm_local is not None:
            whole, local = self.norm_global(whole, lengths), self.norm_local(local, lengths)
        return F.relu(whole) + F.relu(local)

    def local_plain(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return the sum of the dynamic and the spatial branch, as the formula says."""
        moving = zero_padding(x - temporal_mean(x, lengths), lengths)
        return self.conv_dynamic(moving) + self.conv_spatial(x)

    def local_fast(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return the same: one convolution with the summed weights, less the dynamic branch's view of the mean.

        The mean is one map per sequence, so convolving it takes three 2-D convolutions, one for each time slice of the
        weight. The slice that looks back sees nothing at the first frame, the one that looks ahead nothing at the last.
        """
        dynamic, spatial = self.conv_dynamic.weight, self.conv_spatial.weight
        if spatial.shape[2] == 1:
            spatial = F.pad(spatial, (0, 0, 0, 0, 1, 1))
        together = F.conv3d(x, dynamic + spatial, padding=1)
        mean = temporal_mean(x, lengths).squeeze(2)
        slices = dynamic.permute(2, 0, 1, 3, 4).flatten(0, 1)
        back, here, ahead = (c.unsqueeze(2) for c in F.conv2d(mean, slices, padding=1).chunk(3, 1))
        frames = x.shape[2]
        if lengths is not None:
            place = torch.arange(frames, device=x.device)[None, None, :, None, None]
            last = lengths[:, None, None, None, None] - 1
            return together - (here + back * (place > 0) + ahead * (place < last))
        if frames == 1:
            return together - here
        between = (back + here + ahead).expand(-1, -1, frames - 2, -1, -1)
        return together - torch.cat([here + ahead, between, back + here], 2)


class DynamicAugmentation(nn.Module):
    """The Dynamic Augmentation Module (DAM): two stages and a shortcut.

    The shortcut is the identity where the numbers of channels agree, else a 1x1x1 convolution: the authors' release
    adds unlike numbers of channels, which cannot run (docs/fidelity.md).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        norm: as in `DynamicStage`.
        form: as in `DynamicStage`.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = "none", form: Form = "fast") -> None:
        super().__init__()
        self.stage1 = DynamicStage(in_channels, out_channels, 1, norm, form)
        self.stage2 = DynamicStage(out_channels, out_channels, 3, norm, form)
        self.shortcut = (
            nn.Identity() if in_channels == out_channels else nn.Conv3d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C_out, S, H, W), zero in padding, for (N, C_in, S, H, W), which must be zero in padding."""
        between = zero_padding(self.stage1(x, lengths), lengths)
        return zero_padding(self.stage2(between, lengths) + self.shortcut(x), lengths)


def _halve(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool3d(x, (1, 2, 2))


@BACKBONES.register("DyGaitDeep")
class DeepBackbone(nn.Module):
    """DAM(1, c0), pool, DAM(c0, c1), LTA(c1), DAM(c1, c2), pool, DAM(c2, c3), DAM(c3, c3).

    Args:
        channels: [c0, c1, c2, c3].
        norm: as in `DynamicStage`.
        form: as in `DynamicStage`.
    """

    depth = 4
    pools = 2

    def __init__(self, channels: Sequence[int], norm: Norm = "none", form: Form = "fast") -> None:
        super().__init__()
        c0, c1, c2, c3 = channels
        self.dam0 = DynamicAugmentation(1, c0, norm, form)
        self.dam1 = DynamicAugmentation(c0, c1, norm, form)
        self.lta = LocalTemporalAggregation(c1)
        self.dam2 = DynamicAugmentation(c1, c2, norm, form)
        self.dam3 = DynamicAugmentation(c2, c3, norm, form)
        self.dam4 = DynamicAugmentation(c3, c3, norm, form)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c3, S // 3, H // 4, W // 4) and its lengths for (N, 1, S, H, W), S at least 3."""
        x = _halve(self.dam0(x, lengths))
        x, lengths = avoid_two_frames(*self.lta(self.dam1(x, lengths), lengths))
        x = _halve(self.dam2(x, lengths))
        return self.dam4(self.dam3(x, lengths), lengths), lengths


@BACKBONES.register("DyGaitShallow")
class ShallowBackbone(nn.Module):
    """Conv3d(1, c0) + LeakyReLU, LTA(c0), DAM(c0, c1), pool, DAM(c1, c2), DAM(c2, c2).

    Args:
        channels: [c0, c1, c2].
        norm: as in `DynamicStage`; the first convolution has none.
        form: as in `DynamicStage`.
    """

    depth = 3
    pools = 1

    def __init__(self, channels: Sequence[int], norm: Norm = "none", form: Form = "fast") -> None:
        super().__init__()
        c0, c1, c2 = channels
        self.conv0 = nn.Conv3d(1, c0, 3, padding=1, bias=False)
        self.lta = LocalTemporalAggregation(c0)
        self.dam0 = DynamicAugmentation(c0, c1, norm, form)
        self.dam1 = DynamicAugmentation(c1, c2, norm, form)
        self.dam2 = DynamicAugmentation(c2, c2, norm, form)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c2, S // 3, H // 2, W // 2) and its lengths for (N, 1, S, H, W), S at least 3."""
        x, lengths = avoid_two_frames(*self.lta(F.leaky_relu(self.conv0(x), 0.01), lengths))
        x = _halve(self.dam0(x, lengths))
        return self.dam2(self.dam1(x, lengths), lengths), lengths
