"""Several stores as one, for training on several datasets together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores.base import Store


def prefixed_id(number: int, subject: str) -> str:
    """Return an id with the number of its dataset, from 1: `2:001`."""
    return f"{number}:{subject}"


class ConcatStore(Store):
    """A `Store` of the sequences of several stores; the id 001 of the second is `2:001`, another subject than `1:001`.

    Args:
        stores: at least one.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = list(stores)
        self.root = self.stores[0].root
        self.empty = sum(store.empty for store in self.stores)
        self.fingerprint = _hash([store.fingerprint for store in self.stores])
        self._offsets = np.cumsum([0, *(len(store.table) for store in self.stores)])
        tables = [store.table for store in self.stores]
        ids = [
            Column([prefixed_id(number, name) for name in table.ids.names], table.ids.codes)
            for number, table in enumerate(tables, 1)
        ]
        columns = (ids, [table.types for table in tables], [table.views for table in tables])
        self.table = SequenceTable(*map(_concatenate, columns))

    def state(self) -> str:
        """Return a hash of the stores' states."""
        return _hash([store.state() for store in self.stores])

    def num_files(self, index: int) -> int:
        """Return the number of files of a sequence."""
        store, inner = self._store_of(index)
        return store.num_files(inner)

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return the frames of a file."""
        store, inner = self._store_of(index)
        return store.read(inner, file)

    def verify(self, index: int, file: int = 0) -> int:
        """Read one file completely, verify it, and return its number of frames."""
        store, inner = self._store_of(index)
        return store.verify(inner, file)

    def location(self, index: int, file: int = 0) -> str:
        """Return the name of a file for messages."""
        store, inner = self._store_of(index)
        return store.location(inner, file)

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64."""
        lengths = np.empty(len(indices), np.int64)
        for store, offset, own in self._split(indices):
            lengths[own] = store.lengths(indices[own] - offset, file)
        return lengths

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return each known frame size (H, W), with the index of a sequence that has it."""
        found: dict[tuple[int, int], int] = {}
        for store, offset, own in self._split(indices):
            if own.any():
                for size, index in store.geometries(indices[own] - offset, file).items():
                    found.setdefault(size, offset + index)
        return found

    def _split(self, indices: np.ndarray) -> Iterator[tuple[Store, int, np.ndarray]]:
        """Yield each store, the offset of its indices, and the mask of the indices that are its own."""
        owner = np.searchsorted(self._offsets, indices, side="right") - 1
        for number, store in enumerate(self.stores):
            yield store, int(self._offsets[number]), owner == number

    def _store_of(self, index: int) -> tuple[Store, int]:
        number = int(np.searchsorted(self._offsets, index, side="right")) - 1
        return self.stores[number], index - int(self._offsets[number])


def _hash(hashes: list[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]


def _concatenate(columns: list[Column]) -> Column:
    """Concatenate columns, merging their names."""
    names = sorted({name for column in columns for name in column.names})
    code_of = {name: code for code, name in enumerate(names)}
    renumbered = [np.array([code_of[n] for n in c.names], np.uint32)[c.codes] for c in columns]
    return Column(names, np.concatenate(renumbered))
