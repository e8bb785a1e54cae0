"""Features on disk: what `dygait extract` writes and `dygait evaluate` scores, without the network.

A folder of two files: ``features.npy``, (N, C, P) float32 or float16, which is mapped into memory, and
``sequences.json``: ids, types and views, what the features came from, and a checksum of them. Neither can run code. The
second is written last: a folder without it is an extraction that was interrupted.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dygait.errors import UserError

_ARRAY = "features.npy"
_NAMES = "sequences.json"
_FORMAT = "dygait-features"
_VERSION = 1
_COLUMNS = ("ids", "types", "views")
_CHUNK = 2**26


@dataclass(frozen=True)
class SavedFeatures:
    """Features with the names of their sequences.

    Attributes:
        features: (N, C, P) float32 or float16, read-only, mapped.
        ids: N names.
        types: N names.
        views: N names.
        origin: what they came from: configuration, checkpoint, data fingerprint, protocol, PROBE_SET.
    """

    features: np.ndarray
    ids: list[str]
    types: list[str]
    views: list[str]
    origin: dict[str, Any] = field(default_factory=dict)


def save_features(
    folder: str | Path,
    features: np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    origin: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Write features to a folder, which is made; features that are there already are replaced.

    Args:
        folder: where to.
        features: (N, C, P) floating-point numbers.
        ids: N names.
        types: N names.
        views: N names.
        origin: plain values, kept as they are.
        half: store float16: half the room, about three digits of each number.

    Returns:
        The folder.

    Raises:
        UserError: there is no room, the folder holds something else, or a number does not fit float16.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - {_ARRAY, _NAMES}):
        raise UserError(f"{folder} holds something else than features; give another folder")
    columns = (ids, types, views)
    assert features.ndim == 3
    assert all(len(column) == len(features) for column in columns)
    wanted = np.float16 if half else np.float32
    if half and len(features) and np.abs(features).max() > np.finfo(np.float16).max:
        raise UserError(f"{folder}: the features have numbers above 65504, which float16 cannot hold; store float32")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _NAMES).unlink(missing_ok=True)  # from here on, what was there does not count any more
        _write(folder / _ARRAY, lambda file: np.save(file, features.astype(wanted, copy=False), allow_pickle=False))
        names = {
            "format": _FORMAT,
            "version": _VERSION,
            "checksum": _checksum(np.load(folder / _ARRAY, mmap_mode="r")),
            **{name: list(map(str, column)) for name, column in zip(_COLUMNS, columns, strict=True)},
            "origin": dict(origin or {}),
        }
        _write(folder / _NAMES, lambda file: file.write(json.dumps(names).encode()))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}; choose another folder, or make room") from None
    return folder


def load_features(folder: str | Path) -> SavedFeatures:
    """Open what `save_features` wrote.

    Raises:
        UserError: there is nothing of the kind, it was interrupted, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / _NAMES).is_file():
        why = "an extraction into it was interrupted" if (folder / _ARRAY).exists() else "no features are there"
        raise UserError(f"{folder}: {why}; make them with `dygait extract`")
    try:
        names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        features = np.load(folder / _ARRAY, mmap_mode="r", allow_pickle=False)
        if names["format"] != _FORMAT or names["version"] != _VERSION:
            raise ValueError(f"format {names['format']} {names['version']}, this version reads {_FORMAT} {_VERSION}")
        columns = ids, types, views = [names[name] for name in _COLUMNS]
        for column in columns:
            if not isinstance(column, list) or not all(isinstance(name, str) for name in column):
                raise ValueError("ids, types and views must be lists of names")
        if features.ndim != 3 or features.dtype not in (np.float16, np.float32):
            raise ValueError(f"{_ARRAY} holds {features.dtype} {features.shape}, not (N, C, P) numbers")
        if {len(column) for column in columns} != {len(features)}:
            raise ValueError(f"{len(features)} features, but {[len(c) for c in columns]} ids, types and views")
        if _checksum(features) != names["checksum"]:
            raise ValueError(f"{_ARRAY} does not have the checksum of what was written")
        origin = names["origin"]
        if not isinstance(origin, dict):
            raise ValueError("origin must be a mapping")
    except Exception as error:  # a damaged header can raise anything
        raise UserError(f"{folder} is damaged: {type(error).__name__}: {error}; extract the features again") from None
    return SavedFeatures(features, ids, types, views, origin)


def _checksum(features: np.ndarray) -> int:
    rows = max(1, _CHUNK // max(1, features[:1].nbytes))
    found = 0
    for start in range(0, len(features), rows):
        found = zlib.crc32(np.ascontiguousarray(features[start : start + rows]).data, found)
    return found


def _write(path: Path, fill: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
