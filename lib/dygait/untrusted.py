"""Reading untrusted files: bounds on size, depth and unfolding, so that no file can make a reader hang or grow.

Imports nothing heavy.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

LARGEST_TEXT = 2**28
"""Bytes of the largest text that is read whole: partitions, names of features, events."""

DEEPEST = 100
"""Lists within lists, or mappings, beyond which a file is not meant to be read."""


def read_bytes(path: str | Path, limit: int = LARGEST_TEXT) -> bytes:
    """Return what a file holds.

    Args:
        path: a regular file: a device or a pipe may never end.
        limit: the most bytes that are read.

    Raises:
        OSError: it is not there, cannot be read, is no regular file, or is larger.
    """
    if "\0" in str(path):  # the system's calls would raise ValueError
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    # Opening a pipe would wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def parse_json(content: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, is nested too deep, or has a key twice, of which a reader would see one only.
    """
    try:
        return json.loads(content, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def check_unfolding(root: Any, inside: Callable[[Any], Iterable[Any]], most: int, deepest: int = DEEPEST) -> None:
    """Refuse values that are small as they are stored, but not once everything that they repeat is written out.

    A list that holds a list twice, which holds a list twice, and so on, has more values than any walk can visit.

    Args:
        root: a value.
        inside: returns what a value holds directly.
        most: the most values, each counted as often as it occurs.
        deepest: the most levels.

    Raises:
        ValueError: there are more; one that holds itself has endless levels.
    """
    count, levels = 0, [iter((root,))]
    while levels:
        for value in levels[-1]:
            count += 1
            if count > most:
                raise ValueError(f"it unfolds to more than {most} values")
            if len(levels) > deepest:
                raise ValueError("it is nested too deep")
            levels.append(iter(inside(value)))
            break
        else:
            levels.pop()


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a plain value holds directly: `inside` of `check_unfolding`."""
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()


def at(value: Any, *keys: str) -> Any:
    """Return what mappings within each other hold under some keys; None where one is missing or no mapping."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def printable(text: str) -> str:
    """Return a message in which nothing can steer a terminal: what is not printable is written as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
