"""A copy in memory of the sequences in use, one per machine, mapped by all processes and workers."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dygait.data.stores.base import Progress, Store
from dygait.data.stores.locks import try_lock
from dygait.data.stores.packed_writer import PackedWriter
from dygait.errors import UserError
from dygait.machine import available_cores
from dygait.processes import run_in_order

_PREFIX = "dygait-cache-"
_GRACE_SECONDS = 60.0
_JOB = 66
"""Sequences that a process reads at a time: of SynGait, six walks in eleven views."""
_locks: list[BinaryIO] = []  # held until this process ends


def memory_folder(token: str) -> Path:
    """Return a folder of this name in /dev/shm if it is available, else in the temporary folder."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    return Path(base, f"{_PREFIX}{token}")


def fill_cache(store: Store, indices: np.ndarray, files: Sequence[int], folder: Path, progress: Progress) -> None:
    """Copy files of sequences, in order, to a packed store that is removed when this process ends.

    Raises:
        UserError: a file cannot be read, or there is not enough space.
    """
    _remove_abandoned(folder.parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        lock_file = folder.with_name(f"{folder.name}.alive").open("wb")
        atexit.register(Path(lock_file.name).unlink, missing_ok=True)
        _locks.append(lock_file)
        try_lock(lock_file)
        with PackedWriter(folder, f"cache of {store.root}") as writer:
            for index, read in progress(_read_all(store, indices, files), len(indices)):
                for number, frames in enumerate(read):
                    writer.write(*store.table.key(index), frames, f"{number:03d}.pkl")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"data_cfg.cache: {len(indices)} sequences do not fit into {folder.parent}: {error}; set cache to false, "
            f"or pack the dataset with `dygait pack`, which needs no cache"
        ) from None


def _read_all(store: Store, indices: np.ndarray, files: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield each index and the frames of its files; what is rendered, on all cores."""
    jobs = [indices[first : first + _JOB].tolist() for first in range(0, len(indices), _JOB)]
    workers = 1 if store.has_files else min(available_cores(), len(jobs))
    for job, results in run_in_order(partial(_read, store, files), jobs, workers, "set data_cfg.cache to false"):
        yield from zip(job, results, strict=True)


def _read(store: Store, files: Sequence[int], indices: list[int]) -> list[list[np.ndarray]]:
    return [[np.asarray(store.read(index, file)) for file in files] for index in indices]


def _remove_abandoned(base: Path) -> None:
    """Delete the caches of killed processes, whose locks are free."""
    for path in base.glob(f"{_PREFIX}*.alive"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _GRACE_SECONDS:
                with path.open("rb") as file:
                    if try_lock(file):
                        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                        path.unlink()
