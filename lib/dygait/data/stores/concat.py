"""Several stores as one, for training on several datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from dygait.data.sequences import SequenceTable
from dygait.data.stores.base import Store


def prefixed_id(number: int, subject: str) -> str:
    """Return an id prefixed with the number of its dataset, counted from 1: `2:001`."""
    return f"{number}:{subject}"


class ConcatStore(Store):
    """A `Store` of the sequences of one or more stores.

    The id 001 of the second is `2:001`, which is another subject than `1:001`.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = list(stores)
        self.root = self.stores[0].root
        self.empty = sum(store.empty for store in self.stores)
        self.has_files = any(store.has_files for store in self.stores)
        self.fingerprint = _hash([store.fingerprint for store in self.stores])
        self._offsets = np.cumsum([0, *(len(store.table) for store in self.stores)])
        self.table = SequenceTable.from_keys(
            [
                (prefixed_id(number, id), type, view)
                for number, store in enumerate(self.stores, 1)
                for id, type, view in store.table.all_keys()
            ]
        )

    def state(self) -> str:
        return _hash([store.state() for store in self.stores])

    def num_files(self, index: int) -> int:
        store, local_index = self._store_of(index)
        return store.num_files(local_index)

    def read(self, index: int, file: int = 0) -> np.ndarray:
        store, local_index = self._store_of(index)
        return store.read(local_index, file)

    def verify(self, index: int, file: int = 0) -> int:
        store, local_index = self._store_of(index)
        return store.verify(local_index, file)

    def location(self, index: int, file: int = 0) -> str:
        store, local_index = self._store_of(index)
        return store.location(local_index, file)

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        lengths = np.empty(len(indices), np.int64)
        for store, offset, mask in self._split(indices):
            lengths[mask] = store.lengths(indices[mask] - offset, file)
        return lengths

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        sizes: dict[tuple[int, int], int] = {}
        for store, offset, mask in self._split(indices):
            if mask.any():
                for size, index in store.geometries(indices[mask] - offset, file).items():
                    sizes.setdefault(size, offset + index)
        return sizes

    def _split(self, indices: np.ndarray) -> Iterator[tuple[Store, int, np.ndarray]]:
        """Yield each store, the offset of its indices, and the mask of the indices in this store."""
        store_numbers = np.searchsorted(self._offsets, indices, side="right") - 1
        for number, store in enumerate(self.stores):
            yield store, int(self._offsets[number]), store_numbers == number

    def _store_of(self, index: int) -> tuple[Store, int]:
        number = int(np.searchsorted(self._offsets, index, side="right")) - 1
        return self.stores[number], index - int(self._offsets[number])


def _hash(hashes: list[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]
