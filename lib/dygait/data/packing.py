"""Convert between trees of pickles and packed stores, and verify datasets."""

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
    """The result of `pack`.

    Attributes:
        written: number of new files in the store.
        kept: number of files that were in the store already.
        skipped: for each unreadable file, why.
    """

    written: int
    kept: int
    skipped: list[str]


def pack(
    source: str | Path, target: str | Path, skip_bad: bool = False, progress: Progress = _no_progress
) -> PackResult:
    """Convert a tree of pickles to a packed store; running it again resumes.

    Args:
        source: the folder `<id>/<type>/<view>/<name>.pkl`.
        target: the store's folder.
        skip_bad: skip unreadable pickles, and list them in the result, instead of raising.
        progress: shows a progress bar.

    Raises:
        UserError: source or target cannot be used, or a pickle cannot be read. What was packed is kept.
    """
    try:
        return _pack(source, target, skip_bad, progress)
    except OSError as error:
        raise UserError(
            f"{target} cannot be written: {error}; free space, or choose another folder, and run the same command: "
            "what was packed up to the last commit is kept"
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
    """Write the sequences of a packed store as a tree of pickles, one array each; existing files are kept.

    Args:
        source: the store's folder.
        target: the output folder.
        progress: shows a progress bar.

    Returns:
        The number of files written.

    Raises:
        UserError: the store is damaged, or the target is no folder.
    """
    store, written = PackedStore(source), 0
    for row in progress(range(len(store.rows)), len(store.rows)):
        path = store.path(row)
        file = Path(target, *path)
        if os.path.exists(file):  # noqa: PTH110 - false, not an error, for a name that is too long
            continue
        store.check(row)
        try:
            write_pickle(file, store.frames(row))
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error}; the files written before are complete") from None
        written += 1
    return written


def verify(root: str | Path, progress: Progress = _no_progress) -> Iterator[str]:
    """Read every file of a dataset, and yield an error message for each unusable one.

    Args:
        root: a packed store, whose checksums are verified, or a tree of pickles.
        progress: shows a progress bar.

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
