"""Writing files atomically, and checking the settings that a folder was made with; imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dygait import untrusted
from dygait.errors import UserError


@contextlib.contextmanager
def replacing(path: Path, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Write a file atomically: under a temporary name, synced to the disk, renamed.

    Args:
        exclusive: no other process writes this file at the same time. The temporary name is then constant, so that
            the file of a killed process is overwritten.

    Yields:
        The open file, which is renamed when the `with` block ends without an exception.

    Raises:
        OSError: it cannot be written; an existing file is unchanged, and no partial file is left.
    """
    temporary = path.with_name(f".{path.name}.{'part' if exclusive else os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # so that the first error is raised
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically; errors as `replacing`."""
    with replacing(path) as file:
        # Paths that are not valid Unicode contain surrogates, which cannot be encoded.
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def write_errors(target: Path | str, remedy: str = "free disk space, or choose another place") -> Iterator[None]:
    """Turn an `OSError` of the `with` block into a `UserError` that names what cannot be written, and the remedy."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; {remedy}") from None


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renamed files in it survive a power failure, on POSIX systems."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raise a UserError if a JSON file exists and contains other settings."""
    if not path.exists():
        return
    try:
        existing = untrusted.parse_json(untrusted.read_bytes(path))
    except ValueError:
        existing = None
    if existing != settings:
        keys = {**settings, **existing} if isinstance(existing, dict) else settings
        changed = [key for key in keys if keys is settings or existing.get(key) != settings.get(key)]
        raise UserError(
            f"{path}: this folder was made with other settings ({', '.join(changed)}): give the same ones, another "
            "--output, or delete the folder"
        )
