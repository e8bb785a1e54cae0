"""Packed frames, for networks that process each frame separately.

A padded batch is packed: the valid frames of its sequences are concatenated, without the padding, which so costs no
computation and cannot affect the statistics of a batch. While a network is exported, padding stays, and is masked where
frames are combined. N sequences, S frames, F frames in total; `lengths` as in `dygait.modeling.layers`.
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
    """Return the modalities of a model's input stacked in order: (N, S, C, H, W).

    Raises:
        ValueError: there are not C channels, or the heights of the modalities differ.
    """
    modalities = channels_to_stack(frames if isinstance(frames, tuple) else (frames,), 5)
    stacked = torch.cat(modalities, 2) if len(modalities) > 1 else modalities[0]
    if stacked.shape[2] != channels:
        raise ValueError(f"the model takes frames of {channels} channels, got {stacked.shape[2]}")
    return stacked


class Padded(NamedTuple):
    """The valid frames of a batch whose padding was not removed: F is N x S."""

    valid: torch.Tensor  # bool (N, S), false in padding

    def fill_padding(self, frames: torch.Tensor, value: float) -> torch.Tensor:
        """Return (N, S, ...) for (F, ...), with `value` in padding."""
        valid = self.valid.reshape(*self.valid.shape, *[1] * (frames.dim() - 1))
        return frames.unflatten(0, self.valid.shape).masked_fill(~valid, value)


Counts = Sequence[int] | Padded
"""The number of frames of each sequence."""


def pack(x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, Counts]:
    """Concatenate the frames of a batch (N, S, ...): return (F, ...), and the number of frames of each sequence."""
    n, frames = x.shape[:2]
    if is_exporting() and lengths is not None:
        return x.flatten(0, 1), Padded(valid_frames(lengths, frames))
    counts = [frames] * n if lengths is None else [int(length) for length in lengths.tolist()]
    return pack_counted(x, counts), counts


def pack_counted(x: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Concatenate the first frames of each sequence of a batch (N, S, ...), as many as its count: (F, ...)."""
    if isinstance(counts, Padded) or min(counts) == x.shape[1]:
        return x.flatten(0, 1)
    return x[valid_indices(torch.tensor(counts), x.shape[1], x.device)]


def equally_long(counts: Counts) -> bool:
    """Return whether all sequences are known to have the same number of frames."""
    return not isinstance(counts, Padded) and min(counts) == max(counts)


def unpack(frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Return (N, S, ...), zero in padding, for packed frames (F, ...): S is the largest count."""
    if isinstance(counts, Padded):
        return counts.fill_padding(frames, 0)
    if equally_long(counts):
        return frames.unflatten(0, (len(counts), counts[0]))
    return pad_sequence(list(frames.split(list(counts))), batch_first=True)


def sequence_max(frames: torch.Tensor, counts: Counts) -> torch.Tensor:
    """Take the maximum over the frames of each sequence: packed (F, C, H, W) to (N, C, H, W); as `temporal_max`."""
    if isinstance(counts, Padded):
        return counts.fill_padding(frames, -torch.inf).amax(1)
    if equally_long(counts):
        return temporal_max(unpack(frames, counts).transpose(1, 2), None)
    return torch.cat([temporal_max(x.transpose(0, 1).unsqueeze(0), None) for x in frames.split(list(counts))])
