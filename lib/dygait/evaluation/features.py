"""Features on disk, as `dygait extract` and `dygait test` write them and `dygait evaluate` reads them.

A folder of two or three files: ``features.npy``, (N, C, P) float32 or float16; ``gei.npy``, (N, H, W) of the same type,
if gait energy images were requested; and ``sequences.json``: ids, types, views and lengths, the origin of the features,
and checksums. Arrays are memory-mapped, and reading the files runs no code. ``sequences.json`` is written last: a
folder without it is an interrupted extraction.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dygait.config.schema import PartitionLists
from dygait.errors import LocalError, UserError
from dygait.files import replacing, write_errors

_ARRAY = "features.npy"
_IMAGES = "gei.npy"
_NAMES = "sequences.json"
_FORMAT = "dygait-features"
_VERSION = 2
_COLUMNS = ("ids", "types", "views")
_CHUNK = 2**26

UNFINISHED = "unfinished"
"""The subfolder with the shards of an unfinished extraction."""


@dataclass(frozen=True)
class SavedFeatures:
    """Features with the names of their N sequences; arrays are memory-mapped copy-on-write."""

    features: np.ndarray  # (N, C, P) float32 or float16
    ids: list[str]  # subjects
    types: list[str]
    views: list[str]
    lengths: list[int]  # the number of frames used of each sequence
    origin: dict[str, Any] = field(default_factory=dict)  # checkpoint, configuration and more
    gei: np.ndarray | None = None  # (N, H, W) in 0..1, of the same type: gait energy images; None if not requested

    @property
    def lists(self) -> PartitionLists:
        """The lists of the partition, as `evaluate` takes them."""
        return PartitionLists(probes=self.origin.get("probes"), gallery=self.origin.get("gallery"))


class Rows(NamedTuple):
    """The features of some sequences."""

    indices: np.ndarray  # (n,) int64, indices into all sequences
    lengths: np.ndarray  # (n,) int64, numbers of frames used
    features: np.ndarray  # (n, C, P)
    gei: np.ndarray | None = None  # (n, H, W)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, by the names of their files."""
        return {_ARRAY: self.features, **({} if self.gei is None else {_IMAGES: self.gei})}

    def stored(self, half: bool) -> Rows:
        """Convert the rows to the stored type, float16 or float32; LocalError if a value exceeds its range."""
        dtype = np.float16 if half else np.float32
        if half and np.abs(self.features).max(initial=0) > np.finfo(np.float16).max:
            raise LocalError("the features have values above 65504, which float16 cannot represent: omit --half")
        gei = None if self.gei is None else self.gei.astype(dtype, copy=False)
        return self._replace(features=self.features.astype(dtype, copy=False), gei=gei)


def clear(folder: str | Path) -> Path:
    """Create a folder, or remove its features but not an unfinished extraction; UserError if it holds other files."""
    folder = Path(folder)
    check_folder(folder)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _NAMES).unlink(missing_ok=True)  # first: without it, the folder is not complete
        for path in folder.iterdir():
            if path.name != UNFINISHED:
                path.unlink()
    return folder


def remove_features(folder: Path) -> None:
    """Delete a folder of features, finished or not; UserError if it holds other files, or cannot be deleted."""
    clear(folder)
    with write_errors(folder):
        shutil.rmtree(folder)


def check_folder(folder: Path) -> None:
    """Raise a UserError unless a folder is missing, or holds features only."""
    names = {_ARRAY, _IMAGES, _NAMES, UNFINISHED}
    # An interrupted write leaves a file under its temporary name.
    if folder.exists() and (
        not folder.is_dir()
        or any(p.name not in names and p.name[1:].rpartition(".")[0] not in names for p in folder.iterdir())
    ):
        raise UserError(f"{folder} holds other files than features; choose another folder")


def assemble(
    folder: Path,
    columns: tuple[Sequence[str], Sequence[str], Sequence[str]],
    parts: Iterable[Rows],
    origin: Mapping[str, Any],
) -> Path:
    """Write the features of all sequences to a folder that `clear` returned, one part at a time, and return it.

    Columns are N ids, types and views; parts are disjoint, cover all sequences, and are as `Rows.stored` returns them;
    the origin holds plain values. UserError if the folder cannot be written.
    """
    count = len(columns[0])
    lengths, seen = np.zeros(count, np.int64), np.zeros(count, np.int64)
    files: dict[str, _RowFile] = {}
    with write_errors(folder):
        with contextlib.ExitStack() as opened:
            for part in parts:
                for name, rows in part.arrays.items():
                    if name not in files:
                        file = opened.enter_context(replacing(folder / name))
                        files[name] = _RowFile(file, (count, *rows.shape[1:]), rows.dtype)
                    files[name].write_rows(part.indices, rows)
                lengths[part.indices] = part.lengths
                seen[part.indices] += 1
            assert (seen == 1).all()
        checksums = {name: checksum_of_array(np.load(folder / name, mmap_mode="r")) for name in files}
        names = dict(zip(_COLUMNS, (list(map(str, column)) for column in columns), strict=True))
        _write_names(folder, {**names, "lengths": lengths.tolist(), "origin": origin}, checksums)
    return folder


def replace_origin(folder: Path, origin: Mapping[str, Any]) -> None:
    """Replace the origin of saved features; UserError if the folder cannot be written."""
    with write_errors(folder):
        names = json.loads((folder / _NAMES).read_bytes())
        content = {name: names[name] for name in (*_COLUMNS, "lengths")}
        _write_names(folder, {**content, "origin": origin}, names["checksums"])


def _write_names(folder: Path, content: dict[str, Any], checksums: Mapping[str, int]) -> None:
    content = json.loads(json.dumps(content))  # as it is read again: tuples become lists
    all_checksums = {**checksums, _NAMES: checksum_of_json(content)}
    names = {"format": _FORMAT, "version": _VERSION, "checksums": all_checksums, **content}
    with replacing(folder / _NAMES) as file:
        file.write(json.dumps(names).encode())


def load_features(folder: str | Path) -> SavedFeatures:
    """Load the features of a folder, and verify their checksums.

    Raises:
        UserError: the features are missing, incomplete, of another version, or damaged.
    """
    folder = Path(folder)
    if not (folder / _NAMES).is_file():
        was_started = any((folder / name).exists() for name in (_ARRAY, UNFINISHED))
        reason = "the extraction was interrupted" if was_started else "it has no features"
        raise UserError(f"{folder}: {reason}; run `dygait extract`")
    try:
        names = json.loads((folder / _NAMES).read_bytes())
        header = names["format"], names["version"]
    except Exception as error:  # a damaged file can raise anything
        raise _damaged(folder, error) from None
    if header != (_FORMAT, _VERSION):
        raise UserError(
            f"{folder} has format {header[0]!r}, version {header[1]!r}; this DyGait reads {_FORMAT} {_VERSION}; "
            "extract the features again"
        )
    try:
        checksums = names["checksums"]
        content = {name: names[name] for name in (*_COLUMNS, "lengths", "origin")}
        if checksum_of_json(content) != checksums[_NAMES]:
            raise ValueError(f"{_NAMES} does not match its checksum")
        if not {_ARRAY, _NAMES} <= checksums.keys() <= {_ARRAY, _IMAGES, _NAMES}:
            raise ValueError(f"{_NAMES} lists other files: {sorted(checksums)}")
        arrays = {n: np.load(folder / n, mmap_mode="c", allow_pickle=False) for n in checksums if n != _NAMES}
        features, gei = arrays[_ARRAY], arrays.get(_IMAGES)
        if features.ndim != 3 or features.dtype not in (np.float16, np.float32):
            raise ValueError(f"{_ARRAY} is {features.dtype} {features.shape}, not float (N, C, P)")
        if gei is not None and (gei.ndim != 3 or gei.dtype != features.dtype):
            raise ValueError(f"{_IMAGES} is {gei.dtype} {gei.shape}, not (N, H, W) of the dtype of the features")
        counts = [len(content[name]) for name in (*_COLUMNS, "lengths")]
        if {*counts, *map(len, arrays.values())} != {len(features)}:
            raise ValueError(f"{len(features)} features, but {counts} ids, types, views and lengths")
        for name, array in arrays.items():
            if checksum_of_array(array) != checksums[name]:
                raise ValueError(f"{name} does not match its checksum")
    except Exception as error:  # a damaged header can raise anything
        raise _damaged(folder, error) from None
    return SavedFeatures(features, **content, gei=gei)


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder} is damaged: {type(error).__name__}: {error}; extract the features again")


def checksum_of_json(content: Any) -> int:
    """Return the CRC-32 of plain values; the order of keys does not matter."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_of_array(array: np.ndarray) -> int:
    """Return the CRC-32 of an array's dtype, shape and values."""
    rows = max(1, _CHUNK // max(1, array[:1].nbytes))
    value = checksum_of_json([array.dtype.str, array.shape])
    for start in range(0, len(array), rows):
        value = zlib.crc32(np.ascontiguousarray(array[start : start + rows]).data, value)
    return value


class _RowFile:
    """An `.npy` file whose rows are written in any order.

    It is written, not memory-mapped: on a full disk a write raises an error, but writing to a map kills the process.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        self._first = file.tell()

    def write_rows(self, indices: np.ndarray, rows: np.ndarray) -> None:
        for index, row in zip(indices.tolist(), rows, strict=True):
            self._file.seek(self._first + index * row.nbytes)
            self._file.write(np.ascontiguousarray(row).data)
