"""A copy in memory of the sequences in use, one per machine, mapped by all processes and workers."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dygait.data.stores.base import Progress, Store
from dygait.data.stores.locks import try_lock
from dygait.data.stores.packed_writer import PackedWriter
from dygait.errors import UserError

_PREFIX = "dygait-cache-"
_GRACE_SECONDS = 60.0
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
            for index in progress(indices.tolist(), len(indices)):
                for number, file in enumerate(files):
                    writer.write(*store.table.key(index), store.read(index, file), f"{number:03d}.pkl")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"data_cfg.cache: {len(indices)} sequences do not fit into {folder.parent}: {error}; set cache to false, "
            f"or pack the dataset with `dygait pack`, which needs no cache"
        ) from None


def _remove_abandoned(base: Path) -> None:
    """Delete the caches of killed processes, whose locks are free."""
    for path in base.glob(f"{_PREFIX}*.alive"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _GRACE_SECONDS:
                with path.open("rb") as file:
                    if try_lock(file):
                        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                        path.unlink()
