"""From a request for one sequence to its silhouettes: read, choose frames, transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dygait.data.frames import FrameSampler
from dygait.data.sequences import Sequence
from dygait.data.stores import read_pickle
from dygait.data.transforms import Transform
from dygait.errors import UserError


class Request(NamedTuple):
    """One sequence of the dataset, and the key (seed, iteration, position) of all randomness about it."""

    sequence: int
    key: tuple[int, int, int]


class Sample(NamedTuple):
    """One sequence, ready for a batch.

    Attributes:
        silhouettes: uint8 (S, H, W).
        label: the person's number among the training ids; -1 at test time.
        sequence: the sequence's position in the dataset.
    """

    silhouettes: np.ndarray
    label: int
    sequence: int


class SequenceDataset:
    """Some sequences of an index, with labels, frame choice and transform.

    What `dataset[request]` returns is a pure function of the request and the files, whichever worker answers it.

    Args:
        sequences: the sequences.
        ids: the ids that have labels, in label order; others get -1.
        frames: which frames of a sequence are used.
        transform: uint8 (S, H, W) to uint8 (S, H', W').
        cache: read every sequence now and keep it; loader workers share the copy.
        data_in_use: a mask over the sorted files of a sequence with one true entry; None: the first file.
        progress: wraps the list of sequences while the cache is filled, to show a bar.
    """

    def __init__(
        self,
        sequences: list[Sequence],
        ids: list[str],
        frames: FrameSampler,
        transform: Transform,
        cache: bool = False,
        data_in_use: list[bool] | None = None,
        progress: Callable[[list[Sequence]], list[Sequence]] = lambda sequences: sequences,
    ) -> None:
        self.sequences = sequences
        label_of = {person: label for label, person in enumerate(ids)}
        self.labels = [label_of.get(s.id, -1) for s in sequences]
        self.frames = frames
        self.transform = transform
        self.modality = data_in_use.index(True) if data_in_use else 0
        self._cached = [self._read(s) for s in progress(sequences)] if cache else None

    def __len__(self) -> int:
        return len(self.sequences)

    def _read(self, sequence: Sequence) -> np.ndarray:
        if self.modality >= len(sequence.files):
            raise UserError(
                f"data_cfg.data_in_use asks for file {self.modality + 1} of "
                f"{sequence.id}/{sequence.type}/{sequence.view}, which has {len(sequence.files)}"
            )
        return read_pickle(sequence.files[self.modality])

    def silhouettes(self, position: int) -> np.ndarray:
        """Return every frame of a sequence as it is stored, uint8 (S, H, W)."""
        return self._read(self.sequences[position]) if self._cached is None else self._cached[position]

    def __getitem__(self, request: Request) -> Sample:
        stored = self.silhouettes(request.sequence)
        rng = np.random.default_rng(np.random.SeedSequence(request.key))
        chosen = stored[self.frames(len(stored), rng)]
        try:
            silhouettes = self.transform(chosen, rng)
        except UserError as error:
            sequence = self.sequences[request.sequence]
            raise UserError(f"{sequence.files[self.modality]}: {error}") from None
        return Sample(silhouettes, self.labels[request.sequence], request.sequence)
