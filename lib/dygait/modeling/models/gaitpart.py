"""GaitPart.

Fan et al., *GaitPart: Temporal Part-based Model for Gait Recognition*, CVPR 2020, pages 14225-14233.
N sequences, C channels, S frames, F frames in total, H x W pixels, P parts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.backbones.plain import Plain
from dygait.modeling.export_mode import is_exporting
from dygait.modeling.frames import equally_long, pack, unpack
from dygait.modeling.heads import FCSizes, Renames, separate_fcs
from dygait.modeling.layers import channels_last, initialise, valid_frames
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS, build_backbone

_BINS = [16]
_SQUEEZE = 4


def _by_parts(x: torch.Tensor, layers: nn.ModuleList) -> torch.Tensor:
    """Convolve each part with its own layer, in one grouped convolution: (N, P, C_in, S) to (N, P, C_out, S)."""
    weight = torch.cat([layer.weight for layer in layers if isinstance(layer, nn.Conv1d)])
    padding = weight.shape[2] // 2
    return F.conv1d(x.flatten(1, 2), weight, padding=padding, groups=len(layers)).unflatten(1, (len(layers), -1))


def _windowed_max(x: torch.Tensor, window: int) -> torch.Tensor:
    """Take the maximum over a centred window, an odd number of frames: (N, C, S) to the same."""
    if is_exporting():  # PyTorch cannot export max_pool1d with a dynamic number of frames
        return F.max_pool2d(x.unsqueeze(2), (1, window), 1, (0, window // 2)).squeeze(2)
    return F.max_pool1d(x, window, 1, window // 2)


class MicroMotion(nn.Module):
    """A micro-motion template builder: mean plus maximum over a window around each frame, weighted by attention.

    The attention is a sigmoid of two 1-D convolutions over time, with separate parameters for each part: the kernel of
    the first is 3, that of the second `last_kernel`, which is odd, as is the window.
    """

    def __init__(self, channels: int, parts: int, window: int, last_kernel: int) -> None:
        super().__init__()
        hidden = channels // _SQUEEZE
        self.window = window
        self.squeeze = nn.ModuleList(nn.Conv1d(channels, hidden, 3, bias=False) for _ in range(parts))
        self.excite = nn.ModuleList(nn.Conv1d(hidden, channels, last_kernel, bias=False) for _ in range(parts))

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Return (N, P, C, S) for the same, zero in padding; `valid` is bool (N, 1, 1, S), or None without padding."""
        hidden = F.leaky_relu(_by_parts(x, self.squeeze), 0.01)
        masked = x.flatten(1, 2)
        if valid is not None:
            hidden = hidden * valid
            masked = x.masked_fill(~valid, -torch.inf).flatten(1, 2)
        scores = _by_parts(hidden, self.excite).sigmoid()
        # Beyond either end of a sequence the mean counts zeros, and the maximum nothing.
        mean = F.avg_pool1d(x.flatten(1, 2), self.window, 1, self.window // 2)
        maximum = _windowed_max(masked, self.window)
        if valid is not None:
            maximum = maximum.masked_fill(~valid.flatten(1, 2), 0)
        return (mean + maximum).view_as(x) * scores


class TemporalFeatureAggregator(nn.Module):
    """Sum two micro-motion templates, of three and of five frames, and take the maximum over time."""

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.short = MicroMotion(channels, parts, window=3, last_kernel=1)
        self.long = MicroMotion(channels, parts, window=5, last_kernel=3)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return (N, C, P) for (N, P, C, S), which must be zero in padding."""
        valid = None if lengths is None else valid_frames(lengths, x.shape[3], x.device)[:, None, None]
        motion = self.short(x, valid) + self.long(x, valid)
        if valid is not None:
            motion = motion.masked_fill(~valid, -torch.inf)
        return motion.amax(3).transpose(1, 2)


@MODELS.register("GaitPart")
class GaitPart(nn.Module):
    """Focal convolutions of each frame, and micro-motion features with separate parameters for each part.

    It has no class head, and is trained with the triplet loss.

    Args:
        backbone_cfg: type Plain, its layers `layers_cfg`, and `in_channels` (1).
        SeparateFCs: the sizes of the separate FCs; by default as many channels as the last layer of the backbone.
        bin_num: numbers of horizontal strips.
    """

    opengait_names: Renames = (
        *Plain.opengait_names,
        (r"^motion\.short\.", "TFA.pooling_func.conv1d3x1."),
        (r"^motion\.long\.", "TFA.pooling_func.conv1d3x3."),
        (r"squeeze\.(\d+)\.", r"\1.0.conv."),
        (r"excite\.(\d+)\.", r"\1.2.conv."),
        (r"^fcs\.", "Head."),
    )

    def __init__(
        self, backbone_cfg: dict[str, Any], SeparateFCs: FCSizes | None = None, bin_num: list[int] = _BINS
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone_cfg, Plain)
        channels = self.backbone.out_channels
        if channels < _SQUEEZE:
            raise ValueError(f"backbone_cfg.layers_cfg: must end with at least {_SQUEEZE} channels")
        self.pooling = HorizontalPooling(bin_num)
        self.motion = TemporalFeatureAggregator(channels, sum(bin_num))
        self.fcs = separate_fcs(SeparateFCs, channels, sum(bin_num))
        initialise(self)

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), no logits, inference features: the embeddings."""
        frames, counts = pack(silhouettes, lengths)
        strips = self.pooling(self.backbone(channels_last(frames.unsqueeze(1))))  # (F, C, P)
        parts = unpack(strips, counts).permute(0, 3, 2, 1)  # (N, P, C, S)
        if equally_long(counts):
            lengths = None
        embeddings = self.fcs(self.motion(parts, lengths))
        return GaitOutput(embeddings, None, embeddings)
