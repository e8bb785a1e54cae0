"""What every store offers, whatever it keeps its sequences in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from dygait.data.sequences import SequenceTable

Progress = Callable[[Iterable[int], int], Iterable[int]]
"""Wraps an iterable of indices, given their number, to show a progress bar."""


class Store(Protocol):
    """A dataset on disk.

    A sequence may have several files, one for each modality, sorted by name; the first is the silhouettes'.

    Attributes:
        root: where it is.
        table: its sequences.
        empty: how many sequences were found that have no file.
        fingerprint: a hash: two runs with the same one saw the same data.
        state: a hash that also changes when a file is written anew, whatever it then holds.
    """

    @property
    def root(self) -> Path: ...  # noqa: D102 - above

    @property
    def table(self) -> SequenceTable: ...  # noqa: D102

    @property
    def empty(self) -> int: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102

    def num_files(self, index: int) -> int:
        """Return how many files the sequence at an index has."""

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return one file's frames, uint8 (S, H, W), S at least 1, read-only: perhaps a view of what is on disk.

        Raises:
            UserError: it cannot be used.
        """

    def verify(self, index: int, file: int = 0) -> int:
        """Read one file whole, compare it with its checksum where it has one, and return its number of frames.

        Raises:
            UserError: it cannot be used.
        """

    def location(self, index: int, file: int = 0) -> str:
        """Return what to call a file in a message."""

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64.

        A store that does not know reads the first and takes the others' from the sizes of their files: right where the
        frames of all are of one size.
        """

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return each (H, W) of the frames of some sequences that is known, with the index of one that has it.

        A store that does not know reads the first.
        """
