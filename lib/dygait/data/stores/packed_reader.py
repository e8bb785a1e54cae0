"""Reading packed stores, see `packed_format`."""

from __future__ import annotations

import hashlib
import math
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from dygait import untrusted
from dygait.data.sequences import Column, SequenceTable, check_name
from dygait.data.stores.base import Store
from dygait.data.stores.packed_format import FORMAT, MANIFEST, NAMES, ROWS, Manifest, shard_name
from dygait.errors import UserError


class PackedStore(Store):
    """A packed store, open for reading: a `Store` that reads only the frames in use.

    Raises:
        UserError: the folder is no store, has another version, or is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.manifest = _read_manifest(self.root)
        self.rows, self.names = _read_index(self.root, self.manifest)
        self.fingerprint = self.manifest.fingerprint
        is_first = np.ones(len(self.rows), bool)
        is_first[1:] = np.any([self.rows[field][1:] != self.rows[field][:-1] for field in NAMES[:3]], axis=0)
        self._first = np.flatnonzero(is_first)  # the first row of each sequence
        self._last = np.append(self._first[1:], len(self.rows))
        self.table = SequenceTable(*(Column(self.names[f], self.rows[f][self._first]) for f in NAMES[:3]))
        self._maps: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type[PackedStore], tuple[Path]]:
        return PackedStore, (self.root,)  # loader workers reopen the store, and share its memory pages

    def state(self) -> str:
        """Return a hash of the fingerprint, and of the modification times of the files of frames."""
        shards = [(self.root / shard_name(int(n))).stat() for n in np.unique(self.rows["shard"])]
        state = repr((self.fingerprint, [(s.st_size, s.st_mtime_ns) for s in shards]))
        return hashlib.sha256(state.encode()).hexdigest()[:16]

    def num_files(self, index: int) -> int:
        return int(self._last[index] - self._first[index])

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return the frames of a file, memory-mapped."""
        row = self.rows[self._first[index] + file]
        start, shard = int(row["offset"]), int(row["shard"])
        shape = [int(n) for n in _shape(row) if n]
        if shard not in self._maps:
            path = self.root / shard_name(shard)
            try:
                self._maps[shard] = np.memmap(path, np.uint8, "r").view(np.ndarray)
            except (OSError, ValueError) as error:
                raise UserError(f"{path} cannot be mapped: {error}") from None
        return self._maps[shard][start : start + math.prod(shape)].reshape(shape)

    def verify(self, index: int, file: int = 0) -> int:
        """Verify the checksum of the frames of a file, and return their number."""
        frames = self.read(index, file)
        if zlib.crc32(frames.data) != int(self.rows[self._first[index] + file]["checksum"]):
            raise UserError(f"{self.location(index, file)} is damaged: the checksum of its frames differs")
        return len(frames)

    def location(self, index: int, file: int = 0) -> str:
        return f"{self.root}: " + "/".join(self.path(index, file))

    def path(self, index: int, file: int = 0) -> tuple[str, ...]:
        """Return (id, type, view, file name) of a file."""
        row = self.rows[self._first[index] + file]
        return tuple(self.names[field][int(row[field])] for field in NAMES)

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        return self.rows["frames"][self._rows_of(indices, file)].astype(np.int64)

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        rows = self._rows_of(indices, file)
        sizes = np.stack([self.rows["height"][rows], self.rows["width"][rows]], 1)
        distinct, first = np.unique(sizes, axis=0, return_index=True)
        return {(h, w): int(indices[i]) for (h, w), i in zip(distinct.tolist(), first.tolist(), strict=True)}

    def _rows_of(self, indices: np.ndarray, file: int) -> np.ndarray:
        return np.minimum(self._first[indices] + file, self._last[indices] - 1)


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST
    try:
        content = untrusted.parse_json(untrusted.read_bytes(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}; is {root} a store of `dygait pack`?") from None
    except ValueError as error:
        raise _damaged(root, f"{MANIFEST} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(root, f"{MANIFEST} does not describe a store")
    if content.get("version") not in [*ROWS]:
        supported = " and ".join(map(str, ROWS))
        raise UserError(f"{root} is a store of version {content.get('version')!r}, this program reads {supported}")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise _damaged(root, f"{MANIFEST} has no usable {error.errors()[0]['loc'][0]}") from None


def _read_index(root: Path, manifest: Manifest) -> tuple[np.ndarray, dict[str, list[str]]]:
    index_file, names_file = manifest.file_names()
    for name in (index_file, names_file):
        try:
            checksum = zlib.crc32((root / name).read_bytes())
        except OSError as error:
            raise _damaged(root, f"{name} cannot be read: {error}") from None
        if checksum != manifest.checksums.get(name):
            raise _damaged(root, f"{name} has another checksum")
    try:
        rows = np.load(root / index_file, mmap_mode="r" if manifest.files else None, allow_pickle=False)
        names = untrusted.parse_json(untrusted.read_bytes(root / names_file))
    except Exception as error:  # a damaged header can raise anything
        raise _damaged(root, str(error) or type(error).__name__) from None
    if rows.dtype != ROWS[manifest.version] or rows.shape != (manifest.files,):
        raise _damaged(root, f"{index_file} does not have {manifest.files} rows of the known type")
    for field in NAMES:
        field_names = names.get(field) if isinstance(names, dict) else None
        if not isinstance(field_names, list):
            raise _damaged(root, f"{names_file} does not list names")
        for name in field_names:
            check_name(name, str(root / names_file))
        if any(a >= b for a, b in pairwise(field_names)):
            raise _damaged(root, f"{names_file} lists names that are not sorted, or twice")
        if len(rows) and int(rows[field].max()) >= len(field_names):
            raise _damaged(root, f"{index_file} refers to a name that {names_file} does not have")
    if not _is_sorted(rows):
        raise _damaged(root, f"{index_file} has rows that are not sorted, or twice")
    _check_bounds(root, manifest.shards, rows)
    return rows, names


def _is_sorted(rows: np.ndarray) -> bool:
    """Return whether the rows are sorted and unique."""
    greater = np.zeros(max(0, len(rows) - 1), bool)
    for field in reversed(NAMES):
        a, b = rows[field][:-1], rows[field][1:]
        greater = (b > a) | ((b == a) & greater)
    return bool(greater.all())


def _shape(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return frames, channels (0 for frames (H, W)), height and width of one row or of several."""
    channels = rows["channels"] if "channels" in (rows.dtype.names or ()) else np.zeros_like(rows["frames"])
    return rows["frames"], channels, rows["height"], rows["width"]


def _check_bounds(root: Path, sizes: list[int], rows: np.ndarray) -> None:
    """Check that files have at least the sizes in the manifest, and that every row is inside its file."""
    for number, expected in enumerate(sizes):
        name = shard_name(number)
        try:
            size = (root / name).stat().st_size
        except OSError as error:
            raise _damaged(root, f"{name} cannot be read: {error}") from None
        if size < expected:
            raise _damaged(root, f"{name} is truncated: {size} bytes of {expected}")
    if not len(rows):
        return
    # Floating point does not overflow, and is exact for all file sizes.
    count, channels, height, width = (column.astype(np.float64) for column in _shape(rows))
    if min(count.min(), height.min(), width.min()) < 1 or int(rows["shard"].max()) >= len(sizes):
        raise _damaged(root, "the index has a row without frames or without a file")
    row_bytes = count * np.maximum(channels, 1) * height * width
    if (rows["offset"].astype(np.float64) + row_bytes > np.array(sizes, float)[rows["shard"]]).any():
        raise _damaged(root, "the index points beyond the end of a file")


def _damaged(root: Path, damage: str) -> UserError:
    return UserError(f"the store {root} is damaged: {damage}; create it again with `dygait pack`, or restore a copy")
