"""SkeletonGait++.

Fan et al., *SkeletonGait: Gait Recognition Using Skeleton Maps*, AAAI 2024, https://arxiv.org/abs/2311.13444.
N sequences, C channels, S frames, F frames in total, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch
from torch import nn

from dygait.modeling.backbones.residual import BLOCK_NAMES, LAYER_NAMES, ResidualStage, StageSizes, stage_sizes, stem
from dygait.modeling.frames import Frames, pack, stack_channels
from dygait.modeling.heads import BNNECK_NAMES, BNNeckHead, NeckSizes
from dygait.modeling.kernels.batch_norm import BatchNorm2d
from dygait.modeling.layers import channels_last
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS

_BINS = [16]
_SQUEEZE = 16


class AttentionFusion(nn.Module):
    """Fuse two maps by attention, whose two weights at each pixel and channel sum to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // _SQUEEZE
        self.scores = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1, bias=False),
            BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
            BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 2 * channels, 1, bias=False),
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return (F, C, H, W) for two maps of this shape."""
        first_score, second_score = self.scores(torch.cat([first, second], 1)).chunk(2, 1)
        return torch.lerp(second, first, torch.sigmoid(first_score - second_score))  # the softmax of two scores


@MODELS.register("SkeletonGaitPP")
class SkeletonGaitPP(BNNeckHead):
    """DeepGaitV2 (p3d) on heat maps and silhouettes, fused by attention after the first stage of each.

    Frames have three channels: the heat map of limbs, that of joints, and the silhouette.

    Args:
        Backbone: blocks, their number in each stage; C: the stages have 32 C, 64 C, 128 C and 256 C channels;
            in_channels (3).
        SeparateBNNecks: the sizes of the BNNecks.
        use_emb2: test the features after the BNNecks, of length 1 in each part, instead of those before them.
        bin_num: numbers of horizontal strips.
        class_num: K, the number of training ids, unless `SeparateBNNecks` sets it.
    """

    in_channels = 3
    opengait_names = (
        *LAYER_NAMES,
        *BLOCK_NAMES["p3d"],
        *BNNECK_NAMES,
        (r"^fusion\.scores\.", "fusion.conv.forward_block."),
    )

    def __init__(
        self,
        Backbone: StageSizes,
        SeparateBNNecks: NeckSizes | None = None,
        use_emb2: bool = False,
        bin_num: list[int] = _BINS,
        class_num: int | None = None,
    ) -> None:
        super().__init__()
        (c0, c1, c2, c3), (b0, b1, b2, b3) = stage_sizes(Backbone, self.in_channels, "SkeletonGaitPP")
        self.map_layer0, self.sil_layer0 = stem(2, c0), stem(1, c0)
        self.map_layer1, self.sil_layer1 = (ResidualStage(c0, c0, b0, 1) for _ in range(2))
        self.fusion = AttentionFusion(c0)
        self.layer2 = ResidualStage(c0, c1, b1, 2, "p3d")
        self.layer3 = ResidualStage(c1, c2, b2, 2, "p3d")
        self.layer4 = ResidualStage(c2, c3, b3, 1, "p3d")
        self.use_emb2 = use_emb2
        self.add_head(c3, bin_num, class_num, SeparateBNNecks, {"out_channels": c2})

    def forward(self, frames: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features (N, C, P) for (N, S, 3, H, W)."""
        packed, counts = pack(stack_channels(frames, self.in_channels), lengths)
        maps = self.map_layer1(self.map_layer0(channels_last(packed[:, :2])))
        silhouettes = self.sil_layer1(self.sil_layer0(channels_last(packed[:, 2:])))
        x = self.layer2(self.fusion(silhouettes, maps), counts)
        return self.head(self.layer4(self.layer3(x, counts), counts), counts)
