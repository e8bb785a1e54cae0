"""A copy of the sequences in use in memory, once per machine, mapped by all processes and workers."""

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
_alive: list[BinaryIO] = []  # locks, held until this process ends


def memory_folder(token: str) -> Path:
    """Return a folder of this name in /dev/shm if it is available, else in the temporary folder."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    return Path(base, f"{_PREFIX}{token}")


def fill_cache(store: Store, indices: np.ndarray, files: Sequence[int], folder: Path, progress: Progress) -> None:
    """Copy files of sequences, in order, to a packed store, which is removed when this process ends.

    Raises:
        UserError: a file cannot be read, or there is not enough space.
    """
    _remove_abandoned(folder.parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        alive = folder.with_name(f"{folder.name}.alive").open("wb")
        atexit.register(Path(alive.name).unlink, missing_ok=True)
        _alive.append(alive)
        try_lock(alive)
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
    """Delete the caches of processes that were killed: their lock is free."""
    for old in base.glob(f"{_PREFIX}*.alive"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _GRACE_SECONDS:
                with old.open("rb") as file:
                    if try_lock(file):
                        shutil.rmtree(old.with_suffix(""), ignore_errors=True)
                        old.unlink()
