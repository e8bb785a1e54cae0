"""Writing sequences to disk: what a store for them has to offer, the field's tree of pickles, and the packed store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from dygait.data.stores import PackedWriter
from dygait.data.stores.packed_format import check_name
from dygait.data.stores.pickles import write_pickle


class SequenceWriter(Protocol):
    """Takes sequences, each whole or not at all."""

    def contains(self, id: str, type: str, view: str) -> bool:
        """Tell whether a sequence is there, complete."""

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, in place of a former one of that name.

        Args:
            id: who walks.
            type: how.
            view: from where.
            frames: uint8 (S, H, W), S at least 1.

        Raises:
            UserError: a name that could lead out of its folder.
            OSError: it could not be written; nothing of it is to be seen.
        """

    def close(self) -> None:
        """Finish; nothing can be written afterwards."""


class PickleTreeWriter:
    """The layout `<root>/<id>/<type>/<view>/<view>.pkl`, as every tool of the field reads it.

    Whoever finds a file finds all of it. The folder is not synced: a power cut can take the newest files away again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def contains(self, id: str, type: str, view: str) -> bool:
        """Tell whether a sequence is there, complete."""
        return self._path(id, type, view).is_file()

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, uint8 (S, H, W), in place of a former one of that name.

        Raises:
            UserError: a name that could lead out of its folder.
            OSError: it could not be written; nothing of it is to be seen.
        """
        assert frames.dtype == np.uint8
        assert frames.ndim == 3
        path = self._path(id, type, view)
        for name in (id, type, view):
            check_name(name, str(path))
        write_pickle(path, frames)

    def close(self) -> None:
        """Nothing is left to be finished."""

    def _path(self, id: str, type: str, view: str) -> Path:
        return self._root / id / type / view / f"{view}.pkl"


class PackedStoreWriter:
    """The packed store, other files beside it or not; an interruption costs the last seconds at most."""

    def __init__(self, root: Path) -> None:
        self._writer = PackedWriter(root, "raw pictures", others=True)

    def contains(self, id: str, type: str, view: str) -> bool:
        """Tell whether a sequence is there, complete."""
        return self._writer.contains(id, type, view)

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        """Write one sequence, uint8 (S, H, W), in place of a former one of that name.

        Raises:
            UserError: a name that could lead out of its folder.
            OSError: it could not be written; nothing of it is to be seen.
        """
        self._writer.write(id, type, view, frames, replace=True)

    def close(self) -> None:
        """Commit, and let others write."""
        self._writer.close()
