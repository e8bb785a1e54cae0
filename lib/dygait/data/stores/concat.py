"""Several datasets as one, for training on them together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores.base import Store


def prefixed_id(number: int, person: str) -> str:
    """Return what an id of the dataset with a number, from 1, is called beside those of others: `2:001`."""
    return f"{number}:{person}"


class ConcatStore:
    """A `Store` of the sequences of several; the id 001 of the second is `2:001`, another person than `1:001`.

    Args:
        stores: at least one.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = list(stores)
        self.root: Path = self.stores[0].root
        self.empty = sum(store.empty for store in self.stores)
        self.fingerprint = hashlib.sha256(" ".join(s.fingerprint for s in self.stores).encode()).hexdigest()[:16]
        self._first = np.cumsum([0, *(len(store.table) for store in self.stores)])
        ids = [
            Column([prefixed_id(number, name) for name in store.table.ids.names], store.table.ids.codes)
            for number, store in enumerate(self.stores, 1)
        ]
        self.table = SequenceTable(
            _joined(ids), _joined([s.table.types for s in self.stores]), _joined([s.table.views for s in self.stores])
        )

    @property
    def state(self) -> str:
        """A hash of the stores' states."""
        return hashlib.sha256(" ".join(s.state for s in self.stores).encode()).hexdigest()[:16]

    def num_files(self, index: int) -> int:
        """Return how many files the sequence at an index has."""
        store, inside = self._of(index)
        return store.num_files(inside)

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return one file's frames, as its own store does."""
        store, inside = self._of(index)
        return store.read(inside, file)

    def verify(self, index: int, file: int = 0) -> int:
        """Read one file whole, as its own store does."""
        store, inside = self._of(index)
        return store.verify(inside, file)

    def location(self, index: int, file: int = 0) -> str:
        """Return what to call a file in a message."""
        store, inside = self._of(index)
        return store.location(inside, file)

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, as their own stores do."""
        lengths = np.empty(len(indices), np.int64)
        for store, first, mine in self._divided(indices):
            lengths[mine] = store.lengths(indices[mine] - first, file)
        return lengths

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return each (H, W) that the stores know of, with the index of one that has it."""
        found: dict[tuple[int, int], int] = {}
        for store, first, mine in self._divided(indices):
            if mine.any():
                for size, index in store.geometries(indices[mine] - first, file).items():
                    found.setdefault(size, first + index)
        return found

    def _divided(self, indices: np.ndarray) -> Iterator[tuple[Store, int, np.ndarray]]:
        """Yield each store, where its indices begin, and which of some indices are its own, bool."""
        which = np.searchsorted(self._first, indices, side="right") - 1
        for number, store in enumerate(self.stores):
            yield store, int(self._first[number]), which == number

    def _of(self, index: int) -> tuple[Store, int]:
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return self.stores[number], index - int(self._first[number])


def _joined(columns: list[Column]) -> Column:
    """Put columns one after the other, with one list of names."""
    names = sorted({name for column in columns for name in column.names})
    code_of = {name: code for code, name in enumerate(names)}
    renumbered = [np.array([code_of[n] for n in c.names], np.uint32)[c.codes] for c in columns]
    return Column(names, np.concatenate(renumbered))
