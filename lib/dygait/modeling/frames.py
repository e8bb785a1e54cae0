"""Frames of sequences side by side, for networks that look at each frame alone.

A padded batch is packed: the frames that its sequences really have, one after the other, without the padding. Nothing
is computed for padding, nor can it leak into a batch's statistics. N sequences, S frames, F frames in all; `lengths` as
in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from dygait.modeling.layers import has_channels_last, valid_indices


def pack(x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, list[int]]:
    """Put the frames of a batch (N, S, ...) side by side: (F, ...), and how many of them are each sequence's."""
    n, frames = x.shape[:2]
    counts = [frames] * n if lengths is None else [int(length) for length in lengths.tolist()]
    return pack_counted(x, counts), counts


def pack_counted(x: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Put the frames of a batch (N, S, ...) side by side: (F, ...), of each sequence as many as its count."""
    if min(counts) == x.shape[1]:
        return x.flatten(0, 1)
    return x[valid_indices(torch.tensor(counts), x.shape[1], x.device)]


def unpack(frames: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Return (N, S, ...), zero in padding, for packed frames (F, ...): S is the largest count."""
    if min(counts) == max(counts):
        return frames.unflatten(0, (len(counts), counts[0]))
    return pad_sequence(list(frames.split(list(counts))), batch_first=True)


def sequence_max(frames: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Take the largest value over each sequence's frames: packed (F, ...) to (N, ...)."""
    if frames.dim() == 4 and has_channels_last(frames):  # and so is the result, and the gradient
        pixels = frames.permute(0, 2, 3, 1)
        return sequence_max(pixels.flatten(1), counts).unflatten(1, pixels.shape[1:]).permute(0, 3, 1, 2)
    if min(counts) == max(counts):
        return unpack(frames, counts).amax(1)
    return torch.stack([own.amax(0) for own in frames.split(list(counts))])
