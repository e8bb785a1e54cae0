"""The table of a dataset's sequences, a million at most: in columns of id, type and view, each name stored once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dygait.errors import UserError

SequenceKey = tuple[str, str, str]
"""(id, type, view) of a sequence."""


@dataclass(frozen=True, eq=False)
class Column:
    """One name for each of n sequences.

    Attributes:
        names: the different names, sorted.
        codes: integers (n,), indices into `names`.
    """

    names: Sequence[str]
    codes: np.ndarray

    @classmethod
    def from_names(cls, values: Iterable[str]) -> Column:
        """Build a column from the name of each sequence."""
        listed = list(values)
        names = sorted(set(listed))
        code_of = {name: code for code, name in enumerate(names)}
        return cls(names, np.fromiter((code_of[v] for v in listed), np.uint32, len(listed)))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> str:
        return self.names[self.codes[index]]

    def take(self, indices: np.ndarray) -> list[str]:
        """Return the names of some sequences."""
        return [self.names[code] for code in self.codes[indices].tolist()]

    def isin(self, names: Collection[str]) -> np.ndarray:
        """Return bool (n,), true for the sequences with one of some names."""
        chosen = set(names)
        return np.array([name in chosen for name in self.names], bool)[self.codes]


@dataclass(frozen=True, eq=False)
class SequenceTable:
    """Every sequence of a dataset, sorted by id, type and view.

    Attributes:
        ids: of the subjects.
        types: `nm-01`, `bg-02`; a session; a camera.
        views: of the camera, or the last folder's name, as the dataset defines it.
    """

    ids: Column
    types: Column
    views: Column

    @classmethod
    def from_keys(cls, keys: Sequence[SequenceKey]) -> SequenceTable:
        """Build a table from the keys of the sequences, in their order."""
        columns = zip(*keys, strict=True) if keys else ((), (), ())
        return cls(*(Column.from_names(values) for values in columns))

    def __len__(self) -> int:
        return len(self.ids)

    def key(self, index: int) -> SequenceKey:
        """Return (id, type, view) of the sequence at an index."""
        return self.ids[index], self.types[index], self.views[index]

    def all_keys(self) -> list[SequenceKey]:
        """Return every sequence's (id, type, view)."""
        every_index = np.arange(len(self))
        return list(zip(*(c.take(every_index) for c in (self.ids, self.types, self.views)), strict=True))

    def indices(self, ids: Collection[str]) -> np.ndarray:
        """Return the indices of the sequences of some ids, int64, sorted."""
        return np.flatnonzero(self.ids.isin(ids)) if len(self) else np.empty(0, np.int64)


def check_name(name: str, label: str) -> None:
    """Raise `UserError` unless a name is a plain name of a file or folder, which cannot lead out of a folder."""
    plain = isinstance(name, str) and name not in ("", ".", "..") and name.isprintable()
    if not plain or any(c in "/\\" for c in name):
        raise UserError(f"{label}: {name!r} cannot be the name of a file or folder")
