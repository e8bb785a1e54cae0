"""Writers of sequences: a tree of pickles, or a packed store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from dygait.data.stores import PackedWriter
from dygait.data.stores.packed_format import check_name
from dygait.data.stores.pickles import write_pickle


class SequenceWriter(Protocol):
    """The interface of writers; each sequence is written atomically."""

    def contains(self, id: str, type: str, view: str) -> bool:
        """Return whether a sequence has been written."""

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, replacing one of the same name.

        Args:
            id: of the subject.
            type: of the sequence.
            view: of the camera.
            frames: uint8 (S, H, W), S at least 1.

        Raises:
            UserError: an unsafe name.
            OSError: it could not be written; no partial file is left.
        """

    def close(self) -> None:
        """Finish; nothing can be written afterwards."""


class PickleTreeWriter:
    """The layout `<root>/<id>/<type>/<view>/<view>.pkl`, as OpenGait reads it.

    Files are complete once visible. The folder is not synced: a power failure may remove the newest files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def contains(self, id: str, type: str, view: str) -> bool:
        """Return whether a sequence has been written."""
        return self._path(id, type, view).is_file()

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, uint8 (S, H, W), replacing one of the same name.

        Raises:
            UserError: an unsafe name.
            OSError: it could not be written; no partial file is left.
        """
        assert frames.dtype == np.uint8
        assert frames.ndim == 3
        path = self._path(id, type, view)
        for name in (id, type, view):
            check_name(name, str(path))
        write_pickle(path, frames)

    def close(self) -> None:
        """Do nothing: every file is complete."""

    def _path(self, id: str, type: str, view: str) -> Path:
        return self._root / id / type / view / f"{view}.pkl"


class PackedStoreWriter:
    """The packed store, other files beside it or not; an interruption costs the last seconds at most."""

    def __init__(self, root: Path) -> None:
        self._writer = PackedWriter(root, "raw pictures", others=True)

    def contains(self, id: str, type: str, view: str) -> bool:
        """Return whether a sequence has been written."""
        return self._writer.contains(id, type, view)

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, uint8 (S, H, W), replacing one of the same name.

        Raises:
            UserError: an unsafe name.
            OSError: it could not be written; no partial file is left.
        """
        self._writer.write(id, type, view, frames, replace=True)

    def close(self) -> None:
        """Commit, and let others write."""
        self._writer.close()
