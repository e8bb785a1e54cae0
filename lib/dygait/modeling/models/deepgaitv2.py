"""DeepGaitV2.

Fan et al., *Exploring Deep Models for Practical Gait Recognition*, 2023, https://arxiv.org/abs/2303.03301.
On two channels, heat maps of limbs and of joints, it is SkeletonGait: Fan et al., *SkeletonGait: Gait Recognition Using
Skeleton Maps*, AAAI 2024, https://arxiv.org/abs/2311.13444.
N sequences, C channels, S frames, F frames in all, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch
from pydantic import ConfigDict, with_config
from torch import nn
from typing_extensions import NotRequired, TypedDict

from dygait.modeling.backbones.residual import Mode, residual_stage
from dygait.modeling.frames import Frames, pack, sequence_max, stack_channels
from dygait.modeling.heads import (
    NeckSizes,
    Renames,
    check_numbers,
    check_positive,
    number_of_classes,
    separate_bn_necks,
)
from dygait.modeling.kernels.batch_norm import BatchNorm2d
from dygait.modeling.layers import SeparateFCs, channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS

_BINS = [16]


@with_config(ConfigDict(extra="forbid", strict=True))
class BackboneSizes(TypedDict):
    """The backbone's kind of blocks and its sizes, as OpenGait's configs give them."""

    mode: Mode
    in_channels: NotRequired[int]
    layers: list[int]
    channels: list[int]


@MODELS.register("DeepGaitV2")
class DeepGaitV2(nn.Module):
    """A deeper residual network of sequences, the largest value over time, horizontal parts, BNNecks.

    A convolution and four stages, two of which halve the map. The first stage looks at each frame alone, the others by
    `mode`: `2d` the same, `3d` at three frames at once, `p3d` at a frame and, in a branch, at three.

    Args:
        Backbone: mode; in_channels, of a frame (1); layers, the blocks of each stage: [1, 1, 1, 1] or [1, 4, 4, 1];
            channels of each stage.
        SeparateBNNecks: the sizes of the BNNecks.
        use_emb2: test on the features after the BNNecks, of length 1 in each part, not on those before them.
        bin_num: numbers of horizontal strips.
        class_num: K, the number of training ids, where `SeparateBNNecks` does not have it.
    """

    class_head = ("necks.fc_bin",)

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
        self.class_num = number_of_classes(class_num, SeparateBNNecks)
        self.use_emb2 = use_emb2
        self.opengait_names = (*_LAYER_NAMES, *_BLOCK_NAMES[mode], *_HEAD_NAMES)
        first = nn.Conv2d(self.in_channels, channels[0], 3, padding=1, bias=False)
        self.layer0 = nn.Sequential(first, BatchNorm2d(channels[0]), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(*residual_stage(channels[0], channels[0], layers[0], 1))
        self.layer2 = nn.ModuleList(residual_stage(channels[0], channels[1], layers[1], 2, mode))
        self.layer3 = nn.ModuleList(residual_stage(channels[1], channels[2], layers[2], 2, mode))
        self.layer4 = nn.ModuleList(residual_stage(channels[2], channels[3], layers[3], 1, mode))
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = SeparateFCs(sum(bin_num), channels[3], channels[2])
        self.necks = separate_bn_necks(SeparateBNNecks, channels[2], sum(bin_num), self.class_num)
        initialise(self)

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features (N, C, P)."""
        frames, counts = pack(stack_channels(silhouettes, self.in_channels), lengths)
        x = self.layer1(self.layer0(channels_last(frames)))  # (F, c0, H, W)
        for stage in (self.layer2, self.layer3, self.layer4):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x, counts)
        embeddings = self.fcs(self.pooling(sequence_max(x, counts)))
        after_neck = self.necks.features(embeddings)
        compared = after_neck if self.use_emb2 else embeddings
        return GaitOutput(embeddings, self.necks.logits(after_neck), compared, after_neck)


_LAYER_NAMES: Renames = (
    (r"^(layer[01])\.", r"\1.forward_block."),
    (r"\.shortcut\.", ".downsample."),
)
_BLOCK_NAMES: dict[Mode, Renames] = {
    "2d": ((r"^(layer[234])\.", r"\1.forward_block."),),
    "p3d": (
        (r"^(layer[234]\.\d+)\.conv([12])\.", r"\1.conv\2.forward_block.0."),
        (r"^(layer[234]\.\d+)\.bn([12])\.", r"\1.conv\2.forward_block.1."),
        (r"\.temporal\.0\.", ".shortcut3d."),
        (r"\.temporal\.1\.", ".sbn."),
    ),
    "3d": (),
}
_HEAD_NAMES: Renames = ((r"^fcs\.", "FCs."), (r"^necks\.", "BNNecks."))
