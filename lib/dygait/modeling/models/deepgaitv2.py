"""DeepGaitV2.

Fan et al., *Exploring Deep Models for Practical Gait Recognition*, 2023, https://arxiv.org/abs/2303.03301.
On two channels, heat maps of limbs and of joints, it is SkeletonGait: Fan et al., *SkeletonGait: Gait Recognition Using
Skeleton Maps*, AAAI 2024, https://arxiv.org/abs/2311.13444.
N sequences, C channels, S frames, F frames in total, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch
from typing_extensions import NotRequired, TypedDict

from dygait.modeling.backbones.residual import BLOCK_NAMES, LAYER_NAMES, Mode, ResidualStage, stem
from dygait.modeling.frames import Frames, pack, stack_channels
from dygait.modeling.heads import BNNECK_NAMES, BNNeckHead, NeckSizes, check_numbers, check_positive, strict_keys
from dygait.modeling.layers import channels_last
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS

_BINS = [16]


@strict_keys
class BackboneSizes(TypedDict):
    """The type of the backbone's blocks and its sizes, as in OpenGait's configs."""

    mode: Mode
    in_channels: NotRequired[int]
    layers: list[int]
    channels: list[int]


@MODELS.register("DeepGaitV2")
class DeepGaitV2(BNNeckHead):
    """A deep residual network on sequences, maximum over time, horizontal parts, BNNecks.

    A convolution and four stages, two of which halve the map. The first stage processes each frame separately, the
    others by `mode`: `2d` likewise, `3d` three frames at a time, `p3d` one frame and, in a branch, three.

    Args:
        Backbone: mode; in_channels, those of a frame (1); layers, the number of blocks of each stage: [1, 1, 1, 1] or
            [1, 4, 4, 1]; channels of each stage.
        SeparateBNNecks: the sizes of the BNNecks.
        use_emb2: test the features after the BNNecks, of length 1 in each part, instead of those before them.
        bin_num: numbers of horizontal strips.
        class_num: K, the number of training ids, unless `SeparateBNNecks` sets it.
    """

    def __init__(
        self,
        Backbone: BackboneSizes,
        SeparateBNNecks: NeckSizes | None = None,
        use_emb2: bool = False,
        bin_num: list[int] = _BINS,
        class_num: int | None = None,
    ) -> None:
        super().__init__()
        mode, channels, layers = Backbone["mode"], Backbone["channels"], Backbone["layers"]
        check_numbers("Backbone.channels", channels, 4, "DeepGaitV2")
        check_numbers("Backbone.layers", layers, 4, "DeepGaitV2")
        self.in_channels = Backbone.get("in_channels", 1)
        check_positive("Backbone.in_channels", self.in_channels)
        self.opengait_names = (*LAYER_NAMES, *BLOCK_NAMES[mode], *BNNECK_NAMES)
        c0, c1, c2, c3 = channels
        self.layer0 = stem(self.in_channels, c0)
        self.layer1 = ResidualStage(c0, c0, layers[0], 1)
        self.layer2 = ResidualStage(c0, c1, layers[1], 2, mode)
        self.layer3 = ResidualStage(c1, c2, layers[2], 2, mode)
        self.layer4 = ResidualStage(c2, c3, layers[3], 1, mode)
        self.use_emb2 = use_emb2
        self.add_head(c3, bin_num, class_num, SeparateBNNecks, {"out_channels": c2})

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features (N, C, P)."""
        frames, counts = pack(stack_channels(silhouettes, self.in_channels), lengths)
        x = self.layer1(self.layer0(channels_last(frames)))  # (F, c0, H, W)
        return self.head(self.layer4(self.layer3(self.layer2(x, counts), counts), counts), counts)
