"""The interface of stores."""

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
        root: its folder.
        table: its sequences.
        empty: the number of sequence folders without a file.
        fingerprint: a hash of the content.
        state: a hash that also changes when a file is rewritten with the same content.
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
        """Return the number of files of a sequence."""

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return one file's frames, uint8 (S, H, W), S at least 1, read-only, possibly memory-mapped.

        Raises:
            UserError: it cannot be used.
        """

    def verify(self, index: int, file: int = 0) -> int:
        """Read one file completely, verify its checksum if it has one, and return its number of frames.

        Raises:
            UserError: it cannot be used.
        """

    def location(self, index: int, file: int = 0) -> str:
        """Return the name of a file for messages."""

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64.

        A tree of pickles reads the first and estimates the others from the sizes of their files, which is exact if all
        frames are of one size.
        """

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return each known frame size (H, W) of some sequences, with the index of one that has it.

        A tree of pickles reads the first.
        """
