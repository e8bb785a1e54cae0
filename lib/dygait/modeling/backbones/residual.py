"""Residual blocks on the frames of sequences, and the backbone of GaitBase that is made of them.

He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016. Maps are packed (`modeling.frames`): F frames of
all sequences side by side, without padding, C channels, H x W pixels.
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
from dygait.modeling.layers import avoid_two_frames
from dygait.modeling.registry import BACKBONES

Mode = Literal["2d", "p3d", "3d"]


def over_sequences(layer: nn.Conv3d, frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Apply a 3-D convolution that keeps the number of frames to each sequence, which begins and ends with zeros.

    Packed (F, C, H, W), of which `counts` are each sequence's, become (F, C_out, H_out, W_out).
    """
    sequences, _ = avoid_two_frames(unpack(frames, counts).transpose(1, 2), None)
    return pack_counted(layer(sequences).transpose(1, 2), counts)


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm and a shortcut around them: relu(f(x) + x).

    `2d`: each frame alone, 3x3. `3d`: 3x3x3. `p3d`, pseudo-3-D (Qiu et al., *Learning Spatio-Temporal Representation
    with Pseudo-3D Residual Networks*, ICCV 2017): 3x3, and between the two a branch over three frames at each pixel.
    The stride is the first convolution's, down and across.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, mode: Mode) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride, mode == "3d")
        self.bn1 = BatchNorm2d(channels)
        self.temporal: nn.ModuleList | None = None
        if mode == "p3d":
            over_time = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
            self.temporal = nn.ModuleList([over_time, BatchNorm2d(channels)])
        self.conv2 = _convolution(channels, channels, 3, 1, mode == "3d")
        self.bn2 = BatchNorm2d(channels)
        self.shortcut: nn.ModuleList | None = None
        if stride > 1 or in_channels != channels:
            projection = _convolution(in_channels, channels, 1, stride, mode != "2d")
            self.shortcut = nn.ModuleList([projection, BatchNorm2d(channels)])

    def forward(self, x: torch.Tensor, counts: Counts = ()) -> torch.Tensor:
        """Return packed (F, C_out, H_out, W_out) for packed (F, C_in, H, W), of which `counts` are each sequence's.

        `2d` looks at each frame alone and needs no counts.
        """
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
    """A 1x1 convolution with a stride, as one without it of the pixels that it sees.

    For fewer than 8 channels, oneDNN's gradient of the weight with a stride writes beside its memory on processors with
    AVX2 alone (PyTorch 2.14.1, channels last), which ends the process.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, across = self.stride
        return F.conv2d(x[:, :, ::down, ::across], self.weight)


def _apply(layer: nn.Module, frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    if not isinstance(layer, nn.Conv3d):
        return layer(frames)
    if layer.kernel_size[0] == 1:  # sees one frame at a time, as a clip of that frame alone
        return layer(frames.unsqueeze(2)).squeeze(2)
    return over_sequences(layer, frames, counts)


class ResidualStage(nn.ModuleList):
    """The blocks of a stage, for packed maps and counts: the first has the stride, and the new number of channels."""

    def __init__(self, in_channels: int, channels: int, layers: int, stride: int, mode: Mode = "2d") -> None:
        first = ResidualBlock(in_channels, channels, stride, mode)
        super().__init__([first, *(ResidualBlock(channels, channels, 1, mode) for _ in range(layers - 1))])

    def forward(self, x: torch.Tensor, counts: Counts = ()) -> torch.Tensor:
        """Return what the last block does."""
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


def stage_sizes(given: StageSizes, in_channels: int, model: str) -> tuple[list[int], list[int]]:
    """Return the channels and the blocks of the four stages; ValueError where they do not fit the input's channels."""
    check_numbers("Backbone.blocks", given["blocks"], 4, model)
    check_positive("Backbone.C", given["C"])
    check_sizes("Backbone", given, {"in_channels": in_channels})
    return [given["C"] * factor for factor in (32, 64, 128, 256)], given["blocks"]


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
"""Rules for the stages of DeepGaitV2 and its kin: a `stem` called layer0, layer1 of mode 2d, layer2 to layer4."""

_CHANNELS, _LAYERS, _STRIDES = [32, 64, 128, 256], [1, 2, 2, 1], [1, 2, 2, 1]  # OpenGait's defaults


@BACKBONES.register("ResNet9")
class ResNet9(nn.Module):
    """A convolution and four stages of residual blocks, for small silhouettes: GaitBase's.

    Fan et al., *OpenGait: Revisiting Gait Recognition Toward Better Practicality*, CVPR 2023. Nine layers deep with one
    block in each stage.

    Args:
        channels: of the four stages; the first convolution has the first stage's.
        layers: blocks of each stage.
        strides: of each stage's first block.
        in_channel: channels of a frame.
        block: the kind of block.
        maxpool: halve the map after the first convolution.
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
        for key, given in (("channels", channels), ("layers", layers), ("strides", strides)):
            check_numbers(key, given, 4, "ResNet9")
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
