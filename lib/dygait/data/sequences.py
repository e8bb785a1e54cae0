"""The table of a dataset's sequences, up to a million: columns of id, type and view, which store each name once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dygait.errors import UserError

SequenceKey = tuple[str, str, str]
"""(id, type, view) of a sequence."""


def condition_of(type: str) -> str:
    """Return the walking condition of a type: `nm` of `nm-05`; a type without a number is a condition."""
    return type.rpartition("-")[0] or type


@dataclass(frozen=True, eq=False)
class Column:
    """A name for each of n sequences.

    Attributes:
        names: the distinct names, sorted.
        codes: integers (n,), indices into `names`.
    """

    names: Sequence[str]
    codes: np.ndarray

    @classmethod
    def from_names(cls, values: Iterable[str]) -> Column:
        """Build a column from the name of each sequence."""
        values = list(values)
        names = sorted(set(values))
        codes = {name: code for code, name in enumerate(names)}
        return cls(names, np.fromiter((codes[value] for value in values), np.uint32, len(values)))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> str:
        return self.names[self.codes[index]]

    def take(self, indices: np.ndarray) -> list[str]:
        """Return the names of the sequences at some indices."""
        return [self.names[code] for code in self.codes[indices].tolist()]

    def isin(self, names: Collection[str]) -> np.ndarray:
        """Return bool (n,), true for the sequences with one of some names."""
        names = set(names)
        return np.array([name in names for name in self.names], bool)[self.codes]


@dataclass(frozen=True, eq=False)
class SequenceTable:
    """Every sequence of a dataset, sorted by id, type and view.

    Attributes:
        ids: the ids of the subjects.
        types: as the dataset defines them: `nm-01`, `bg-02`; a session; a camera.
        views: as the dataset defines them: the angle of the camera; the name of the last folder.
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
        """Return (id, type, view) of every sequence."""
        every_index = np.arange(len(self))
        return list(zip(*(c.take(every_index) for c in (self.ids, self.types, self.views)), strict=True))

    def indices(self, ids: Collection[str]) -> np.ndarray:
        """Return the indices of the sequences of some ids, int64, sorted."""
        return np.flatnonzero(self.ids.isin(ids)) if len(self) else np.empty(0, np.int64)


def check_name(name: str, label: str) -> None:
    """Raise `UserError` unless a name is a plain file name, which cannot refer to another folder."""
    plain = isinstance(name, str) and name not in ("", ".", "..") and name.isprintable()
    if not plain or any(c in "/\\" for c in name):
        raise UserError(f"{label}: {name!r} cannot be the name of a file or folder")
