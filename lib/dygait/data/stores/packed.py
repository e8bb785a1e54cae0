"""The packed store: every frame of a dataset in a few large files that are mapped into memory, and an index.

What lies in its folder::

    store.json          the manifest: sizes and checksums of the other files; what it does not name is not there
    frames-00000.bin    frames as they are, uint8, sequence after sequence; the next file when one is full
    envelopes.bin       what the pickles held besides their frames
    index-<n>.npy       a row for each file of a sequence: whose it is, where its frames lie, their checksum
    names-<n>.json      the names of ids, types, views and files, that the index gives by number

Frames are only ever appended, behind what the manifest admits; index and names are written under a new number; and the
manifest, replaced last and in one step, makes the new state the state. So whatever interrupts a writer, a reader finds
what was there before. Nothing of it is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores.envelope import seal, unseal
from dygait.errors import UserError

MANIFEST = "store.json"
FORMAT = "dygait-store"
VERSION = 1
SHARD_BYTES = 2**31
"""A file of frames is full at this size."""

COMMIT_SECONDS = 20.0
"""How much work an interruption of a writer costs at most."""

ROW = np.dtype(
    [
        ("id", "<u4"),
        ("type", "<u4"),
        ("view", "<u4"),
        ("name", "<u4"),
        ("shard", "<u4"),
        ("frames", "<u4"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("offset", "<u8"),
        ("checksum", "<u4"),
        ("envelope_size", "<u4"),
        ("envelope", "<u8"),
    ]
)
_NAMES = ("id", "type", "view", "name")
_NUMBERS = ("shard", "frames", "height", "width", "offset", "checksum", "envelope_size", "envelope")
_ENVELOPES = "envelopes.bin"


def _shard(number: int) -> str:
    return f"frames-{number:05d}.bin"


class PackedStore:
    """A packed store, open for reading: a `Store` of which only the frames that are used are read.

    Args:
        root: its folder.

    Raises:
        UserError: it is no store, of another version, or damaged.
    """

    empty = 0

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.manifest = _read_manifest(self.root)
        self.rows, self.names = _read_index(self.root, self.manifest)
        self.fingerprint: str = self.manifest["fingerprint"]
        changed = np.ones(len(self.rows), bool)
        if len(self.rows):
            keys = [self.rows[field] for field in _NAMES[:3]]
            changed[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
        self._first = np.flatnonzero(changed)  # the first row of each sequence
        self._last = np.append(self._first[1:], len(self.rows))
        self.table = SequenceTable(*(Column(self.names[f], self.rows[f][self._first]) for f in _NAMES[:3]))
        self._maps: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # a loader worker opens it for itself, and shares the pages

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]

    @property
    def state(self) -> str:
        """A hash of the fingerprint, and of when the frames' files were written."""
        shards = [(self.root / _shard(int(n))).stat() for n in np.unique(self.rows["shard"])]
        return hashlib.sha256(
            repr((self.fingerprint, [(s.st_size, s.st_mtime_ns) for s in shards])).encode()
        ).hexdigest()[:16]

    def files(self, place: int) -> int:
        """Return how many files the sequence at a place has."""
        return int(self._last[place] - self._first[place])

    def read(self, place: int, file: int = 0) -> np.ndarray:
        """Return the frames of a file, uint8 (S, H, W): a view of the mapped file; nothing is read until it is used.

        Raises:
            UserError: the store's file cannot be mapped.
        """
        return self.frames(int(self._first[place]) + file)

    def verify(self, place: int, file: int = 0) -> int:
        """Compare a file's frames with their checksum, and return how many there are; errors as `check`."""
        row = int(self._first[place]) + file
        self.check(row)
        return int(self.rows[row]["frames"])

    def where(self, place: int, file: int = 0) -> str:
        """Return what to call a file in a message."""
        return self.label(int(self._first[place]) + file)

    def sizes(self, places: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64."""
        return self.rows["frames"][self._rows_of(places, file)].astype(np.int64)

    def geometries(self, places: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return every (H, W) of the frames of some sequences, with the place of the first that has it."""
        rows = self._rows_of(places, file)
        sizes = np.stack([self.rows["height"][rows], self.rows["width"][rows]], 1)
        different, first = np.unique(sizes, axis=0, return_index=True)
        return {(h, w): int(places[at]) for (h, w), at in zip(different.tolist(), first.tolist(), strict=True)}

    def frames(self, row: int) -> np.ndarray:
        """Return the frames of a row of the index, uint8 (S, H, W), mapped."""
        entry = self.rows[row]
        count, height, width = int(entry["frames"]), int(entry["height"]), int(entry["width"])
        start = int(entry["offset"])
        return self._map(int(entry["shard"]))[start : start + count * height * width].reshape(count, height, width)

    def label(self, row: int) -> str:
        """Return what to call a row of the index in a message."""
        return f"{self.root}: " + "/".join(self.path(row))

    def path(self, row: int) -> tuple[str, ...]:
        """Return (id, type, view, file name) of a row of the index."""
        entry = self.rows[row]
        return tuple(self.names[field][int(entry[field])] for field in _NAMES)

    def original(self, row: int) -> bytes:
        """Return the bytes of the file that a row of the index was packed from.

        Raises:
            UserError: frames or envelope are damaged.
        """
        entry, frames = self.rows[row], self.frames(row)
        self.check(row)
        if not entry["envelope_size"]:
            raise UserError(f"{self.label(row)} was not packed from a pickle")
        with (self.root / _ENVELOPES).open("rb") as file:
            file.seek(int(entry["envelope"]))
            envelope = file.read(int(entry["envelope_size"]))
        try:
            return unseal(envelope, frames)
        except ValueError as error:
            raise UserError(f"{self.label(row)}: its envelope is damaged: {error}") from None

    def check(self, row: int) -> None:
        """Compare a row's frames with their checksum.

        Raises:
            UserError: they are not what was written.
        """
        if zlib.crc32(self.frames(row).data) != int(self.rows[row]["checksum"]):
            raise UserError(f"{self.label(row)} is damaged: its frames do not have the checksum of what was written")

    def _rows_of(self, places: np.ndarray, file: int) -> np.ndarray:
        return np.minimum(self._first[places] + file, self._last[places] - 1)

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            try:
                self._maps[shard] = np.memmap(self.root / _shard(shard), np.uint8, "r")
            except (OSError, ValueError) as error:
                raise UserError(f"{self.root / _shard(shard)} cannot be mapped: {error}") from None
        return self._maps[shard].view(np.ndarray)


class PackedWriter:
    """Writes a packed store, or appends to one.

    What was written counts from `commit` on, or from `close`; writing commits now and then by itself. Of a writer that
    was interrupted, the last commit stands.

    Args:
        root: the folder; made if need be.
        source: what the data come from, for the manifest.
        shard_bytes: when to begin another file of frames.
        others: files of other names may lie in the folder.

    Raises:
        UserError: the folder holds something else, or another writer is at work in it.
    """

    def __init__(
        self, root: str | Path, source: str = "", shard_bytes: int = SHARD_BYTES, others: bool = False
    ) -> None:
        self.root = Path(root)
        if not others and self.root.exists() and not (self.root / MANIFEST).exists() and any(self.root.iterdir()):
            raise UserError(f"{root} is not empty and no store: give another folder, or delete it")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.root)
        self.source = source
        self.shard_bytes = shard_bytes
        self._rows: list[tuple[Any, ...]] = []
        self._paths: set[tuple[str, ...]] = set()
        self._shards: list[int] = []
        self._envelopes = 0
        self._generation = 0
        self._sealed: dict[bytes, tuple[int, int]] = {}
        self._changed = False
        self._committed = time.monotonic()
        if (self.root / MANIFEST).exists():
            self._resume()
        self._frames: FileIO | None = None
        self._envelope_file = self._open(_ENVELOPES, self._envelopes)

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._release()

    def holds(self, id: str, type: str, view: str, name: str | None = None) -> bool:
        """Tell whether the store, or what is about to be committed to it, has a file."""
        return (id, type, view, name or f"{view}.pkl") in self._paths

    def write(
        self,
        id: str,
        type: str,
        view: str,
        frames: np.ndarray,
        name: str | None = None,
        original: bytes | None = None,
        replace: bool = False,
    ) -> None:
        """Append one file of a sequence.

        Args:
            id: who walks.
            type: how.
            view: from where.
            frames: uint8 (S, H, W), S at least 1.
            name: the file's name; left out, `<view>.pkl`.
            original: the bytes of the file that the frames were read from, to be made again by `unpack`.
            replace: take the place of a file that the store has already; the room that it took stays taken.

        Raises:
            UserError: frames of another form, a name that is no file name, or a file that the store has already.
            OSError: there is no room.
        """
        path = (id, type, view, name or f"{view}.pkl")
        label = "/".join(path)
        if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
            raise UserError(f"{label}: {frames.dtype} {frames.shape}; a uint8 array (S, H, W) with S >= 1 is needed")
        for part in path:
            check_name(part, label)
        if path in self._paths and not replace:
            raise UserError(f"{self.root} has {label} already")
        frames = np.ascontiguousarray(frames)
        offset = self._append(frames)
        where, size = (0, 0) if original is None else self._append_envelope(seal(original, frames))
        if path in self._paths:
            self._rows = [row for row in self._rows if row[: len(_NAMES)] != path]
        self._rows.append((*path, len(self._shards) - 1, *frames.shape, offset, zlib.crc32(frames.data), size, where))
        self._paths.add(path)
        self._changed = True
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make what was written part of the store, to stay."""
        if not self._changed and (self.root / MANIFEST).exists():
            return
        for file in (self._frames, self._envelope_file):
            if file is not None:
                os.fsync(file.fileno())
        self._generation += 1
        codes = [Column.of(row[field] for row in self._rows) for field in range(len(_NAMES))]
        rows = np.zeros(len(self._rows), ROW)
        for field, column in zip(_NAMES, codes, strict=True):
            rows[field] = column.codes
        for place, field in enumerate(_NUMBERS, len(_NAMES)):
            rows[field] = [row[place] for row in self._rows]
        rows = rows[np.lexsort([rows[field] for field in reversed(_NAMES)])]
        names = {field: list(column.names) for field, column in zip(_NAMES, codes, strict=True)}
        write_index(
            self.root, rows, names, self._shards, self._envelopes, self._generation, self.source, self.shard_bytes
        )
        self._changed = False
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit, and let others write."""
        try:
            self.commit()
        finally:
            self._release()

    def _release(self) -> None:
        for file in (self._frames, self._envelope_file):
            if file is not None:
                file.close()
        self._lock.close()

    def _resume(self) -> None:
        store = PackedStore(self.root)
        columns = [Column(store.names[f], store.rows[f]).take(np.arange(len(store.rows))) for f in _NAMES]
        rest = [store.rows[f].tolist() for f in _NUMBERS]
        self._rows = list(zip(*columns, *rest, strict=True))
        self._paths = {row[: len(_NAMES)] for row in self._rows}
        self._shards = list(store.manifest["shards"])
        self._envelopes = store.manifest["envelopes"]
        self._generation = store.manifest["generation"]
        self.source = self.source or store.manifest["source"]

    def _open(self, name: str, size: int) -> FileIO:
        """Open a file to append behind what the manifest admits of it; what an interrupted writer left is cut off."""
        file = (self.root / name).open("ab", buffering=0)
        file.truncate(size)
        return file

    def _append(self, frames: np.ndarray) -> int:
        full = self._shards and self._shards[-1] + frames.nbytes > self.shard_bytes and self._shards[-1] > 0
        if not self._shards or full:
            if self._frames is not None:
                os.fsync(self._frames.fileno())
                self._frames.close()
                self._frames = None
            self._shards.append(0)
        if self._frames is None:
            self._frames = self._open(_shard(len(self._shards) - 1), self._shards[-1])
        offset = self._shards[-1]
        _append_to(self._frames, frames.data.cast("B"), offset)
        self._shards[-1] += frames.nbytes
        return offset

    def _append_envelope(self, envelope: bytes) -> tuple[int, int]:
        # Pickles of as many frames have the same envelope: a dataset has a few hundred different ones.
        key = hashlib.sha256(envelope).digest()
        if key not in self._sealed:
            _append_to(self._envelope_file, memoryview(envelope), self._envelopes)
            self._sealed[key] = (self._envelopes, len(envelope))
            self._envelopes += len(envelope)
        return self._sealed[key]


def _append_to(file: FileIO, data: memoryview, end: int) -> None:
    """Append all of some bytes to a file that ends at `end`, or none of them."""
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        file.truncate(end)
        raise


def check_name(name: str, label: str) -> None:
    """Refuse what is no plain name of a file or folder, and so could lead out of a folder.

    Raises:
        UserError: it is none.
    """
    if not name or name in (".", "..") or any(c in "/\\\0" for c in name) or not name.isprintable():
        raise UserError(f"{label}: {name!r} cannot be the name of a file or folder")


def write_index(
    root: Path,
    rows: np.ndarray,
    names: dict[str, list[str]],
    shards: list[int],
    envelopes: int,
    generation: int,
    source: str,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write index, names and manifest of a store, the manifest last; then delete the index that it replaces."""
    index, listed = f"index-{generation}.npy", f"names-{generation}.json"
    with _replacing(root / index) as file:
        np.save(file, rows, allow_pickle=False)
    with _replacing(root / listed) as file:
        file.write(json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode())
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
        "envelopes": envelopes,
        "checksums": {name: zlib.crc32((root / name).read_bytes()) for name in (index, listed)},
    }
    with _replacing(root / MANIFEST) as file:
        file.write((json.dumps(manifest, indent=1) + "\n").encode())
    for old in [*root.glob("index-*.npy"), *root.glob("names-*.json")]:
        if old.name not in (index, listed):
            old.unlink(missing_ok=True)


def _fingerprint(rows: np.ndarray, names: Path) -> str:
    """Hash what is in a store, wherever in its files it lies."""
    digest = hashlib.sha256(names.read_bytes())
    for field in (*_NAMES, "frames", "height", "width", "checksum"):
        digest.update(rows[field].tobytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file under another name, bring it to the disk, and put it in place in one step."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lock(root: Path) -> BinaryIO:
    """Take the folder for one writer; the system lets go of it when the process ends, however it ends."""
    file = (root / ".lock").open("wb")
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
    except OSError:
        return False
    return True


def is_store(root: str | Path) -> bool:
    """Tell whether a folder says of itself that it is a packed store."""
    return (Path(root) / MANIFEST).is_file()


_MANIFEST_TYPES: dict[str, type] = {
    "generation": int,
    "files": int,
    "frames": int,
    "geometries": list,
    "fingerprint": str,
    "source": str,
    "shards": list,
    "envelopes": int,
    "checksums": dict,
}


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}; is {root} a store of `dygait pack`?") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(root, f"{MANIFEST} is no JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(root, f"{MANIFEST} does not describe a store")
    if manifest.get("version") != VERSION:
        raise UserError(f"{root} is a store of version {manifest.get('version')!r}, this program reads {VERSION}")
    for key, kind in _MANIFEST_TYPES.items():
        if not isinstance(manifest.get(key), kind) or (kind is int and manifest[key] < 0):
            raise _damaged(root, f"{MANIFEST} has no usable {key}")
    if not all(isinstance(size, int) and size >= 0 for size in manifest["shards"]):
        raise _damaged(root, f"{MANIFEST} has no usable shards")
    return manifest


def _read_index(root: Path, manifest: dict[str, Any]) -> tuple[np.ndarray, dict[str, list[str]]]:
    generation = manifest["generation"]
    index, listed = f"index-{generation}.npy", f"names-{generation}.json"
    for name in (index, listed):
        try:
            checksum = _checksum(root / name)
        except OSError as error:
            raise _damaged(root, f"{name} cannot be read: {error}") from None
        if checksum != manifest["checksums"].get(name):
            raise _damaged(root, f"{name} does not have the checksum of what was written")
    try:
        rows = np.load(root / index, mmap_mode="r" if manifest["files"] else None, allow_pickle=False)
        names = json.loads((root / listed).read_bytes())
    except (OSError, ValueError, EOFError, RecursionError, MemoryError, OverflowError) as error:
        raise _damaged(root, str(error)) from None
    if rows.dtype != ROW or rows.ndim != 1 or len(rows) != manifest["files"]:
        raise _damaged(root, f"{index} does not have {manifest['files']} rows of the known form")
    if not isinstance(names, dict) or any(
        not isinstance(names.get(f), list) or not all(isinstance(n, str) for n in names[f]) for f in _NAMES
    ):
        raise _damaged(root, f"{listed} does not list names")
    for field in _NAMES:
        if len(rows) and int(rows[field].max()) >= len(names[field]):
            raise _damaged(root, f"{index} numbers a name that {listed} does not have")
    _check_bounds(root, manifest, rows)
    return rows, names


def _check_bounds(root: Path, manifest: dict[str, Any], rows: np.ndarray) -> None:
    """Every row must lie within its files, and the files must be as long as the manifest says."""
    shards = np.array(manifest["shards"], np.float64)
    for name, size in [
        *((_shard(n), s) for n, s in enumerate(manifest["shards"])),
        (_ENVELOPES, manifest["envelopes"]),
    ]:
        try:
            found = (root / name).stat().st_size
        except OSError as error:
            raise _damaged(root, f"{name} cannot be read: {error}") from None
        if found < size:
            raise _damaged(root, f"{name} is cut off: {found} bytes of {size}")
    if not len(rows):
        return
    # In floating point nothing overflows, and no file is so long that it matters.
    count, height, width = (rows[f].astype(np.float64) for f in ("frames", "height", "width"))
    if min(count.min(), height.min(), width.min()) < 1 or int(rows["shard"].max()) >= len(shards):
        raise _damaged(root, "the index has a row without frames or without a file")
    beyond = rows["offset"].astype(np.float64) + count * height * width > shards[rows["shard"]]
    outside = rows["envelope"].astype(np.float64) + rows["envelope_size"] > manifest["envelopes"]
    if beyond.any() or outside.any():
        raise _damaged(root, "the index points beyond the end of a file")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _damaged(root: Path, what: str) -> UserError:
    return UserError(f"the store {root} is damaged: {what}; make it again with `dygait pack`, or take a copy")
