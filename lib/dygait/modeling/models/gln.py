"""GLN, the Gait Lateral Network.

Hou et al., *Gait Lateral Network: Learning Discriminative and Compact Representations for Gait Recognition*, ECCV 2020.
N sequences, C channels, S frames, F frames in total, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.frames import pack, sequence_max
from dygait.modeling.heads import FCSizes, Renames, check_positive, check_sizes, separate_fcs
from dygait.modeling.layers import channels_last, initialise
from dygait.modeling.models.gaitset import set_block, stage_channels
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS

_BINS = [16, 8, 4, 2, 1]


@MODELS.register("GLN")
class GLN(nn.Module):
    """Set features at three scales, merged from coarse to fine, each pooled into a pyramid of strips.

    Training has two phases: first without a class head, with the triplet loss; then, from those weights, with a compact
    block (BatchNorm, dropout, a linear layer) that maps all parts of a sequence to logits with P = 1. A test compares
    the parts in both.

    Args:
        in_channels: numbers of channels of the input (1), and of the three stages.
        lateral_dim: number of channels of the merged maps.
        hidden_dim: number of channels of the embeddings, and of the compact block.
        Lateral_pretraining: true in the first phase, false in the second.
        SeparateFCs: the sizes of the separate FCs; parts_num is three times the sum of `bin_num`.
        bin_num: numbers of horizontal strips, of each scale.
        dropout: dropout rate before the linear layer of the compact block.
        class_num: K, the number of training ids; the first phase has no class head.
    """

    class_head = ("reduce_cls.weight",)
    opengait_names: Renames = (
        (r"^(sil_stage_\d)\.(\d)\.", r"\1.forward_block.\2.conv."),
        (r"^(set_stage_\d\.\d)\.", r"\1.conv."),
        (r"^fcs\.", "Head."),
    )

    def __init__(
        self,
        in_channels: list[int],
        lateral_dim: int,
        hidden_dim: int,
        Lateral_pretraining: bool,
        SeparateFCs: FCSizes | None = None,
        bin_num: list[int] = _BINS,
        dropout: float = 0.9,
        class_num: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("lateral_dim", lateral_dim)
        check_positive("hidden_dim", hidden_dim)
        sizes = SeparateFCs or FCSizes()
        check_sizes("SeparateFCs", sizes, {"out_channels": hidden_dim})
        c0, c1, c2, c3 = stage_channels(in_channels, "GLN")
        self.sil_stage_0 = set_block(c0, c1, 5, pool=False)
        self.sil_stage_1 = set_block(c1, c2, 3, pool=False)
        self.sil_stage_2 = set_block(c2, c3, 3, pool=False)
        self.set_stage_1 = set_block(c1, c2, 3, pool=False)
        self.set_stage_2 = set_block(c2, c3, 3, pool=False)
        self.lateral_layer1, self.lateral_layer2, self.lateral_layer3 = (
            nn.Conv2d(2 * channels, lateral_dim, 1, bias=False) for channels in (c1, c2, c3)
        )
        self.smooth_layer1, self.smooth_layer2, self.smooth_layer3 = (
            nn.Conv2d(lateral_dim, lateral_dim, 3, padding=1, bias=False) for _ in range(3)
        )
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = separate_fcs({**sizes, "out_channels": hidden_dim}, lateral_dim, 3 * sum(bin_num))
        self.class_num = None if Lateral_pretraining else class_num
        self.compact = not Lateral_pretraining
        if self.compact:
            self._add_compact_block(hidden_dim, 3 * sum(bin_num), dropout)
        initialise(self)

    def _add_compact_block(self, channels: int, parts: int, dropout: float) -> None:
        if self.class_num is None:
            raise ValueError("class_num: this key is required")
        check_positive("class_num", self.class_num)
        self.encoder_bn = nn.BatchNorm1d(channels * parts)
        self.reduce_dp = nn.Dropout(dropout)
        self.reduce_fc = nn.Linear(channels * parts, channels, bias=False)
        self.reduce_bn = nn.BatchNorm1d(channels)
        self.reduce_cls = nn.Linear(channels, self.class_num, bias=False)
        self.encoder_bn.bias.requires_grad_(False)
        self.reduce_bn.bias.requires_grad_(False)

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, 1) or None, inference features: the embeddings."""
        if any(size % 4 for size in silhouettes.shape[2:]):
            raise ValueError(f"input_size: rows and columns must be multiples of 4, got {[*silhouettes.shape[2:]]}")
        maps = self._merge(*self._scales(silhouettes, lengths))
        embeddings = self.fcs(torch.cat([self.pooling(x) for x in maps], 2))
        if not self.compact:
            return GaitOutput(embeddings, None, embeddings)
        features = self.reduce_dp(self.encoder_bn(embeddings.flatten(1)))
        logits = self.reduce_cls(self.reduce_bn(self.reduce_fc(F.relu(features))))
        return GaitOutput(embeddings, logits.unsqueeze(2), embeddings)

    def _scales(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Return the concatenated set maps of frames and of the finer scale, (N, 2 c, H', W'), at 1, 1/2 and 1/4."""
        frames, counts = pack(silhouettes, lengths)
        x = self.sil_stage_0(channels_last(frames.unsqueeze(1)))  # (F, c1, H, W)
        fine = sequence_max(x, counts)
        x = self.sil_stage_1(F.max_pool2d(x, 2))
        middle = sequence_max(x, counts)
        coarse = sequence_max(self.sil_stage_2(F.max_pool2d(x, 2)), counts)
        set_middle = self.set_stage_1(F.max_pool2d(fine, 2)) + middle
        set_coarse = self.set_stage_2(F.max_pool2d(set_middle, 2)) + coarse
        pairs = (fine, fine), (middle, set_middle), (coarse, set_coarse)  # there is no finer scale than the first
        return tuple(torch.cat(pair, 1) for pair in pairs)

    def _merge(self, fine: torch.Tensor, middle: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Add to each scale the upsampled coarser ones: three maps (N, lateral_dim, H', W')."""
        coarse = self.lateral_layer3(coarse)
        middle = self.lateral_layer2(middle) + F.interpolate(coarse, scale_factor=2)
        fine = self.lateral_layer1(fine) + F.interpolate(middle, scale_factor=2)
        return self.smooth_layer1(fine), self.smooth_layer2(middle), self.smooth_layer3(coarse)
