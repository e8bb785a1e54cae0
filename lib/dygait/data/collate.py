"""Collating samples to a batch, zero-padded to the longest, with lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import default_collate

from dygait.data.dataset import Sample
from dygait.errors import UserError


@dataclass
class Batch:
    """A batch of sequences.

    Attributes:
        silhouettes: uint8 (N, S, H, W), or (N, S, C, H, W) of several channels, zero-padded.
        lengths: int64 (N,), or None if all have S frames.
        labels: int64 (N,).
        sequences: int64 (N,), indices in the dataset.
        others: the other modalities, of the same type and lengths.
        divisors: by which the grey levels of each modality are divided, to scale them to 0..1.
        class_labels: int64 (N,), the classes of the logits; None: the labels.
    """

    silhouettes: torch.Tensor
    lengths: torch.Tensor | None
    labels: torch.Tensor
    sequences: torch.Tensor
    others: tuple[torch.Tensor, ...] = ()
    divisors: tuple[float, ...] = (255.0,)
    class_labels: torch.Tensor | None = None

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, for asynchronous copies; called by the loader."""
        return self.map(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; `lengths` and `sequences` stay on the host."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with a function applied to every tensor but `lengths` and `sequences`."""
        others = tuple(map(function, self.others))
        class_labels = None if self.class_labels is None else function(self.class_labels)
        silhouettes, labels = function(self.silhouettes), function(self.labels)
        return replace(self, silhouettes=silhouettes, labels=labels, others=others, class_labels=class_labels)

    def scaled(self) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the input of a model: the silhouettes as float32 in 0..1, or a tuple of all modalities."""
        pairs = zip((self.silhouettes, *self.others), self.divisors, strict=True)
        inputs = tuple(frames.float() / divisor for frames, divisor in pairs)
        return inputs if self.others else inputs[0]


def collate(samples: list[Sample]) -> Batch:
    """Collate at least one sample to a batch; frames of different sizes raise `UserError`."""
    lengths = [len(s.silhouettes) for s in samples]
    modalities = zip(*((s.silhouettes, *s.others) for s in samples), strict=True)
    silhouettes, *others = (_pad(frames) for frames in modalities)
    return Batch(
        silhouettes,
        None if min(lengths) == max(lengths) else torch.tensor(lengths),
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.sequence for s in samples]),
        tuple(others),
        samples[0].divisors,
        None if samples[0].class_label is None else torch.tensor([s.class_label for s in samples]),
    )


def _pad(sequences: Sequence[np.ndarray]) -> torch.Tensor:
    sizes = {frames.shape[1:] for frames in sequences}
    if len(sizes) > 1:
        raise UserError(
            f"frames of different sizes in one batch: {sorted(sizes)}; prepare the dataset at one size or cut to one"
        )
    zeros = torch.zeros((), dtype=torch.uint8).expand(max(map(len, sequences)), *sizes.pop())
    # default_collate allocates the batch: in a worker, directly in shared memory.
    padded: torch.Tensor = default_collate([zeros] * len(sequences))
    for row, frames in zip(padded.numpy(), sequences, strict=True):
        row[: len(frames)] = frames
    return padded
