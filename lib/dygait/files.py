"""Writing whole files so that nobody ever finds half of one; imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: under a temporary name, synced to the disk, renamed.

    Args:
        path: the file.
        exclusive: no other process writes this file at the same time. The temporary name is then always the same, so
            that what a killed process has left is overwritten when its work is done again.

    Yields:
        The open file, whose content gets its name where the `with` block ends in order.

    Raises:
        OSError: it could not be written; a former file of that name is as it was, and nothing is left of the new one.
    """
    temporary = path.with_name(f".{path.name}.{'part' if exclusive else os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the first error tells more
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file whole or not at all.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    with replacing(path) as file:
        # A folder's name need not be Unicode, and what stands for it cannot be encoded.
        file.write(text.encode("utf-8", "backslashreplace"))


def sync_folder(folder: Path) -> None:
    """Make sure that the names of a folder's files survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
