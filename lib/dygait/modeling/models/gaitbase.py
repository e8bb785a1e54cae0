"""GaitBase.

Fan et al., *OpenGait: Revisiting Gait Recognition Toward Better Practicality*, CVPR 2023,
https://arxiv.org/abs/2211.06597. N sequences, C channels, S frames, F frames in all, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dygait.errors import UserError
from dygait.modeling.backbones.plain import plain_output
from dygait.modeling.backbones.residual import resnet9_output
from dygait.modeling.frames import pack, sequence_max
from dygait.modeling.heads import DEFAULT_SIZE, FCSizes, NeckSizes, Renames, size_problems, strip_problems, unequal
from dygait.modeling.layers import SeparateBNNecks, SeparateFCs, channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import BACKBONES, MODELS
from dygait.registry import Problem, refuse

_BINS = [16]
_NAMES: dict[str, Renames] = {  # of each backbone that looks at frames alone
    "ResNet9": (
        (r"^backbone\.conv1\.", "backbone.conv1.conv."),
        (r"\.shortcut\.", ".downsample."),
    ),
    "Plain": ((r"^backbone\.layers\.", "backbone.feature."),),
}
_HEAD_NAMES: Renames = (
    (r"^backbone\.", "Backbone.forward_block."),
    (r"^fcs\.", "FCs."),
    (r"^necks\.", "BNNecks."),
)


@MODELS.register("GaitBase", "Baseline")
class GaitBase(nn.Module):
    """A residual network on each frame, the largest value over time, horizontal parts, BNNecks: simple, and strong.

    Triplet loss and test use the features before the BNNecks, whose logits are cosines.

    Args:
        backbone_cfg: `type`, `ResNet9` or `Plain`, and that backbone's keywords.
        SeparateFCs: the sizes of the separate FCs.
        SeparateBNNecks: the sizes of the BNNecks.
        bin_num: numbers of horizontal strips.
        input_size: [H, W] of the silhouettes that will come, for which `bin_num` is checked. Absent: the data is asked.

    Raises:
        UserError: the sizes do not fit together.
    """

    class_head = ("necks.fc_bin",)

    def __init__(
        self,
        backbone_cfg: dict[str, Any],
        SeparateFCs: FCSizes,
        SeparateBNNecks: NeckSizes,
        bin_num: list[int] = _BINS,
        input_size: list[int] | None = None,
    ) -> None:
        super().__init__()
        refuse(self.problems(backbone_cfg, SeparateFCs, SeparateBNNecks, bin_num, input_size))
        self.class_num = SeparateBNNecks["class_num"]
        self.opengait_names = (*_NAMES[backbone_cfg["type"]], *_HEAD_NAMES)
        self.backbone: nn.Module = BACKBONES.build(backbone_cfg)
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = _separate_fcs(**SeparateFCs)
        self.necks = _bn_necks(**SeparateBNNecks)
        initialise(self)

    @staticmethod
    def problems(
        backbone_cfg: dict[str, Any],
        SeparateFCs: FCSizes,
        SeparateBNNecks: NeckSizes,
        bin_num: list[int] = _BINS,
        input_size: list[int] | None = None,
    ) -> list[Problem]:
        """Return every reason why a network of these sizes cannot be built."""
        found = size_problems(input_size)
        kind = backbone_cfg.get("type")
        if not isinstance(kind, str) or kind not in _NAMES:
            return [*found, Problem(("backbone_cfg", "type"), f"must be one of {', '.join(_NAMES)}, got {kind!r}")]
        found += [Problem(("backbone_cfg", *p.path), p.message) for p in BACKBONES.problems(backbone_cfg)]
        if found:
            return found
        try:
            channels, rows = _output(backbone_cfg, (input_size or DEFAULT_SIZE)[0])
        except UserError as error:
            return [Problem(("backbone_cfg", "layers_cfg"), str(error))]
        if input_size is not None:
            found += strip_problems(bin_num, input_size, rows)
        parts, out = sum(bin_num), SeparateFCs["out_channels"]
        found += unequal("SeparateFCs", SeparateFCs, {"in_channels": channels, "parts_num": parts})
        return found + unequal("SeparateBNNecks", SeparateBNNecks, {"in_channels": out, "parts_num": parts})

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Embed sequences.

        Args:
            silhouettes: float (N, S, H, W) in 0..1, S at least 1.
            lengths: (N,), each from 1 to S; frames after a sequence's length are ignored. None: all have S frames.

        Returns:
            Embeddings (N, C, P), logits (N, K, P), inference features: the embeddings.
        """
        frames, counts = pack(silhouettes, lengths)
        maps = self.backbone(channels_last(frames.unsqueeze(1)))  # (F, C, H', W')
        embeddings = self.fcs(self.pooling(sequence_max(maps, counts)))
        return GaitOutput(embeddings, self.necks(embeddings), embeddings)


def _output(backbone_cfg: Mapping[str, Any], height: int) -> tuple[int, int]:
    """Return the channels and the rows of the map that a backbone makes of frames of that height."""
    if backbone_cfg["type"] == "Plain":
        return plain_output(backbone_cfg["layers_cfg"], height)
    sizes = {k: v for k, v in backbone_cfg.items() if k in ("channels", "strides", "maxpool")}
    return resnet9_output(height, **sizes)


# The constructor's keywords are the YAML's keys, two of which are these layers' names.
_separate_fcs = SeparateFCs
_bn_necks = SeparateBNNecks
