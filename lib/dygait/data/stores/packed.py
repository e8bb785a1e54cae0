"""Reading the packed store, see `packed_format`."""

from __future__ import annotations

import hashlib
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dygait import untrusted
from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores.packed_format import FORMAT, MANIFEST, NAMES, ROWS, check_name, shard_name
from dygait.errors import UserError


class PackedStore:
    """A packed store, open for reading: a `Store` that reads only the frames in use.

    Args:
        root: its folder.

    Raises:
        UserError: it is not a store, of another version, or damaged.
    """

    empty = 0

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.manifest = _read_manifest(self.root)
        self.rows, self.names = _read_index(self.root, self.manifest)
        self.fingerprint: str = self.manifest["fingerprint"]
        changed = np.ones(len(self.rows), bool)
        if len(self.rows):
            keys = [self.rows[field] for field in NAMES[:3]]
            changed[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
        self._first = np.flatnonzero(changed)  # the first row of each sequence
        self._last = np.append(self._first[1:], len(self.rows))
        self.table = SequenceTable(*(Column(self.names[f], self.rows[f][self._first]) for f in NAMES[:3]))
        self._maps: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # loader workers reopen it, and share the pages

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]

    @property
    def state(self) -> str:
        """A hash of the fingerprint, and of the modification times of the files of frames."""
        shards = [(self.root / shard_name(int(n))).stat() for n in np.unique(self.rows["shard"])]
        return hashlib.sha256(
            repr((self.fingerprint, [(s.st_size, s.st_mtime_ns) for s in shards])).encode()
        ).hexdigest()[:16]

    def num_files(self, index: int) -> int:
        """Return the number of files of a sequence."""
        return int(self._last[index] - self._first[index])

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return the frames of a file, uint8 (S, H, W), memory-mapped.

        Raises:
            UserError: the store's file cannot be mapped.
        """
        return self.frames(int(self._first[index]) + file)

    def verify(self, index: int, file: int = 0) -> int:
        """Verify the checksum of a file's frames, and return their number; errors as `check`."""
        row = int(self._first[index]) + file
        self.check(row)
        return int(self.rows[row]["frames"])

    def location(self, index: int, file: int = 0) -> str:
        """Return the name of a file for messages."""
        return self.label(int(self._first[index]) + file)

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64."""
        return self.rows["frames"][self._rows_of(indices, file)].astype(np.int64)

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return every frame size (H, W) of some sequences, with the index of the first that has it."""
        rows = self._rows_of(indices, file)
        sizes = np.stack([self.rows["height"][rows], self.rows["width"][rows]], 1)
        different, first = np.unique(sizes, axis=0, return_index=True)
        return {(h, w): int(indices[at]) for (h, w), at in zip(different.tolist(), first.tolist(), strict=True)}

    def frames(self, row: int) -> np.ndarray:
        """Return the frames of a row of the index, uint8 (S, H, W), mapped."""
        entry = self.rows[row]
        count, height, width = int(entry["frames"]), int(entry["height"]), int(entry["width"])
        start = int(entry["offset"])
        return self._map(int(entry["shard"]))[start : start + count * height * width].reshape(count, height, width)

    def label(self, row: int) -> str:
        """Return the name of a row of the index for messages."""
        return f"{self.root}: " + "/".join(self.path(row))

    def path(self, row: int) -> tuple[str, ...]:
        """Return (id, type, view, file name) of a row of the index."""
        entry = self.rows[row]
        return tuple(self.names[field][int(entry[field])] for field in NAMES)

    def check(self, row: int) -> None:
        """Verify the checksum of a row's frames.

        Raises:
            UserError: it differs.
        """
        if zlib.crc32(self.frames(row).data) != int(self.rows[row]["checksum"]):
            raise UserError(f"{self.label(row)} is damaged: the checksum of its frames differs")

    def _rows_of(self, indices: np.ndarray, file: int) -> np.ndarray:
        return np.minimum(self._first[indices] + file, self._last[indices] - 1)

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            try:
                self._maps[shard] = np.memmap(self.root / shard_name(shard), np.uint8, "r")
            except (OSError, ValueError) as error:
                raise UserError(f"{self.root / shard_name(shard)} cannot be mapped: {error}") from None
        return self._maps[shard].view(np.ndarray)


def is_store(root: str | Path) -> bool:
    """Return whether a folder is a packed store."""
    return (Path(root) / MANIFEST).is_file()


_MANIFEST_TYPES: dict[str, type] = {
    "generation": int,
    "files": int,
    "frames": int,
    "geometries": list,
    "fingerprint": str,
    "source": str,
    "shards": list,
    "checksums": dict,
}


_MAX_SIZE = 2**63
"""Upper bound of all sizes in a manifest."""


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    try:
        manifest = untrusted.parse_json(untrusted.read_bytes(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}; is {root} a store of `dygait pack`?") from None
    except ValueError as error:
        raise _damaged(root, f"{MANIFEST} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(root, f"{MANIFEST} does not describe a store")
    if manifest.get("version") not in [*ROWS]:
        readable = " and ".join(map(str, ROWS))
        raise UserError(f"{root} is a store of version {manifest.get('version')!r}, this program reads {readable}")
    for key, kind in _MANIFEST_TYPES.items():
        if type(manifest.get(key)) is not kind or (kind is int and not 0 <= manifest[key] <= _MAX_SIZE):
            raise _damaged(root, f"{MANIFEST} has no usable {key}")
    if not all(type(size) is int and 0 <= size <= _MAX_SIZE for size in manifest["shards"]):
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
            raise _damaged(root, f"{name} has another checksum")
    try:
        rows = np.load(root / index, mmap_mode="r" if manifest["files"] else None, allow_pickle=False)
        names = untrusted.parse_json(untrusted.read_bytes(root / listed))
    except Exception as error:  # a damaged header can raise anything
        raise _damaged(root, str(error) or type(error).__name__) from None
    if rows.dtype != ROWS[manifest["version"]] or rows.ndim != 1 or len(rows) != manifest["files"]:
        raise _damaged(root, f"{index} does not have {manifest['files']} rows of the known type")
    if not isinstance(names, dict) or any(
        not isinstance(names.get(f), list) or not all(isinstance(n, str) for n in names[f]) for f in NAMES
    ):
        raise _damaged(root, f"{listed} does not list names")
    for field in NAMES:
        for name in names[field]:
            check_name(name, str(root / listed))
        if any(a >= b for a, b in pairwise(names[field])):
            raise _damaged(root, f"{listed} lists names that are not sorted, or twice")
    for field in NAMES:
        if len(rows) and int(rows[field].max()) >= len(names[field]):
            raise _damaged(root, f"{index} refers to a name that {listed} does not have")
    if not _is_sorted(rows):
        raise _damaged(root, f"{index} has rows that are not sorted, or twice")
    _check_bounds(root, manifest, rows)
    return rows, names


def _is_sorted(rows: np.ndarray) -> bool:
    """Return whether the rows are sorted and unique."""
    greater = np.zeros(max(0, len(rows) - 1), bool)
    for field in reversed(NAMES):
        a, b = rows[field][:-1], rows[field][1:]
        greater = (b > a) | ((b == a) & greater)
    return bool(greater.all())


def _check_bounds(root: Path, manifest: dict[str, Any], rows: np.ndarray) -> None:
    """Check that every row lies within its file, and that files are as long as the manifest says."""
    shards = np.array(manifest["shards"], np.float64)
    for number, size in enumerate(manifest["shards"]):
        name = shard_name(number)
        try:
            found = (root / name).stat().st_size
        except OSError as error:
            raise _damaged(root, f"{name} cannot be read: {error}") from None
        if found < size:
            raise _damaged(root, f"{name} is truncated: {found} bytes of {size}")
    if not len(rows):
        return
    # Floating point does not overflow, and is exact for all sizes of files.
    count, height, width = (rows[f].astype(np.float64) for f in ("frames", "height", "width"))
    if min(count.min(), height.min(), width.min()) < 1 or int(rows["shard"].max()) >= len(shards):
        raise _damaged(root, "the index has a row without frames or without a file")
    beyond = rows["offset"].astype(np.float64) + count * height * width > shards[rows["shard"]]
    if beyond.any():
        raise _damaged(root, "the index points beyond the end of a file")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _damaged(root: Path, what: str) -> UserError:
    return UserError(f"the store {root} is damaged: {what}; create it again with `dygait pack`, or restore a copy")
