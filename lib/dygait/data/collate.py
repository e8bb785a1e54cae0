"""From samples to a batch: padded with zeros to the longest, with the true lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
    """

    silhouettes: torch.Tensor
    lengths: torch.Tensor | None
    labels: torch.Tensor
    sequences: torch.Tensor

    def pin_memory(self) -> Batch:
        """Move to page-locked memory, from where a copy to the GPU does not wait; the loader calls it."""
        self.silhouettes = self.silhouettes.pin_memory()
        self.labels = self.labels.pin_memory()
        return self

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; `lengths` and `sequences` stay where the host can read them."""
        return Batch(
            self.silhouettes.to(device, non_blocking=True),
            self.lengths,
            self.labels.to(device, non_blocking=True),
            self.sequences,
        )


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
    """

    def __init__(self, slots: int) -> None:
        self.slots: list[torch.Tensor] = [torch.empty(0, dtype=torch.uint8) for _ in range(slots)]
        self.turn = 0

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the memory whose turn it is, uint8 of a shape."""
        needed = math.prod(shape)
        self.turn = (self.turn + 1) % len(self.slots)
        if self.slots[self.turn].numel() < needed:
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
    sizes = {s.silhouettes.shape[1:] for s in samples}
    if len(sizes) > 1:
        raise UserError(
            f"frames of different sizes in one batch: {sorted(sizes)}; prepare the dataset at one size or cut to one"
        )
    lengths = [len(s.silhouettes) for s in samples]
    longest = max(lengths)
    padded = room((len(samples), longest, *sizes.pop()))
    for row, sample, length in zip(padded.numpy(), samples, lengths, strict=True):
        row[:length] = sample.silhouettes
        row[length:] = 0
    return Batch(
        padded,
        None if min(lengths) == longest else torch.tensor(lengths),
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.sequence for s in samples]),
    )
