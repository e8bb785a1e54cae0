"""What cannot be read is found before training begins, not at iteration 40,000."""

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
"""Reading waits for disks, and a checksum leaves the interpreter to others."""

Wrap = Callable[[Iterable[str | None], int], Iterable[str | None]]


def find_unreadable(store: Store, indices: np.ndarray, files: Sequence[int], progress: Wrap) -> dict[int, str]:
    """Read some files of some sequences, and return what is wrong with those that cannot be used: index -> why.

    Where everything was well, that is remembered until a file is written anew, and not read a second time.

    Args:
        store: where the sequences lie.
        indices: int64 (n,), which of its sequences.
        files: which files of each; they must hold equally many frames.
        progress: wraps the results, of which there are so many, to show a bar.
    """
    mark = _mark(store, indices, files)
    if mark.exists():
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
        found = list(progress(pool.map(problem, indices.tolist(), chunksize=16), len(indices)))
    problems = {int(index): said for index, said in zip(indices, found, strict=True) if said is not None}
    if not problems:
        with contextlib.suppress(OSError):  # no room for the mark: read again next time
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    return problems


def _mark(store: Store, indices: np.ndarray, files: Sequence[int]) -> Path:
    """Return the empty file that stands for "these were all well"."""
    digest = hashlib.sha256(repr((str(store.root), store.state, tuple(files))).encode())
    digest.update(np.ascontiguousarray(indices, np.int64).tobytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dygait" / "verified" / digest.hexdigest()[:32]
