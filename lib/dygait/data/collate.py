"""From samples to a batch: padded with zeros to the longest, with the true lengths."""

from __future__ import annotations

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


def collate(samples: list[Sample]) -> Batch:
    """Pad samples to the longest.

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
    padded = np.zeros((len(samples), longest, *sizes.pop()), np.uint8)
    for row, sample in zip(padded, samples, strict=True):
        row[: len(sample.silhouettes)] = sample.silhouettes
    return Batch(
        torch.from_numpy(padded),
        None if min(lengths) == longest else torch.tensor(lengths),
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.sequence for s in samples]),
    )
