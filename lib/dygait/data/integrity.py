"""Finding unreadable files of a dataset."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dygait.data.dataset import check_files, check_lengths
from dygait.data.stores import Store, open_store
from dygait.data.stores.base import Progress, no_progress
from dygait.errors import UserError

_THREADS = 8
"""Reading and checksums release the interpreter lock."""


def verify(root: str | Path, progress: Progress = no_progress) -> Iterator[str]:
    """Read every file of a packed store or a tree of pickles, and yield an error message for each unusable one.

    Raises:
        UserError: the dataset cannot be opened.
    """
    store = open_store(root)
    for index in progress(range(len(store.table)), len(store.table)):
        for file in range(store.num_files(index)):
            try:
                store.verify(index, file)
            except UserError as error:
                yield str(error)


def find_unreadable(store: Store, indices: np.ndarray, files: Sequence[int], progress: Progress) -> dict[int, str]:
    """Read the files of sequences before training, and return the error message of each unusable sequence by index.

    The files of a sequence must have equal lengths. `indices` is int64 (n,). A result without errors is cached until a
    file changes.
    """
    if not store.has_files:
        return {}
    marker = _marker_path(store, indices, files)
    if marker.exists():
        return {}

    def error_of(index: int) -> str | None:
        try:
            check_files(store, index, files)
            first, *others = ((file, store.verify(index, file)) for file in files)
            for other in others:
                check_lengths(store, index, first, other)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        messages = list(progress(pool.map(error_of, indices.tolist(), chunksize=16), len(indices)))
    errors = {int(index): message for index, message in zip(indices, messages, strict=True) if message is not None}
    if not errors:
        with contextlib.suppress(OSError):  # not cached: read again next time
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    return errors


def _marker_path(store: Store, indices: np.ndarray, files: Sequence[int]) -> Path:
    """Return the path of the empty file that marks these files as readable."""
    digest = hashlib.sha256(repr((str(store.root), store.state(), tuple(files))).encode())
    digest.update(np.ascontiguousarray(indices, np.int64).tobytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dygait" / "verified" / digest.hexdigest()[:32]
