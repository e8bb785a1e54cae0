"""Locks on files and folders, that the system lets go of when a process ends, however it ends."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from dygait.errors import UserError


def lock(root: Path, name: str = ".lock") -> BinaryIO:
    """Take a folder for one writer, until the file that is returned is closed.

    Raises:
        UserError: another process has it.
    """
    file = (root / name).open("wb")
    if try_lock(file) is False:
        file.close()
        raise UserError(f"{root} is being written by another process: wait for it to end")
    return file


def try_lock(file: BinaryIO) -> bool | None:
    """Lock a file for this process, until it is closed: False where another holds it, None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return None
    return True
