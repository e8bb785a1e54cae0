"""GaitGL.

Lin et al., *Gait Recognition via Effective Global-Local Feature Representation and Local Temporal Aggregation*, ICCV
2021, https://arxiv.org/abs/2011.01461. N sequences, C channels, S frames, H x W pixels, P parts, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.heads import (
    CLASS_HEAD,
    GAITGL_HEAD,
    NeckSizes,
    Renames,
    check_numbers,
    gaitgl_head,
    gaitgl_output,
    number_of_classes,
)
from dygait.modeling.layers import (
    GeMHorizontalPooling,
    LocalTemporalAggregation,
    SeparateFCs,
    avoid_two_frames,
    channels_last,
    initialise,
    temporal_max,
    whole_sequences,
    zero_padding,
)
from dygait.modeling.output import GaitOutput
from dygait.modeling.parts import by_strips
from dygait.modeling.registry import MODELS

Variant = Literal["shallow", "deep"]
_DEPTH = {"shallow": 3, "deep": 4}  # as many channels
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
    """A convolution of the whole map beside one of each horizontal strip alone; LeakyReLU(0.01).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        strips: into how many strips the local convolution cuts the map.
        stack: put the two maps below each other, where they are otherwise added.
    """

    def __init__(self, in_channels: int, out_channels: int, strips: int, stack: bool = False) -> None:
        super().__init__()
        self.conv_global = _convolution(in_channels, out_channels)
        self.conv_local = _convolution(in_channels, out_channels)
        self.strips = strips
        self.stack = stack

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C_out, S, H, W), stacked (N, C_out, S, 2 H, W), for (N, C_in, S, H, W); zero in padding both."""
        whole, local = self.conv_global(x), by_strips(self.conv_local, x, self.strips)
        if self.stack:
            return zero_padding(F.leaky_relu(torch.cat([whole, local], 3), 0.01), lengths)
        return zero_padding(F.leaky_relu(whole, 0.01) + F.leaky_relu(local, 0.01), lengths)


@MODELS.register("GaitGL")
class GaitGL(nn.Module):
    """Global and local 3-D convolutions beside each other, local temporal aggregation, GeM pooling by rows.

    Two heads. With `SeparateBNNecks`: triplet loss and test use the features before the BNNeck, whose logits are
    cosines. Without, the paper's: features after a BatchNorm serve triplet loss, test and a further separate FC to the
    logits. A single frame is repeated three times, two frames twice, as OpenGait does.

    Args:
        channels: three numbers for `shallow`, four for `deep`.
        class_num: K, the number of training ids; without it, and without `SeparateBNNecks`, there are no logits.
        SeparateBNNecks: the sizes of the BNNeck head; its presence chooses that head.
        variant: `shallow` (CASIA-B: one convolution, eight strips, three GLConvs) or `deep` (OUMVLP, GREW: two, two,
            six).
        bin_num: numbers of horizontal strips that the last map is pooled into; its rows are as many as the input's.

    Raises:
        ValueError: sizes do not fit together.
    """

    class_head = CLASS_HEAD

    def __init__(
        self,
        channels: list[int],
        class_num: int | None = None,
        SeparateBNNecks: NeckSizes | None = None,
        variant: Variant = "shallow",
        bin_num: list[int] = _BINS,
    ) -> None:
        super().__init__()
        self.opengait_names = (*_NAMES[variant], *_LAYER_NAMES, *GAITGL_HEAD)
        self.class_num = number_of_classes(class_num, SeparateBNNecks)
        check_numbers("channels", channels, _DEPTH[variant], f"the {variant} variant")
        strips, width, parts = _STRIPS[variant], channels[-1], sum(bin_num)
        if variant == "shallow":
            c0, c1, c2 = channels
            self.stem = nn.ModuleList([_convolution(1, c0)])
            self.glconv0 = nn.ModuleList([GLConv(c0, c1, strips)])
            self.glconv1 = nn.ModuleList([GLConv(c1, c2, strips)])
            self.glconv2 = nn.ModuleList([GLConv(c2, c2, strips, stack=True)])
        else:
            c0, c1, c2, c3 = channels
            self.stem = nn.ModuleList([_convolution(1, c0), _convolution(c0, c0)])
            self.glconv0 = nn.ModuleList([GLConv(c0, c1, strips), GLConv(c1, c1, strips)])
            self.glconv1 = nn.ModuleList([GLConv(c1, c2, strips), GLConv(c2, c2, strips)])
            self.glconv2 = nn.ModuleList([GLConv(c2, c3, strips), GLConv(c3, c3, strips, stack=True)])
        self.lta = LocalTemporalAggregation(c0)
        self.pooling = GeMHorizontalPooling(bin_num)
        self.fcs = SeparateFCs(parts, width, width)
        self.necks, self.head_norm, self.classifier = gaitgl_head(width, parts, class_num, SeparateBNNecks)
        initialise(self)

    @staticmethod
    def chosen_by_dataset(dataset_name: str | None) -> dict[str, Any]:
        """Return the variant that OpenGait chooses by the dataset's name."""
        if dataset_name is None:
            return {}
        return {"variant": "deep" if dataset_name in ("OUMVLP", "GREW") else "shallow"}

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> GaitOutput:
        """Embed sequences.

        Args:
            silhouettes: float (N, S, H, W) in 0..1, S at least 1.
            lengths: (N,), each from 1 to S; frames after a sequence's length are ignored. None: all have S frames.

        Returns:
            Embeddings (N, C, P), logits (N, K, P) or None, inference features (N, C, P).
        """
        silhouettes, lengths = whole_sequences(silhouettes, lengths)
        x = channels_last(silhouettes.unsqueeze(1))
        for convolution in self.stem:
            x = zero_padding(F.leaky_relu(convolution(x), 0.01), lengths)
        x, lengths = avoid_two_frames(*self.lta(x, lengths))
        for block in self.glconv0:
            x = block(x, lengths)
        x = F.max_pool3d(x, (1, 2, 2))
        for block in (*self.glconv1, *self.glconv2):
            x = block(x, lengths)
        parts = self.fcs(self.pooling(temporal_max(x, lengths)))
        return gaitgl_output(parts, (self.necks, self.head_norm, self.classifier))
