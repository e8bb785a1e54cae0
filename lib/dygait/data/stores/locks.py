"""Locks on files and folders, which the system releases when a process ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO

from dygait.errors import UserError


def lock(root: Path, name: str = ".lock") -> BinaryIO:
    """Lock a folder until the returned file is closed; `UserError` if another process holds the lock."""
    file = (root / name).open("wb")
    if try_lock(file) is False:
        file.close()
        raise UserError(f"{root} is being written by another process: wait for it to end")
    return file


def try_lock(file: BinaryIO) -> bool | None:
    """Lock a file until it is closed; False: another process holds the lock, None: locks are not supported."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return None
    return True
