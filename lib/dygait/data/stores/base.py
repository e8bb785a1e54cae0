"""The interface of stores."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dygait.data.sequences import SequenceTable

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Wraps an iterable with a length, to show a progress bar."""


def no_progress(iterable: Iterable[Any], total: int) -> Iterable[Any]:
    """Show no progress bar."""
    return iterable


def frames_problem(frames: np.ndarray) -> str | None:
    """Return a description of frames that are not as `Store.read` returns them; None if they are."""
    if frames.dtype == np.uint8 and frames.ndim in (3, 4) and 0 not in frames.shape:
        return None
    return f"{frames.dtype} {frames.shape}; a uint8 array (S, H, W) or (S, C, H, W) with S >= 1 is needed"


class Store(abc.ABC):
    """A dataset on disk.

    A sequence may have several files, one for each modality, sorted by name; the first contains silhouettes.

    Attributes:
        root: the folder.
        table: the sequences.
        empty: the number of sequence folders without a file.
        fingerprint: a hash of the content.
        has_files: whether there are files, which can be damaged.
    """

    root: Path
    table: SequenceTable
    empty: int = 0
    has_files: bool = True
    fingerprint: str

    @abc.abstractmethod
    def state(self) -> str:
        """Return a hash that also changes when a file is rewritten with the same content."""

    @abc.abstractmethod
    def num_files(self, index: int) -> int:
        """Return the number of files of a sequence."""

    @abc.abstractmethod
    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return the frames of a file, uint8 (S, H, W), S at least 1, or (S, C, H, W) for several channels.

        They are read-only, possibly memory-mapped.

        Raises:
            UserError: the file is missing, damaged or invalid.
        """

    def verify(self, index: int, file: int = 0) -> int:
        """Read a file completely, verify its checksum, if it has one, and return its number of frames; as `read`."""
        return len(self.read(index, file))

    @abc.abstractmethod
    def location(self, index: int, file: int = 0) -> str:
        """Return the location of a file, for messages."""

    @abc.abstractmethod
    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64.

        A tree of pickles estimates them from file sizes, which is exact if all frames have the same size.
        """

    @abc.abstractmethod
    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return each frame size (H, W) of some sequences and an index of that size; for pickles, of the first only."""
