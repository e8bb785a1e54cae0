"""GaitGL.

Lin et al., *Gait Recognition via Effective Global-Local Feature Representation and Local Temporal Aggregation*, ICCV
2021, https://arxiv.org/abs/2011.01461. N sequences, C channels, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.heads import GAITGL_NAMES, GaitGLHead, NeckSizes, Renames, check_numbers
from dygait.modeling.layers import (
    LocalTemporalAggregation,
    avoid_few_frames,
    channels_last,
    whole_sequences,
    zero_padding,
)
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import by_strips
from dygait.modeling.registry import MODELS

Variant = Literal["shallow", "deep"]
_DEPTH = {"shallow": 3, "deep": 4}  # length of `channels`
_STRIPS = {"shallow": 8, "deep": 2}
_BINS = [64]
_NAMES: dict[str, Renames] = {
    "shallow": ((r"^glconv([01])\.0\.", r"GLConvA\1."), (r"^glconv2\.0\.", "GLConvB2.")),
    "deep": ((r"^glconv([01])\.", r"GLConvA\1."), (r"^glconv2\.", "GLConvB2.")),
}
_LAYER_NAMES: Renames = (
    (r"^stem\.0\.", "conv3d.0.conv3d."),
    (r"^stem\.1\.", "conv3d.2.conv3d."),
    (r"^lta\.conv\.", "LTA.0.conv3d."),
    (r"\.conv_(global|local)\.", r".\1_conv3d.conv3d."),
)


def _convolution(in_channels: int, out_channels: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)


class GLConv(nn.Module):
    """A convolution of the map and one of each horizontal strip separately, each with LeakyReLU(0.01).

    The two maps are added or, with `stack`, concatenated along the height.
    """

    def __init__(self, in_channels: int, out_channels: int, strips: int, stack: bool = False) -> None:
        super().__init__()
        self.conv_global = _convolution(in_channels, out_channels)
        self.conv_local = _convolution(in_channels, out_channels)
        self.strips = strips
        self.stack = stack

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C_out, S, H, W), stacked (N, C_out, S, 2 H, W), for (N, C_in, S, H, W); zero in padding both."""
        global_map = F.leaky_relu(self.conv_global(x), 0.01)
        local_map = F.leaky_relu(by_strips(self.conv_local, x, self.strips), 0.01)
        return zero_padding(torch.cat([global_map, local_map], 3) if self.stack else global_map + local_map, lengths)


@MODELS.register("GaitGL")
class GaitGL(GaitGLHead):
    """Parallel global and local 3-D convolutions, local temporal aggregation, GeM pooling of horizontal strips.

    A single frame is repeated three times, two frames twice, as in OpenGait.

    Args:
        channels: numbers of channels: three for `shallow`, four for `deep`.
        class_num: K, the number of training ids; without it, and without `SeparateBNNecks`, there are no logits.
        SeparateBNNecks: the sizes of the BNNeck head; without it, the network has the head of the paper.
        variant: `shallow` (CASIA-B: one convolution, eight strips, three GLConvs) or `deep` (OUMVLP, GREW: two, two,
            six).
        bin_num: numbers of horizontal strips of the last map, which is as high as the input.
    """

    def __init__(
        self,
        channels: list[int],
        class_num: int | None = None,
        SeparateBNNecks: NeckSizes | None = None,
        variant: Variant = "shallow",
        bin_num: list[int] = _BINS,
    ) -> None:
        super().__init__()
        self.opengait_names = (*_NAMES[variant], *_LAYER_NAMES, *GAITGL_NAMES)
        check_numbers("channels", channels, _DEPTH[variant], f"the {variant} variant")
        strips, deep = _STRIPS[variant], variant == "deep"
        c0, c1, c2, c3 = channels if deep else (*channels, channels[-1])
        self.stem = nn.ModuleList([_convolution(1, c0), *([_convolution(c0, c0)] if deep else [])])
        self.glconv0 = nn.ModuleList([GLConv(c0, c1, strips), *([GLConv(c1, c1, strips)] if deep else [])])
        self.glconv1 = nn.ModuleList([GLConv(c1, c2, strips), *([GLConv(c2, c2, strips)] if deep else [])])
        self.glconv2 = nn.ModuleList([*([GLConv(c2, c3, strips)] if deep else []), GLConv(c3, c3, strips, stack=True)])
        self.lta = LocalTemporalAggregation(c0)
        self.add_head(channels[-1], bin_num, class_num, SeparateBNNecks)

    @staticmethod
    def chosen_by_dataset(dataset_name: str | None) -> dict[str, Any]:
        """Return the variant that OpenGait uses for a dataset."""
        if dataset_name is None:
            return {}
        return {"variant": "deep" if dataset_name in ("OUMVLP", "GREW") else "shallow"}

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Return embeddings (N, C, P), logits (N, K, P) or None, inference features (N, C, P)."""
        silhouettes, lengths = whole_sequences(silhouettes, lengths)
        x = channels_last(silhouettes.unsqueeze(1))
        for convolution in self.stem:
            x = zero_padding(F.leaky_relu(convolution(x), 0.01), lengths)
        x, lengths = avoid_few_frames(*self.lta(x, lengths))
        for block in self.glconv0:
            x = block(x, lengths)
        x = F.max_pool3d(x, (1, 2, 2))
        for block in (*self.glconv1, *self.glconv2):
            x = block(x, lengths)
        return self.head(x, lengths)
