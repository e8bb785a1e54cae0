"""Frames of sequences side by side, for networks that look at each frame alone.

A padded batch is packed: the frames that its sequences really have, one after the other, without the padding. Nothing
is computed for padding, nor can it leak into a batch's statistics. While a network is exported, padding stays, and is
masked where frames meet. N sequences, S frames, F frames in all; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from dygait.frames.modalities import channels_to_stack
from dygait.modeling.export_mode import is_exporting
from dygait.modeling.layers import temporal_max, valid_frames, valid_indices

Frames = torch.Tensor | tuple[torch.Tensor, ...]
"""The input of a model: float (N, S, H, W); (N, S, C, H, W) of several channels; or a tuple of such modalities."""


def stack_channels(frames: Frames, channels: int) -> torch.Tensor:
    """Return (N, S, C, H, W) of a model's input, whose modalities are stacked in order.

    Raises:
        ValueError: there are not C channels, or modalities are not of one height.
    """
    each = channels_to_stack(frames if isinstance(frames, tuple) else (frames,), 5)
    stacked = torch.cat(each, 2) if len(each) > 1 else each[0]
    if stacked.shape[2] != channels:
        raise ValueError(f"the model takes frames of {channels} channels, got {stacked.shape[2]}")
    return stacked


class Padded(NamedTuple):
    """How many frames are each sequence's, where the padding is among those that lie side by side: F is N x S."""

    valid: torch.Tensor  # bool (N, S), false in padding

    def apart(self, frames: torch.Tensor, value: float) -> torch.Tensor:
        """Return (N, S, ...) for (F, ...), with a value in padding."""
        apart = frames.unflatten(0, self.valid.shape)
        return apart.masked_fill(~self.valid.reshape(*self.valid.shape, *[1] * (frames.dim() - 1)), value)


Counts = Sequence[int] | Padded
"""How many frames are each sequence's."""


def pack(x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, Counts]:
    """Put the frames of a batch (N, S, ...) side by side: (F, ...), and how many of them are each sequence's."""
    n, frames = x.shape[:2]
    if is_exporting() and lengths is not None:
        return x.flatten(0, 1), Padded(valid_frames(lengths, frames))
    counts = [frames] * n if lengths is None else [int(length) for length in lengths.tolist()]
    return pack_counted(x, counts), counts


def pack_counted(x: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Put the frames of a batch (N, S, ...) side by side: (F, ...), of each sequence as many as its count."""
    if isinstance(counts, Padded) or min(counts) == x.shape[1]:
        return x.flatten(0, 1)
    return x[valid_indices(torch.tensor(counts), x.shape[1], x.device)]


def equally_long(counts: Counts) -> bool:
    """Return whether all sequences have the same number of frames, as far as is known."""
    return not isinstance(counts, Padded) and min(counts) == max(counts)


def unpack(frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Return (N, S, ...), zero in padding, for packed frames (F, ...): S is the largest count."""
    if isinstance(counts, Padded):
        return counts.apart(frames, 0)
    if equally_long(counts):
        return frames.unflatten(0, (len(counts), counts[0]))
    return pad_sequence(list(frames.split(list(counts))), batch_first=True)


def sequence_max(frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Take the largest value over each sequence's frames: packed (F, C, H, W) to (N, C, H, W); as `temporal_max`."""
    if isinstance(counts, Padded):
        return counts.apart(frames, -torch.inf).amax(1)
    if equally_long(counts):
        return temporal_max(unpack(frames, counts).transpose(1, 2), None)
    return torch.cat([temporal_max(own.transpose(0, 1).unsqueeze(0), None) for own in frames.split(list(counts))])
