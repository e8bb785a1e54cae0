"""From a request for one sequence to its silhouettes: read, choose frames, transform."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dygait.data.frames import FrameSampler
from dygait.data.stores import Store
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
    """Some sequences of a store, with labels, frame choice and transform.

    What `dataset[request]` returns is a pure function of the request and the files, whichever worker answers it.

    Args:
        store: where the sequences lie.
        places: int64 (n,), which of its sequences.
        ids: the ids that have labels, in label order; others get -1.
        frames: which frames of a sequence are used.
        transform: uint8 (S, H, W) to uint8 (S, H', W').
        data_in_use: a mask over the sorted files of a sequence with one true entry; None: the first file.
    """

    def __init__(
        self,
        store: Store,
        places: np.ndarray,
        ids: list[str],
        frames: FrameSampler,
        transform: Transform,
        data_in_use: list[bool] | None = None,
    ) -> None:
        self.store = store
        self.places = places
        label_of = {person: label for label, person in enumerate(ids)}
        by_code = np.array([label_of.get(name, -1) for name in store.table.ids.names], np.int64)
        self.labels: list[int] = by_code[store.table.ids.codes[places]].tolist()
        self.frames = frames
        self.transform = transform
        self.file = data_in_use.index(True) if data_in_use else 0

    def __len__(self) -> int:
        return len(self.places)

    def keys(self) -> tuple[list[str], list[str], list[str]]:
        """Return ids, types and views of all sequences."""
        table = self.store.table
        return table.ids.take(self.places), table.types.take(self.places), table.views.take(self.places)

    def sizes(self) -> list[int]:
        """Return a measure of the sequences' lengths that costs no reading."""
        return self.store.sizes(self.places, self.file).tolist()

    def silhouettes(self, position: int) -> np.ndarray:
        """Return every frame of a sequence as it is stored, uint8 (S, H, W), perhaps not yet read from the disk."""
        return self.stored(int(self.places[position]))

    def stored(self, place: int) -> np.ndarray:
        """Return every frame of the sequence at a place of the store; as `silhouettes`."""
        self.require(place)
        return self.store.read(place, self.file)

    def require(self, place: int) -> None:
        """Make sure that the sequence at a place of the store has the file in use.

        Raises:
            UserError: it has not.
        """
        if self.file >= (there := self.store.files(place)):
            raise UserError(
                f"data_cfg.data_in_use asks for file {self.file + 1} of {'/'.join(self.store.table.key(place))}, "
                f"which has {there}"
            )

    def __getitem__(self, request: Request) -> Sample:
        stored = self.silhouettes(request.sequence)
        rng = np.random.default_rng(np.random.SeedSequence(request.key))
        chosen = _take(stored, self.frames(len(stored), rng), self.frames.ordered)
        try:
            silhouettes = self.transform(chosen, rng)
        except UserError as error:
            raise UserError(f"{self.store.where(int(self.places[request.sequence]), self.file)}: {error}") from None
        return Sample(silhouettes, self.labels[request.sequence], request.sequence)


def _take(frames: np.ndarray, chosen: np.ndarray, ordered: bool) -> np.ndarray:
    """Return the chosen frames; those of an unbroken window without a copy."""
    first, last = int(chosen[0]), int(chosen[-1])
    if ordered and last - first == len(chosen) - 1:
        return frames[first : last + 1]
    return frames[chosen]
