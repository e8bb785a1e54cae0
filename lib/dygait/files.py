"""Writing files so that nobody ever finds half of one; imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def unfinished(path: Path) -> Path:
    """Return the name under which this process writes a file until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: under a temporary name, synced to the disk, renamed.

    Yields:
        The open file, whose content gets its name where the `with` block ends in order.

    Raises:
        OSError: it could not be written; a former file of that name is as it was, and nothing is left of the new one.
    """
    temporary = unfinished(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the first error tells more
            temporary.unlink(missing_ok=True)
