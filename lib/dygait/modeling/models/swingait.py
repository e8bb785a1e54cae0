"""SwinGait.

Fan et al., *Exploring Deep Models for Practical Gait Recognition*, 2023, https://arxiv.org/abs/2303.03301; windows: Liu
et al., *Video Swin Transformer*, CVPR 2022. N sequences, C channels, S frames, F frames in total, H x W pixels, P
parts, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import NotRequired, TypedDict

from dygait.modeling.backbones.residual import BLOCK_NAMES, LAYER_NAMES, ResidualStage, stem
from dygait.modeling.frames import pack
from dygait.modeling.heads import (
    BNNECK_NAMES,
    NeckSizes,
    Renames,
    check_numbers,
    check_sizes,
    number_of_classes,
    separate_bn_necks,
    strict_keys,
)
from dygait.modeling.layers import SeparateFCs, channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS

_BINS = [15]
_MAP = (30, 20)  # the size that maps are resized to: 15 x 10 tokens


@strict_keys
class BackboneSizes(TypedDict):
    """The backbone's sizes, as in OpenGait's configs, and `embed_dim`, which is 256 there."""

    mode: NotRequired[Literal["p3d"]]
    in_channels: NotRequired[int]
    layers: list[int]
    channels: list[int]
    embed_dim: NotRequired[int]


@MODELS.register("SwinGait")
class SwinGait(nn.Module):
    """The first stages of DeepGaitV2, pseudo-3-D, then a Swin transformer over windows of frames, rows and columns.

    The last of the 15 parts is duplicated for the head, since DeepGaitV2, from whose weights training starts, has 16
    parts; the duplicate is not part of the output.

    Args:
        Backbone: layers: numbers of residual blocks of two stages and of Swin blocks of two, [1, 1, 2, 2] or
            [1, 4, 4, 2]; channels of the two residual stages; embed_dim: channels of the first Swin stage and of the
            embeddings (256), a multiple of 16; the second Swin stage has twice as many; in_channels (1); mode (p3d).
        SeparateBNNecks: the sizes of the BNNecks; parts_num is one more than the sum of `bin_num`.
        bin_num: numbers of horizontal strips of the 15 rows of tokens.
        class_num: K, the number of training ids, unless `SeparateBNNecks` sets it.
    """

    class_head = ("necks.fc_bin",)
    opengait_names: Renames = (
        *LAYER_NAMES,
        *BLOCK_NAMES["p3d"],
        (r"\.patch_embed\.", ".patch_embed.proj."),
        (r"\.patch_norm\.", ".patch_embed.norm."),
        (r"\.stage1\.", ".layers.0.blocks."),
        (r"\.stage2\.", ".layers.1.blocks."),
        (r"\.widen\.", ".layers.0.downsample."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.3\.", ".mlp.fc2."),
        *BNNECK_NAMES,
    )

    def __init__(
        self,
        Backbone: BackboneSizes,
        SeparateBNNecks: NeckSizes | None = None,
        bin_num: list[int] = _BINS,
        class_num: int | None = None,
    ) -> None:
        from dygait.modeling.shifted_windows import ShiftedWindows  # importing torchvision's models takes a second

        super().__init__()
        layers, channels, width = Backbone["layers"], Backbone["channels"], Backbone.get("embed_dim", 256)
        check_numbers("Backbone.channels", channels, 2, "SwinGait")
        check_numbers("Backbone.layers", layers, 4, "SwinGait")
        check_sizes("Backbone", Backbone, {"in_channels": 1})
        self.class_num = number_of_classes(class_num, SeparateBNNecks)
        self.layer0 = stem(1, channels[0])
        self.layer1 = ResidualStage(channels[0], channels[0], layers[0], 1)
        self.layer2 = ResidualStage(channels[0], channels[1], layers[1], 2, "p3d")
        self.transformer = ShiftedWindows(channels[1], width, layers[2:])
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = SeparateFCs(sum(bin_num) + 1, 2 * width, width)
        self.necks = separate_bn_necks(SeparateBNNecks, width, sum(bin_num) + 1, self.class_num)
        initialise(self)
        for module in self.transformer.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features: the embeddings."""
        frames, counts = pack(silhouettes, lengths)
        x = self.layer2(self.layer1(self.layer0(channels_last(frames.unsqueeze(1)))), counts)
        x = F.interpolate(x, _MAP, mode="bilinear", align_corners=True)
        parts = self.pooling(self.transformer(x, counts))  # (N, 2 C, P)
        features = self.fcs(torch.cat([parts, parts[:, :, -1:]], 2))
        logits, after_neck = self.necks(features)
        embeddings = features[:, :, :-1]
        return GaitOutput(embeddings, logits[:, :, :-1], embeddings, after_neck[:, :, :-1])
