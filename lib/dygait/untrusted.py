"""Reading untrusted files, and printing what they contain; imports nothing heavy."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST_TEXT = 2**28
"""The most bytes of a text file (partition, metadata of features, events) that is read."""


def read_bytes(path: str | Path, limit: int = LARGEST_TEXT) -> bytes:
    """Return the content of a file of at most `limit` bytes.

    Raises:
        OSError: it does not exist, cannot be read, is larger, or not a regular file (devices and pipes may be endless).
    """
    if "\0" in str(path):  # os.open would raise ValueError
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    # Without O_NONBLOCK, opening a pipe would block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def parse_json(content: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is invalid, nested too deep, or has a duplicate key.
    """
    try:
        return json.loads(content, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is duplicate")
    return mapping


def at(value: Any, *keys: str) -> Any:
    """Return the value under a path of keys in nested mappings; None if a key is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def printable(text: str) -> str:
    """Escape the characters of a message that are not printable, so that it cannot control a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
