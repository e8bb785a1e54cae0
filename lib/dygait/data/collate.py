"""From samples to a batch: padded with zeros to the longest, with the true lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dygait.data.dataset import Sample
from dygait.errors import UserError


@dataclass
class Batch:
    """Sequences that go through the network together.

    Attributes:
        silhouettes: uint8 (N, S, H, W), zero where a sequence has ended.
        lengths: int64 (N,), or None where all have S frames.
        labels: int64 (N,).
        sequences: int64 (N,), positions in the dataset.
        others: the other modalities, each uint8 (N, S, H', W') of the same lengths.
    """

    silhouettes: torch.Tensor
    lengths: torch.Tensor | None
    labels: torch.Tensor
    sequences: torch.Tensor
    others: tuple[torch.Tensor, ...] = ()

    def pin_memory(self) -> Batch:
        """Move to page-locked memory, from where a copy to the GPU does not wait; the loader calls it."""
        self.silhouettes = self.silhouettes.pin_memory()
        self.others = tuple(other.pin_memory() for other in self.others)
        self.labels = self.labels.pin_memory()
        return self

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; `lengths` and `sequences` stay where the host can read them."""
        return Batch(
            self.silhouettes.to(device, non_blocking=True),
            self.lengths,
            self.labels.to(device, non_blocking=True),
            self.sequences,
            tuple(other.to(device, non_blocking=True) for other in self.others),
        )

    def scaled(self, divisors: Sequence[float]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return what a model takes: the silhouettes as float32 in 0..1, or a tuple of every modality.

        Args:
            divisors: one for each modality.
        """
        pairs = zip((self.silhouettes, *self.others), divisors, strict=True)
        made = tuple(levels.float() / divisor for levels, divisor in pairs)
        return made if self.others else made[0]


Room = Callable[[tuple[int, ...]], torch.Tensor]
"""Gives uint8 memory of a shape, whatever it holds."""


def fresh_room(shape: tuple[int, ...]) -> torch.Tensor:
    """Return new memory."""
    return torch.empty(shape, dtype=torch.uint8)


class SharedRing:
    """Memory that two processes share, used again and again in turn: a batch stands for `slots` - 1 further ones.

    New shared memory for every batch costs more than filling it: the system gives it out page by page.

    Args:
        slots: how many pieces of memory take turns.

    Attributes:
        slots: the pieces, uint8.
        turn: which was given last.
        is_new: whether that one was made just then, so that nobody else knows it yet.
    """

    def __init__(self, slots: int) -> None:
        self.slots: list[torch.Tensor] = [torch.empty(0, dtype=torch.uint8) for _ in range(slots)]
        self.turn = 0
        self.is_new = False

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the memory whose turn it is, uint8 of a shape."""
        needed = math.prod(shape)
        self.turn = (self.turn + 1) % len(self.slots)
        self.is_new = self.slots[self.turn].numel() < needed
        if self.is_new:
            self.slots[self.turn] = torch.empty(needed, dtype=torch.uint8).share_memory_()
        return self.slots[self.turn][:needed].view(shape)


def collate(samples: list[Sample], room: Room = fresh_room) -> Batch:
    """Pad samples to the longest.

    Args:
        samples: at least one.
        room: where the batch goes.

    Raises:
        UserError: their frames differ in size.
    """
    lengths = [len(s.silhouettes) for s in samples]
    modalities = zip(*((s.silhouettes, *s.others) for s in samples), strict=True)
    silhouettes, *others = (_padded(frames, room) for frames in modalities)
    return Batch(
        silhouettes,
        None if min(lengths) == max(lengths) else torch.tensor(lengths),
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.sequence for s in samples]),
        tuple(others),
    )


def _padded(sequences: Sequence[np.ndarray], room: Room) -> torch.Tensor:
    sizes = {frames.shape[1:] for frames in sequences}
    if len(sizes) > 1:
        raise UserError(
            f"frames of different sizes in one batch: {sorted(sizes)}; prepare the dataset at one size or cut to one"
        )
    padded = room((len(sequences), max(map(len, sequences)), *sizes.pop()))
    for row, frames in zip(padded.numpy(), sequences, strict=True):
        row[: len(frames)] = frames
        row[len(frames) :] = 0
    return padded
