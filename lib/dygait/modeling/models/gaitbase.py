"""GaitBase.

Fan et al., *OpenGait: Revisiting Gait Recognition Toward Better Practicality*, CVPR 2023,
https://arxiv.org/abs/2211.06597. On three channels of projected depth it is LidarGait: Shen et al., *LidarGait:
Benchmarking 3D Gait Recognition with Point Clouds*, CVPR 2023, https://arxiv.org/abs/2211.10598.
N sequences, C channels, S frames, F frames in total, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dygait.modeling.frames import Frames, pack, stack_channels
from dygait.modeling.heads import BNNECK_NAMES, BNNeckHead, FCSizes, NeckSizes
from dygait.modeling.layers import channels_last
from dygait.modeling.output import GaitOutput
from dygait.modeling.registry import MODELS, build_backbone

_BINS = [16]


@MODELS.register("GaitBase", "Baseline", "LidarGait")
class GaitBase(BNNeckHead):
    """A residual network on each frame, maximum over time, horizontal parts, BNNecks: a simple, strong baseline.

    Args:
        backbone_cfg: `type`, `ResNet9` or `Plain`, and the keywords of that backbone.
        SeparateFCs: the sizes of the separate FCs; by default as many channels as the last stage of the backbone.
        SeparateBNNecks: the sizes of the BNNecks.
        bin_num: numbers of horizontal strips.
        class_num: K, the number of training ids, unless `SeparateBNNecks` sets it.
    """

    def __init__(
        self,
        backbone_cfg: dict[str, Any],
        SeparateFCs: FCSizes | None = None,
        SeparateBNNecks: NeckSizes | None = None,
        bin_num: list[int] = _BINS,
        class_num: int | None = None,
    ) -> None:
        super().__init__()
        backbone: Any = build_backbone(backbone_cfg, nn.Module)
        self.backbone = backbone
        self.in_channels: int = backbone_cfg.get("in_channel", 1)
        self.opengait_names = (*backbone.opengait_names, *BNNECK_NAMES)
        self.add_head(backbone.out_channels, bin_num, class_num, SeparateBNNecks, SeparateFCs)

    def forward(self, silhouettes: Frames, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P), inference features: the embeddings."""
        frames, counts = pack(stack_channels(silhouettes, self.in_channels), lengths)
        return self.head(self.backbone(channels_last(frames)), counts)
