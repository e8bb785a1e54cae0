"""GaitSet.

Chao et al., *GaitSet: Regarding Gait as a Set for Cross-View Gait Recognition*, AAAI 2019,
https://arxiv.org/abs/1811.06186. N sequences, C channels, S frames, F frames in total, H x W pixels, P parts.
"""

from __future__ import annotations

import torch
from torch import nn

from dygait.modeling.frames import pack, sequence_max
from dygait.modeling.heads import FCSizes, Renames, check_numbers, separate_fcs
from dygait.modeling.layers import channels_last, initialise
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import HorizontalPooling
from dygait.modeling.registry import MODELS

_BINS = [16, 8, 4, 2, 1]


def stage_channels(in_channels: list[int], model: str) -> list[int]:
    """Check `in_channels`, and return it; ValueError unless it is four numbers and the first, the input's, is 1."""
    check_numbers("in_channels", in_channels, 4, model)
    if in_channels[0] != 1:
        raise ValueError(f"in_channels: the first must be 1: silhouettes have one channel, got {in_channels[0]}")
    return in_channels


def set_block(in_channels: int, out_channels: int, kernel: int, pool: bool) -> nn.Sequential:
    """Return two convolutions with LeakyReLU(0.01), the first with the given kernel, and, with `pool`, max pooling."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.LeakyReLU(inplace=True),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


@MODELS.register("GaitSet")
class GaitSet(nn.Module):
    """Gait as a set of frames, which are processed separately; the maximum over the set is taken at three depths.

    Set pooling is the maximum over frames, so their order does not matter. The pooled maps of the three depths are the
    input of a second, global pipeline, whose last map is pooled into strips as that of the frames is. It has no class
    head, and is trained with the triplet loss.

    Args:
        in_channels: numbers of channels of the input (1), and of the three blocks.
        SeparateFCs: the sizes of the separate FCs; parts_num is twice the sum of `bin_num`. By default they have as
            many channels as the last block.
        bin_num: numbers of horizontal strips, for either pipeline.
    """

    opengait_names: Renames = (
        (r"^(set_block\d\.)(\d)\.", r"\1forward_block.\2.conv."),
        (r"^(gl_block\d\.\d)\.", r"\1.conv."),
        (r"^fcs\.", "Head."),
    )

    def __init__(
        self,
        in_channels: list[int],
        SeparateFCs: FCSizes | None = None,
        bin_num: list[int] = _BINS,
    ) -> None:
        super().__init__()
        c0, c1, c2, c3 = stage_channels(in_channels, "GaitSet")
        self.set_block1 = set_block(c0, c1, 5, pool=True)
        self.set_block2 = set_block(c1, c2, 3, pool=True)
        self.set_block3 = set_block(c2, c3, 3, pool=False)
        self.gl_block2 = set_block(c1, c2, 3, pool=True)
        self.gl_block3 = set_block(c2, c3, 3, pool=False)
        self.pooling = HorizontalPooling(bin_num)
        self.fcs = separate_fcs(SeparateFCs, c3, 2 * sum(bin_num))
        initialise(self)

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), no logits, inference features: the embeddings."""
        frames, counts = pack(silhouettes, lengths)
        frames = self.set_block1(channels_last(frames.unsqueeze(1)))  # (F, c1, H / 2, W / 2)
        global_map = self.gl_block2(sequence_max(frames, counts))  # (N, c2, H / 4, W / 4)
        frames = self.set_block2(frames)
        global_map = self.gl_block3(global_map + sequence_max(frames, counts))
        set_map = sequence_max(self.set_block3(frames), counts)
        parts = torch.cat([self.pooling(set_map), self.pooling(global_map + set_map)], 2)
        embeddings = self.fcs(parts)
        return GaitOutput(embeddings, None, embeddings)
