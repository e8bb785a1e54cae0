"""From a tree of pickles to a packed store and back, and the check that a store is what was written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dygait.data.stores import PackedStore, PackedWriter, load_tree, open_store
from dygait.data.stores.base import Progress
from dygait.data.stores.pickles import write_pickle
from dygait.errors import UserError


def _no_progress(indices: Iterable[int], total: int) -> Iterable[int]:
    return indices


@dataclass(frozen=True)
class PackResult:
    """What `pack` did.

    Attributes:
        written: files that are new in the store.
        kept: files that were in it already.
        skipped: why each file that cannot be read was left out.
    """

    written: int
    kept: int
    skipped: list[str]


def pack(
    source: str | Path, target: str | Path, skip_bad: bool = False, progress: Progress = _no_progress
) -> PackResult:
    """Convert a tree of pickles to a packed store; run again, it goes on where it stopped.

    Args:
        source: the folder `<id>/<type>/<view>/<name>.pkl`.
        target: the store's folder.
        skip_bad: leave out a pickle that cannot be read, and say so; else it ends the work.
        progress: shows how far it is.

    Raises:
        UserError: source or target cannot be used, or a pickle cannot be read. What was packed till then stays packed.
    """
    try:
        return _pack(source, target, skip_bad, progress)
    except OSError as error:
        raise UserError(
            f"{target} cannot be written: {error}; make room, or choose another folder, and run the same command: what "
            "was packed till the last commit is kept"
        ) from None


def _pack(source: str | Path, target: str | Path, skip_bad: bool, progress: Progress) -> PackResult:
    tree = load_tree(source)
    written, kept, skipped = 0, 0, []
    with PackedWriter(target, f"pickle tree {tree.fingerprint}") as writer:
        try:
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
        except UserError:
            writer.commit()
            raise
    return PackResult(written, kept, skipped)


def unpack(source: str | Path, target: str | Path, progress: Progress = _no_progress) -> int:
    """Write a packed store's sequences as a tree of pickles, one array each; files that are there already stay.

    Args:
        source: the store's folder.
        target: the folder to fill.
        progress: shows how far it is.

    Returns:
        How many files were written.

    Raises:
        UserError: the store is damaged, or the target is no folder.
    """
    store, written = PackedStore(source), 0
    for row in progress(range(len(store.rows)), len(store.rows)):
        path = store.path(row)
        file = Path(target, *path)
        if os.path.exists(file):  # noqa: PTH110 - a name that is too long is not there
            continue
        store.check(row)
        try:
            write_pickle(file, store.frames(row))
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error}; what was written till now is whole") from None
        written += 1
    return written


def verify(root: str | Path, progress: Progress = _no_progress) -> Iterator[str]:
    """Read every file of a dataset, and yield what is wrong with each that cannot be used.

    Args:
        root: a packed store, whose checksums are compared, or a tree of pickles, each of which is read.
        progress: shows how far it is.

    Raises:
        UserError: the dataset cannot be opened at all.
    """
    store = open_store(root)
    for index in progress(range(len(store.table)), len(store.table)):
        for file in range(store.num_files(index)):
            try:
                store.verify(index, file)
            except UserError as error:
                yield str(error)
