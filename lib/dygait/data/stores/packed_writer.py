"""Writing packed stores, see `packed_format`."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from io import FileIO
from pathlib import Path

import numpy as np

from dygait.data.sequences import Column, check_name
from dygait.data.stores.base import frames_problem
from dygait.data.stores.locks import lock
from dygait.data.stores.packed_format import MANIFEST, NAMES, NUMBERS, ROW, SHARD_BYTES, Manifest, shard_name
from dygait.data.stores.packed_reader import PackedStore
from dygait.errors import UserError
from dygait.files import replacing, sync_folder, write_atomically

COMMIT_SECONDS = 20.0
"""The interval of automatic commits."""


class PackedWriter:
    """Writes a packed store, or appends to one.

    Data is visible to readers after `commit` or `close`; `write` commits at intervals. If a writer is interrupted, the
    state of the last commit remains.

    The folder is created if it does not exist; with `others` it may contain other files. `source` describes the data in
    the manifest.

    Raises:
        UserError: the folder contains other files, or another writer holds its lock.
    """

    def __init__(self, root: str | Path, source: str = "", others: bool = False) -> None:
        self.root = Path(root)
        if not others and self.root.exists() and not (self.root / MANIFEST).exists() and any(self.root.iterdir()):
            raise UserError(f"{root} is not empty and not a store: give another folder, or delete it")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.root)
        self.source = source
        self._rows: dict[tuple[str, ...], tuple[int, ...]] = {}  # NAMES -> NUMBERS
        self._shards: list[int] = []
        self._generation = 0
        self._changed = False
        self._committed = time.monotonic()
        if (self.root / MANIFEST).exists():
            self._resume()
        self._frames: FileIO | None = None

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def contains(self, id: str, type: str, view: str, name: str | None = None) -> bool:
        """Return whether the store, including uncommitted data, contains a file."""
        return (id, type, view, name or f"{view}.pkl") in self._rows

    def write(self, id: str, type: str, view: str, frames: np.ndarray, name: str | None = None) -> None:
        """Append a file of a sequence, with frames as `Store.read` returns them; by default its name is `<view>.pkl`.

        It replaces a file of the same name, whose space in the store is not freed.

        Raises:
            UserError: the frames or the name are invalid.
            OSError: the disk is full.
        """
        path = (id, type, view, name or f"{view}.pkl")
        label = "/".join(path)
        if problem := frames_problem(frames):
            raise UserError(f"{label}: {problem}")
        for part in path:
            check_name(part, label)
        frames = np.ascontiguousarray(frames)
        offset = self._append(frames)
        channels = frames.shape[1] if frames.ndim == 4 else 0
        size = (len(frames), *frames.shape[-2:])
        self._rows[path] = (len(self._shards) - 1, *size, offset, zlib.crc32(frames.data), channels)
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
        rows = np.zeros(len(self._rows), ROW)
        names = {}
        for position, field in enumerate(NAMES):
            column = Column.from_names(path[position] for path in self._rows)
            rows[field], names[field] = column.codes, list(column.names)
        for position, field in enumerate(NUMBERS):
            rows[field] = [numbers[position] for numbers in self._rows.values()]
        rows = rows[np.lexsort([rows[field] for field in reversed(NAMES)])]
        write_index(self.root, rows, names, self._shards, self._generation, self.source)
        self._changed = False
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit, and release the lock."""
        try:
            self.commit()
        finally:
            if self._frames is not None:
                self._frames.close()
            self._lock.close()

    def _resume(self) -> None:
        store = PackedStore(self.root)
        paths = [Column(store.names[f], store.rows[f]).take(np.arange(len(store.rows))) for f in NAMES]
        zeros = np.zeros(len(store.rows), int)  # rows of older versions have no channels
        numbers = [(store.rows[f] if f in (store.rows.dtype.names or ()) else zeros).tolist() for f in NUMBERS]
        self._rows = dict(zip(zip(*paths, strict=True), zip(*numbers, strict=True), strict=True))
        self._shards = store.manifest.shards
        self._generation = store.manifest.generation
        self.source = self.source or store.manifest.source

    def _append(self, frames: np.ndarray) -> int:
        if not self._shards or (self._shards[-1] > 0 and self._shards[-1] + frames.nbytes > SHARD_BYTES):
            if self._frames is not None:
                os.fsync(self._frames.fileno())
                self._frames.close()
                self._frames = None
            self._shards.append(0)
        if self._frames is None:
            # Remove data of an interrupted writer beyond the size in the manifest.
            self._frames = (self.root / shard_name(len(self._shards) - 1)).open("ab", buffering=0)
            self._frames.truncate(self._shards[-1])
        offset = self._shards[-1]
        data = frames.data.cast("B")
        try:
            while data:
                data = data[self._frames.write(data) :]
        except OSError:
            self._frames.truncate(offset)
            raise
        self._shards[-1] += frames.nbytes
        return offset


def write_index(
    root: Path, rows: np.ndarray, names: dict[str, list[str]], shards: list[int], generation: int, source: str
) -> None:
    """Write index, names and manifest of a store, the manifest last; then delete the previous index."""
    manifest = Manifest(
        generation=generation,
        files=len(rows),
        frames=int(rows["frames"].sum()),
        geometries=sorted([int(h), int(w)] for h, w in np.unique(rows[["height", "width"]]).tolist()),
        fingerprint="",
        source=source,
        shards=shards,
        checksums={},
    )
    index_path, names_path = (root / name for name in manifest.file_names())
    with replacing(index_path) as file:
        np.save(file, rows, allow_pickle=False)
    write_atomically(names_path, json.dumps(names, ensure_ascii=False, separators=(",", ":")))
    manifest.fingerprint = _fingerprint(rows, names_path)
    manifest.checksums = {path.name: zlib.crc32(path.read_bytes()) for path in (index_path, names_path)}
    sync_folder(root)  # the files are durable before the manifest
    write_atomically(root / MANIFEST, json.dumps(manifest.model_dump(), indent=1) + "\n")
    sync_folder(root)
    for path in [*root.glob("index-*.npy"), *root.glob("names-*.json")]:
        if path not in (index_path, names_path):
            path.unlink(missing_ok=True)


def _fingerprint(rows: np.ndarray, names_path: Path) -> str:
    """Hash the content of a store, independent of offsets."""
    digest = hashlib.sha256(names_path.read_bytes())
    for field in (*NAMES, "frames", "height", "width", "checksum"):
        digest.update(rows[field].tobytes())
    return digest.hexdigest()[:16]
