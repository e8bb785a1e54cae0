"""Find unreadable sequences before training begins."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dygait.data.dataset import check_files, check_lengths
from dygait.data.stores.base import Store
from dygait.errors import UserError

_THREADS = 8
"""Reading and checksums release the interpreter lock."""

Wrap = Callable[[Iterable[str | None], int], Iterable[str | None]]


def find_unreadable(store: Store, indices: np.ndarray, files: Sequence[int], progress: Wrap) -> dict[int, str]:
    """Read files of sequences, and return the index and error message of each unusable sequence.

    A result without errors is cached until a file changes.

    Args:
        store: of the sequences.
        indices: int64 (n,), of its sequences.
        files: indices of the files of each; they must be of equal length.
        progress: wraps the iterable of results, given their number, to show a progress bar.
    """
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
    digest = hashlib.sha256(repr((str(store.root), store.state, tuple(files))).encode())
    digest.update(np.ascontiguousarray(indices, np.int64).tobytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dygait" / "verified" / digest.hexdigest()[:32]
