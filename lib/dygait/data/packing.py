"""Conversion between trees of pickles and packed stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from dygait.data.stores import PackedStore, PackedWriter, PickleTree
from dygait.data.stores.base import Progress, no_progress
from dygait.data.stores.pickles import write_pickle
from dygait.errors import UserError
from dygait.files import write_errors

_REMEDY = (
    "free disk space, or choose another folder, and run the same command: what was packed up to the last commit is kept"
)


class PackResult(NamedTuple):
    """The numbers of files that were written and that the store already had, and messages about unreadable ones."""

    written: int
    kept: int
    skipped: list[str]


def pack(
    source: str | Path, target: str | Path, skip_bad: bool = False, progress: Progress = no_progress
) -> PackResult:
    """Convert a tree of pickles to a packed store, or resume the conversion.

    Raises:
        UserError: source or target cannot be used, or a pickle cannot be read, unless `skip_bad`. Packed files are
            kept.
    """
    tree = PickleTree(source)
    written, kept, skipped = 0, 0, []
    with write_errors(target, _REMEDY), PackedWriter(target, f"pickle tree {tree.fingerprint}") as writer:
        for index in progress(range(len(tree.table)), len(tree.table)):
            key = tree.table.key(index)
            for file, name in enumerate(tree.names[index]):
                if writer.contains(*key, name):
                    kept += 1
                    continue
                try:
                    frames = tree.read(index, file)
                except UserError as error:
                    if not skip_bad:
                        raise
                    skipped.append(str(error))
                    continue
                writer.write(*key, frames, name)
                written += 1
    return PackResult(written, kept, skipped)


def unpack(source: str | Path, target: str | Path, progress: Progress = no_progress) -> int:
    """Write a packed store as a tree of pickles, and return the number of files written; existing ones are kept.

    Raises:
        UserError: the store is damaged, or the target is no folder.
    """
    store, written = PackedStore(source), 0
    for index in progress(range(len(store.table)), len(store.table)):
        for file in range(store.num_files(index)):
            path = Path(target, *store.path(index, file))
            if os.path.exists(path):  # noqa: PTH110 - false, not an error, for a name that is too long
                continue
            store.verify(index, file)
            with write_errors(path, "free disk space, or choose another folder; the files written before are complete"):
                write_pickle(path, store.read(index, file))
            written += 1
    return written
