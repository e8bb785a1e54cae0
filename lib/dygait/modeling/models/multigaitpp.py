"""MultiGait++.

Jin et al., *Exploring More from Multiple Gait Modalities for Human Identification*, AAAI 2025,
https://arxiv.org/abs/2412.11495. N sequences, C channels, S frames, F frames in total, H x W pixels, P parts, K
classes.
"""

from __future__ import annotations

import torch
from torch import nn

from dygait.modeling.backbones.residual import BLOCK_NAMES, LAYER_NAMES, ResidualStage, StageSizes, stage_sizes, stem
from dygait.modeling.frames import Frames, pack, stack_channels
from dygait.modeling.heads import BNNECK_NAMES, BNNeckHead, NeckSizes, check_positive, strict_keys
from dygait.modeling.kernels.batch_norm import BatchNorm2d
from dygait.modeling.layers import at_least_float32, channels_last
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS

_BINS = [16]
_SQUEEZE = 16


@strict_keys
class BackboneSizes(StageSizes):
    """The backbone's sizes, as in OpenGait's configs."""

    part1_channel: int
    part2_channel: int


def _scores(channels: int) -> nn.Sequential:
    hidden = channels // _SQUEEZE
    layers: list[nn.Module] = []
    for width in (channels, hidden):
        layers += [nn.Conv2d(width, hidden, 1, bias=False), BatchNorm2d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(hidden, channels, 1, bias=False))


class CSquare(nn.Module):
    """Separate two maps into what they have in common and what is specific to each.

    Attention weighs the maps against each other at each pixel and channel. Features are common where both weights are
    close to one half, which is where the smaller weight is large, relative to the other channels of the pixel.
    Computed in float32 (or float64) under autocast too: where the weights of a pixel are nearly equal, rounding to half
    precision would be all that is left of their differences.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_first, self.of_second = _scores(channels), _scores(channels)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the features specific to the first map, common, and specific to the second, (F, C, H, W) each."""
        with torch.autocast(first.device.type, enabled=False):
            first, second = at_least_float32(first), at_least_float32(second)
            difference = self.of_first(first) - self.of_second(second)
            smaller = torch.sigmoid(-difference.abs())  # the smaller weight of a softmax of two
            low, high = smaller.amin(1, keepdim=True), smaller.amax(1, keepdim=True)
            common = (smaller - low) / (high - low + 1e-6)
            specific = 1 - common
            weighted = first * (specific * torch.sigmoid(difference)), second * (specific * torch.sigmoid(-difference))
            return weighted[0], (first + second) / 2 * common, weighted[1]


@MODELS.register("MultiGaitpp")
class MultiGaitpp(BNNeckHead):
    """DeepGaitV2 (p3d) on two groups of channels: stages for each group, and for their common features.

    Args:
        Backbone: blocks, their number in each stage; C: the stages have 32 C, 64 C, 128 C and 256 C channels;
            part1_channel and part2_channel, the number of channels of a frame in the first and the second group, which
            are silhouettes, parsing maps or optical flow; in_channels, their sum.
        SeparateBNNecks: the sizes of the BNNecks.
        bin_num: numbers of horizontal strips.
        class_num: K, the number of training ids, unless `SeparateBNNecks` sets it.
    """

    opengait_names = (
        *LAYER_NAMES,
        *BLOCK_NAMES["p3d"],
        *BNNECK_NAMES,
        (r"^fusion\.", "fusion.conv.forward_block.0."),
        (r"^csquare\.of_second\.", "csquare.conv1.forward_block."),
        (r"^csquare\.of_first\.", "csquare.conv2.forward_block."),
    )

    def __init__(
        self,
        Backbone: BackboneSizes,
        SeparateBNNecks: NeckSizes | None = None,
        bin_num: list[int] = _BINS,
        class_num: int | None = None,
    ) -> None:
        super().__init__()
        self.groups = [Backbone["part1_channel"], Backbone["part2_channel"]]
        check_positive("Backbone.part1_channel", self.groups[0])
        check_positive("Backbone.part2_channel", self.groups[1])
        self.in_channels = sum(self.groups)
        (c0, c1, c2, c3), (b0, b1, b2, b3) = stage_sizes(Backbone, self.in_channels, "MultiGaitpp")
        self.part1_layer0, self.part2_layer0 = (stem(channels, c0) for channels in self.groups)
        self.part1_layer1, self.part2_layer1 = (ResidualStage(c0, c0, b0, 1) for _ in range(2))
        self.csquare = CSquare(c0)
        self.part1_layer2, self.layer2, self.part2_layer2 = (ResidualStage(c0, c1, b1, 2, "p3d") for _ in range(3))
        self.part1_layer3, self.layer3, self.part2_layer3 = (ResidualStage(c1, c2, b2, 2, "p3d") for _ in range(3))
        self.fusion = nn.Conv2d(3 * c2, c2, 1, bias=False)
        self.layer4 = ResidualStage(c2, c3, b3, 1, "p3d")
        self.add_head(c3, bin_num, class_num, SeparateBNNecks, {"out_channels": c2})

    def forward(self, frames: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features: the embeddings, for (N, S, c, H, W)."""
        packed, counts = pack(stack_channels(frames, self.in_channels), lengths)
        first, second = packed.split(self.groups, 1)
        first = self.part1_layer1(self.part1_layer0(channels_last(first)))
        second = self.part2_layer1(self.part2_layer0(channels_last(second)))
        first, common, second = self.csquare(first, second)
        first = self.part1_layer3(self.part1_layer2(first, counts), counts)
        common = self.layer3(self.layer2(common, counts), counts)
        second = self.part2_layer3(self.part2_layer2(second, counts), counts)
        return self.head(self.layer4(self.fusion(torch.cat([first, common, second], 1)), counts), counts)
