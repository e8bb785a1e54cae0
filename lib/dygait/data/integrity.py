"""Find unreadable files of a dataset."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dygait.data.dataset import check_files, check_lengths
from dygait.data.stores import RenderedStore, Store, open_store
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
    """Read files of sequences before training, and return the index and error message of each unusable sequence.

    The files of each sequence, indices int64 (n,), must be of equal length. A result without errors is cached until a
    file changes.
    """
    if isinstance(store, RenderedStore):  # has no file
        return {}
    marker = _marker_path(store, indices, files)
    if marker.exists():
        return {}

    def problem(index: int) -> str | None:
        try:
            check_files(store, index, files)
            first, *others = ((file, store.verify(index, file)) for file in files)
            for other in others:
                check_lengths(store, index, first, other)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        messages = list(progress(pool.map(problem, indices.tolist(), chunksize=16), len(indices)))
    problems = {int(index): message for index, message in zip(indices, messages, strict=True) if message is not None}
    if not problems:
        with contextlib.suppress(OSError):  # not cached: read again next time
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    return problems


def _marker_path(store: Store, indices: np.ndarray, files: Sequence[int]) -> Path:
    """Return the path of the empty file that marks these files as readable."""
    digest = hashlib.sha256(repr((str(store.root), store.state(), tuple(files))).encode())
    digest.update(np.ascontiguousarray(indices, np.int64).tobytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dygait" / "verified" / digest.hexdigest()[:32]
