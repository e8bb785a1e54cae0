"""Swin blocks over windows of frames, rows and columns, for packed sequences of any lengths.

Liu et al., *Video Swin Transformer*, CVPR 2022. N sequences, F frames in total, packed (`modeling.frames`), each of H x
W tokens of C channels; G windows of three frames, each divided into M windows of T tokens. A sequence is padded to a
multiple of three frames with zeros, which take part in attention; a sequence of at most three frames is one window,
which is not shifted in time. So attention depends only on the sequence's own length.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

from dygait.modeling.frames import Counts, Padded, sequence_max

_WINDOW = (3, 3, 5)  # frames, rows, columns
_SHIFTS = ((0, 0, 0), (1, 1, 2))  # of even and odd blocks
_HEAD_CHANNELS = 16
_DROP_RATE = 0.1  # of the last block
_MASKED = -100.0  # added to the attention scores of tokens that must not attend to each other


class Windows(NamedTuple):
    """The arrangement of packed frames in windows.

    Attributes:
        frames: long (3 G,), index of the frame at each position in the windows; F for zeros.
        positions: long (F,), position of each frame in the windows.
        mask: (G, M, 1, T, T), added to attention scores; None: all tokens of a window attend to each other.
        sequences: long (F,), index of the sequence of each frame.
    """

    frames: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    sequences: torch.Tensor

    def to(self, device: torch.device) -> Windows:
        """Return the same on a device."""
        frames, positions, sequences = (
            x.to(device, non_blocking=True) for x in (self.frames, self.positions, self.sequences)
        )
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return Windows(frames, positions, mask, sequences)


def arrange(counts: Counts, height: int, width: int, shift: tuple[int, int, int]) -> Windows:
    """Return the shifted windows over sequences of frames of H x W tokens, on the device of `counts`."""
    if isinstance(counts, Padded):
        lengths, longest, total = counts.valid.sum(1), counts.valid.shape[1], counts.valid.numel()
        strides, masked = torch.full_like(lengths, longest), True
    else:
        lengths, longest, total = torch.tensor(counts), max(counts), sum(counts)
        strides, masked = lengths, any(shift) or min(counts) < _WINDOW[0]
    long = lengths > _WINDOW[0]
    padded = torch.where(long, (lengths + 2) // 3 * 3, lengths)[:, None]
    time_shift = torch.where(long, shift[0], 0)[:, None]
    max_windows = (longest + 2) // 3
    position = torch.arange(max_windows * 3, device=lengths.device)
    used = position < padded
    source = torch.where(used, (position + time_shift) % padded, position)  # (N, positions)
    starts = (strides.cumsum(0) - strides)[:, None]
    tables = [
        x.unflatten(1, (-1, 3)).flatten(0, 1)
        for x in (
            torch.where(source < lengths[:, None], source + starts, total),
            torch.where(used, (source < time_shift).long(), 2),
            torch.arange(lengths.shape[0], device=lengths.device)[:, None].expand_as(source),
        )
    ]
    if not isinstance(counts, Padded):  # remove windows without frames
        present = [row * max_windows + window for row, count in enumerate(counts) for window in range((count + 2) // 3)]
        tables = [x[present] for x in tables]
    frames, region, sequence = tables  # (G, 3)
    flat = frames.flatten()
    positions = flat.new_zeros(total + 1).scatter(0, flat, torch.arange(flat.shape[0], device=flat.device))[:-1]
    mask = _mask(region, height, width, shift) if masked else None
    return Windows(flat, positions, mask, sequence.flatten()[positions])


def _mask(region: torch.Tensor, height: int, width: int, shift: tuple[int, int, int]) -> torch.Tensor:
    """Return the mask (G, M, 1, T, T) of tokens that the shift made neighbours, for regions in time (G, 3)."""
    rows, columns = (
        (torch.arange(size, device=region.device) >= size - offset).long()
        for size, offset in ((height, shift[1]), (width, shift[2]))
    )
    regions = _partition(region[:, :, None, None, None] * 4 + (rows[:, None] * 2 + columns)[..., None]).squeeze(-1)
    return ((regions[:, :, :, None] != regions[:, :, None, :]) * _MASKED).unsqueeze(2)


def _partition(x: torch.Tensor) -> torch.Tensor:
    """Divide (G, 3, H, W, C) into windows: (G, M, T, C)."""
    _, rows, columns = _WINDOW
    return x.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).movedim((2, 4), (1, 2)).flatten(3, 5).flatten(1, 2)


def _join(x: torch.Tensor, height: int) -> torch.Tensor:
    """Undo `_partition`."""
    x = x.unflatten(2, _WINDOW).unflatten(1, (height // _WINDOW[1], -1))
    return x.movedim((1, 2), (2, 4)).flatten(4, 5).flatten(2, 3)


class WindowAttention(ShiftedWindowAttention3d):
    """torchvision's window attention, for sequences of different lengths; H and W are multiples of the window's."""

    def forward(self, x: torch.Tensor, windows: Windows) -> torch.Tensor:
        """Return packed tokens (F, H, W, C) for the same."""
        _, down, right = self.shift_size
        padded = F.pad(x, (0, 0, 0, 0, 0, 0, 0, 1))
        tokens = padded.index_select(0, windows.frames).unflatten(0, (-1, 3)).roll((-down, -right), (2, 3))
        qkv = self.qkv(_partition(tokens)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # (G, M, heads, T, C / heads)
        scores = (q * q.shape[-1] ** -0.5).matmul(k.transpose(-2, -1))
        scores = scores + self.get_relative_position_bias(self.window_size)
        if windows.mask is not None:
            scores = scores + windows.mask
        output = self.proj(scores.softmax(-1).matmul(v).transpose(2, 3).flatten(3))
        return _join(output, x.shape[1]).roll((down, right), (2, 3)).flatten(0, 1).index_select(0, windows.positions)


class SwinBlock(SwinTransformerBlock):
    """torchvision's block, on packed frames; stochastic depth drops whole sequences."""

    def forward(self, x: torch.Tensor, windows: Windows, n: int) -> torch.Tensor:
        """Return packed tokens (F, H, W, C) for those of N sequences."""
        x = x + self._drop_sequences(self.attn(self.norm1(x), windows), windows, n)
        return x + self._drop_sequences(self.mlp(self.norm2(x)), windows, n)

    def _drop_sequences(self, x: torch.Tensor, windows: Windows, n: int) -> torch.Tensor:
        if not self.training:
            return x
        return x * self.stochastic_depth(x.new_ones(n, 1, 1, 1)).index_select(0, windows.sequences)


class ShiftedWindows(nn.Module):
    """Two stages of Swin blocks over frames, rows and columns, the second with twice the channels; no patch merging.

    The rate of stochastic depth increases from block to block.
    """

    def __init__(self, in_channels: int, channels: int, depths: list[int]) -> None:
        super().__init__()
        if channels < 1 or channels % _HEAD_CHANNELS:
            raise ValueError(f"Backbone.embed_dim: must be a multiple of {_HEAD_CHANNELS}, got {channels}")

        def stage(width: int, numbers: range) -> nn.ModuleList:
            return nn.ModuleList(
                SwinBlock(
                    width,
                    width // _HEAD_CHANNELS,
                    window_size=list(_WINDOW),
                    shift_size=list(_SHIFTS[index % 2]),
                    stochastic_depth_prob=_DROP_RATE * number / max(1, sum(depths) - 1),
                    attn_layer=WindowAttention,
                )
                for index, number in enumerate(numbers)
            )

        self.patch_embed = nn.Conv3d(in_channels, channels, (1, 2, 2), (1, 2, 2))
        self.patch_norm = nn.LayerNorm(channels)
        self.stage1 = stage(channels, range(depths[0]))
        self.widen = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 2 * channels, bias=False))
        self.stage2 = stage(2 * channels, range(depths[0], sum(depths)))
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, frames: torch.Tensor, counts: Counts) -> torch.Tensor:
        """Return the maximum over time (N, 2 C, H / 2, W / 2) for packed maps (F, C_in, H, W)."""
        x = self.patch_norm(self.patch_embed(frames.unsqueeze(2)).squeeze(2).permute(0, 2, 3, 1))
        windows = [arrange(counts, x.shape[1], x.shape[2], shift).to(x.device) for shift in _SHIFTS]
        n = counts.valid.shape[0] if isinstance(counts, Padded) else len(counts)
        for index, block in enumerate(self.stage1):
            x = block(x, windows[index % 2], n)
        x = self.widen(x)
        for index, block in enumerate(self.stage2):
            x = block(x, windows[index % 2], n)
        return sequence_max(self.norm(x).permute(0, 3, 1, 2), counts)
