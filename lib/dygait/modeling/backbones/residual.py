"""Residual blocks for packed frames, and ResNet9, the backbone of GaitBase.

He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016. Maps are packed (`modeling.frames`): F frames of
all sequences, concatenated without padding, C channels, H x W pixels; `counts` holds each sequence's number of frames.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import NotRequired, TypedDict

from dygait.modeling.frames import Counts, pack_counted, unpack
from dygait.modeling.heads import Renames, check_numbers, check_positive, check_sizes, strict_keys
from dygait.modeling.kernels.batch_norm import BatchNorm2d
from dygait.modeling.layers import avoid_few_frames
from dygait.modeling.registry import BACKBONES

Mode = Literal["2d", "p3d", "3d"]


def over_sequences(layer: nn.Conv3d, frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Apply a 3-D convolution that keeps the number of frames to each sequence, zero-padded in time.

    Returns packed (F, C_out, H_out, W_out) for packed (F, C, H, W).
    """
    sequences, _ = avoid_few_frames(unpack(frames, counts).transpose(1, 2), None)
    return pack_counted(layer(sequences).transpose(1, 2), counts)


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm and a shortcut around them: relu(f(x) + x).

    `2d`: 3x3, each frame separately. `3d`: 3x3x3. `p3d`, pseudo-3-D (Qiu et al., *Learning Spatio-Temporal
    Representation with Pseudo-3D Residual Networks*, ICCV 2017): 3x3, with a residual convolution over three frames
    between the two. The first convolution has the stride, in rows and columns.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, mode: Mode) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride, mode == "3d")
        self.bn1 = BatchNorm2d(channels)
        self.temporal: nn.ModuleList | None = None
        if mode == "p3d":
            temporal_conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
            self.temporal = nn.ModuleList([temporal_conv, BatchNorm2d(channels)])
        self.conv2 = _convolution(channels, channels, 3, 1, mode == "3d")
        self.bn2 = BatchNorm2d(channels)
        self.shortcut: nn.ModuleList | None = None
        if stride > 1 or in_channels != channels:
            projection = _convolution(in_channels, channels, 1, stride, mode != "2d")
            self.shortcut = nn.ModuleList([projection, BatchNorm2d(channels)])

    def forward(self, x: torch.Tensor, counts: Counts = ()) -> torch.Tensor:
        """Return packed (F, C_out, H_out, W_out) for packed (F, C_in, H, W); `2d` needs no counts."""
        out = F.relu(self.bn1(_apply(self.conv1, x, counts)))
        if self.temporal is not None:
            convolution, norm = self.temporal
            out = F.relu(out + norm(_apply(convolution, out, counts)))
        out = self.bn2(_apply(self.conv2, out, counts))
        if self.shortcut is not None:
            projection, norm = self.shortcut
            x = norm(_apply(projection, x, counts))
        return F.relu(out + x)


def _convolution(in_channels: int, channels: int, kernel: int, stride: int, is_3d: bool) -> nn.Module:
    if is_3d:
        return nn.Conv3d(in_channels, channels, kernel, (1, stride, stride), padding=kernel // 2, bias=False)
    kind = _NarrowProjection if kernel == 1 and in_channels < 8 else nn.Conv2d
    return kind(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)


class _NarrowProjection(nn.Conv2d):
    """A strided 1x1 convolution, computed as an unstrided one of every stride-th pixel.

    With fewer than 8 channels, oneDNN's weight gradient of a strided convolution writes out of bounds on CPUs with AVX2
    but not AVX-512 (PyTorch 2.14.1, channels last), which crashes the process.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row_stride, column_stride = self.stride
        return F.conv2d(x[:, :, ::row_stride, ::column_stride], self.weight)


def _apply(layer: nn.Module, frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    if not isinstance(layer, nn.Conv3d):
        return layer(frames)
    if layer.kernel_size[0] == 1:  # each frame separately, as a clip of one frame
        return layer(frames.unsqueeze(2)).squeeze(2)
    return over_sequences(layer, frames, counts)


class ResidualStage(nn.ModuleList):
    """The residual blocks of a stage; the first has the stride and changes the number of channels."""

    def __init__(self, in_channels: int, channels: int, layers: int, stride: int, mode: Mode = "2d") -> None:
        first = ResidualBlock(in_channels, channels, stride, mode)
        super().__init__([first, *(ResidualBlock(channels, channels, 1, mode) for _ in range(layers - 1))])

    def forward(self, x: torch.Tensor, counts: Counts = ()) -> torch.Tensor:
        """Return packed (F, C_out, H_out, W_out) for packed (F, C_in, H, W)."""
        for block in self:
            x = block(x, counts)
        return x


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """Return a 3x3 convolution with BatchNorm and ReLU: packed (F, C_in, H, W) to (F, C, H, W)."""
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, BatchNorm2d(channels), nn.ReLU(inplace=True))


@strict_keys
class StageSizes(TypedDict):
    """The sizes of the stages of SkeletonGait++ and MultiGait++, as OpenGait's configs give them."""

    in_channels: NotRequired[int]
    blocks: list[int]
    C: int


def stage_sizes(backbone: StageSizes, in_channels: int, model: str) -> tuple[list[int], list[int]]:
    """Return the numbers of channels and of blocks of the four stages; ValueError where a size is invalid."""
    check_numbers("Backbone.blocks", backbone["blocks"], 4, model)
    check_positive("Backbone.C", backbone["C"])
    check_sizes("Backbone", backbone, {"in_channels": in_channels})
    return [backbone["C"] * factor for factor in (32, 64, 128, 256)], backbone["blocks"]


LAYER_NAMES: Renames = (
    (r"layer([01])\.", r"layer\1.forward_block."),
    (r"\.shortcut\.", ".downsample."),
)
BLOCK_NAMES: dict[Mode, Renames] = {
    "2d": ((r"layer([234])\.", r"layer\1.forward_block."),),
    "p3d": (
        (r"(layer[234]\.\d+)\.conv([12])\.", r"\1.conv\2.forward_block.0."),
        (r"(layer[234]\.\d+)\.bn([12])\.", r"\1.conv\2.forward_block.1."),
        (r"\.temporal\.0\.", ".shortcut3d."),
        (r"\.temporal\.1\.", ".sbn."),
    ),
    "3d": (),
}
"""Renames for DeepGaitV2 and its variants: layer0 is a `stem`, layer1 a stage of mode 2d, layer2 to layer4 stages."""

_CHANNELS, _LAYERS, _STRIDES = [32, 64, 128, 256], [1, 2, 2, 1], [1, 2, 2, 1]  # OpenGait's defaults


@BACKBONES.register("ResNet9")
class ResNet9(nn.Module):
    """A convolution and four stages of residual blocks, for small silhouettes: the backbone of GaitBase.

    Fan et al., *OpenGait: Revisiting Gait Recognition Toward Better Practicality*, CVPR 2023. Nine layers deep with one
    block in each stage.

    Args:
        channels: numbers of channels of the four stages; the first convolution has those of the first stage.
        layers: number of blocks in each stage.
        strides: stride of the first block of each stage.
        in_channel: number of channels of a frame.
        block: type of block.
        maxpool: whether to halve the map after the first convolution.
    """

    opengait_names: Renames = (
        (r"^backbone\.conv1\.", "backbone.conv1.conv."),
        (r"\.shortcut\.", ".downsample."),
        (r"^backbone\.", "Backbone.forward_block."),
    )

    def __init__(
        self,
        channels: list[int] = _CHANNELS,
        layers: list[int] = _LAYERS,
        strides: list[int] = _STRIDES,
        in_channel: int = 1,
        block: Literal["BasicBlock"] = "BasicBlock",
        maxpool: bool = True,
    ) -> None:
        super().__init__()
        for key, numbers in (("channels", channels), ("layers", layers), ("strides", strides)):
            check_numbers(key, numbers, 4, "ResNet9")
        check_positive("in_channel", in_channel)
        self.out_channels = channels[-1]
        self.conv1 = nn.Conv2d(in_channel, channels[0], 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(channels[0])
        self.pool = nn.MaxPool2d(3, 2, padding=1) if maxpool else nn.Identity()
        widths = [channels[0], *channels]
        sizes = zip(widths, channels, layers, strides, strict=False)
        self.layer1, self.layer2, self.layer3, self.layer4 = (ResidualStage(*size) for size in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (F, C_out, H_out, W_out) for (F, C_in, H, W)."""
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
