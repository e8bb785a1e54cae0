"""Writing the packed store, see `packed_format`."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from dygait.data.sequences import Column
from dygait.data.stores.locks import lock
from dygait.data.stores.packed import PackedStore
from dygait.data.stores.packed_format import (
    FORMAT,
    MANIFEST,
    NAMES,
    NUMBERS,
    ROW,
    VERSION,
    check_name,
    shard_name,
)
from dygait.errors import UserError
from dygait.files import replacing, sync_folder, write_atomically

SHARD_BYTES = 2**31
"""The maximum size of a file of frames."""

COMMIT_SECONDS = 20.0
"""The interval of automatic commits."""


class PackedWriter:
    """Writes a packed store, or appends to one.

    Data is visible to readers after `commit` or `close`; `write` commits at intervals. If the writer is interrupted,
    the store is that of the last commit.

    Args:
        root: the folder; created if it does not exist.
        source: a description of the data's source, for the manifest.
        shard_bytes: the maximum size of a file of frames.
        others: whether the folder may contain other files.

    Raises:
        UserError: the folder contains something else, or another writer holds its lock.
    """

    def __init__(
        self, root: str | Path, source: str = "", shard_bytes: int = SHARD_BYTES, others: bool = False
    ) -> None:
        self.root = Path(root)
        if not others and self.root.exists() and not (self.root / MANIFEST).exists() and any(self.root.iterdir()):
            raise UserError(f"{root} is not empty and not a store: give another folder, or delete it")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.root)
        self.source = source
        self.shard_bytes = shard_bytes
        self._rows: list[tuple[Any, ...]] = []
        self._paths: set[tuple[str, ...]] = set()
        self._shards: list[int] = []
        self._generation = 0
        self._changed = False
        self._committed = time.monotonic()
        if (self.root / MANIFEST).exists():
            self._resume()
        self._frames: FileIO | None = None

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._release()

    def contains(self, id: str, type: str, view: str, name: str | None = None) -> bool:
        """Return whether the store, including uncommitted data, contains a file."""
        return (id, type, view, name or f"{view}.pkl") in self._paths

    def write(
        self,
        id: str,
        type: str,
        view: str,
        frames: np.ndarray,
        name: str | None = None,
        replace: bool = False,
    ) -> None:
        """Append one file of a sequence.

        Args:
            id: of the subject.
            type: of the sequence.
            view: of the camera.
            frames: uint8 (S, H, W), S at least 1.
            name: the file's name; default: `<view>.pkl`.
            replace: replace an existing file; its space in the store is not freed.

        Raises:
            UserError: invalid frames, an invalid name, or an existing file.
            OSError: the disk is full.
        """
        path = (id, type, view, name or f"{view}.pkl")
        label = "/".join(path)
        if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
            raise UserError(f"{label}: {frames.dtype} {frames.shape}; a uint8 array (S, H, W) with S >= 1 is needed")
        for part in path:
            check_name(part, label)
        if path in self._paths and not replace:
            raise UserError(f"{self.root} already contains {label}")
        frames = np.ascontiguousarray(frames)
        offset = self._append(frames)
        if path in self._paths:
            self._rows = [row for row in self._rows if row[: len(NAMES)] != path]
        self._rows.append((*path, len(self._shards) - 1, *frames.shape, offset, zlib.crc32(frames.data)))
        self._paths.add(path)
        self._changed = True
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make written data permanent and visible to readers."""
        if not self._changed and (self.root / MANIFEST).exists():
            return
        if self._frames is not None:
            os.fsync(self._frames.fileno())
        self._generation += 1
        codes = [Column.from_names(row[field] for row in self._rows) for field in range(len(NAMES))]
        rows = np.zeros(len(self._rows), ROW)
        for field, column in zip(NAMES, codes, strict=True):
            rows[field] = column.codes
        for position, field in enumerate(NUMBERS, len(NAMES)):
            rows[field] = [row[position] for row in self._rows]
        rows = rows[np.lexsort([rows[field] for field in reversed(NAMES)])]
        names = {field: list(column.names) for field, column in zip(NAMES, codes, strict=True)}
        write_index(self.root, rows, names, self._shards, self._generation, self.source, self.shard_bytes)
        self._changed = False
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit, and release the lock."""
        try:
            self.commit()
        finally:
            self._release()

    def _release(self) -> None:
        if self._frames is not None:
            self._frames.close()
        self._lock.close()

    def _resume(self) -> None:
        store = PackedStore(self.root)
        columns = [Column(store.names[f], store.rows[f]).take(np.arange(len(store.rows))) for f in NAMES]
        rest = [store.rows[f].tolist() for f in NUMBERS]
        self._rows = list(zip(*columns, *rest, strict=True))
        self._paths = {row[: len(NAMES)] for row in self._rows}
        self._shards = list(store.manifest["shards"])
        self._generation = store.manifest["generation"]
        self.source = self.source or store.manifest["source"]

    def _append(self, frames: np.ndarray) -> int:
        full = self._shards and self._shards[-1] + frames.nbytes > self.shard_bytes and self._shards[-1] > 0
        if not self._shards or full:
            if self._frames is not None:
                os.fsync(self._frames.fileno())
                self._frames.close()
                self._frames = None
            self._shards.append(0)
        if self._frames is None:
            # Truncate what an interrupted writer left beyond the size in the manifest.
            self._frames = (self.root / shard_name(len(self._shards) - 1)).open("ab", buffering=0)
            self._frames.truncate(self._shards[-1])
        offset = self._shards[-1]
        _append_to(self._frames, frames.data.cast("B"), offset)
        self._shards[-1] += frames.nbytes
        return offset


def _append_to(file: FileIO, data: memoryview, end: int) -> None:
    """Append bytes to a file that ends at `end`, all or none."""
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        file.truncate(end)
        raise


def write_index(
    root: Path,
    rows: np.ndarray,
    names: dict[str, list[str]],
    shards: list[int],
    generation: int,
    source: str,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write index, names and manifest of a store, the manifest last; then delete the previous index."""
    index, listed = f"index-{generation}.npy", f"names-{generation}.json"
    with replacing(root / index) as file:
        np.save(file, rows, allow_pickle=False)
    write_atomically(root / listed, json.dumps(names, ensure_ascii=False, separators=(",", ":")))
    geometries = sorted({(int(h), int(w)) for h, w in np.unique(rows[["height", "width"]]).tolist()})
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "generation": generation,
        "files": len(rows),
        "frames": int(rows["frames"].sum()),
        "geometries": geometries,
        "fingerprint": _fingerprint(rows, root / listed),
        "source": source,
        "shards": shards,
        "shard_bytes": shard_bytes,
        "checksums": {name: zlib.crc32((root / name).read_bytes()) for name in (index, listed)},
    }
    sync_folder(root)  # the files are durable before the manifest
    write_atomically(root / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    sync_folder(root)
    for old in [*root.glob("index-*.npy"), *root.glob("names-*.json")]:
        if old.name not in (index, listed):
            old.unlink(missing_ok=True)


def _fingerprint(rows: np.ndarray, names: Path) -> str:
    """Hash the content of a store, independent of offsets."""
    digest = hashlib.sha256(names.read_bytes())
    for field in (*NAMES, "frames", "height", "width", "checksum"):
        digest.update(rows[field].tobytes())
    return digest.hexdigest()[:16]
