"""The layout `<id>/<type>/<view>/<name>.pkl`: reading one pickle, and the index of a tree of them.

`read_pickle` does not execute code, see `unpickling`: anything but an array or a list of arrays raises `UserError`. The
index is kept in a cache file until the tree changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dygait import untrusted
from dygait.data.sequences import SequenceTable
from dygait.data.stores.packed_format import check_name
from dygait.data.stores.unpickling import load_arrays
from dygait.errors import UserError
from dygait.files import replacing, write_atomically


def read_pickle(path: str | Path) -> np.ndarray:
    """Read one sequence of silhouettes, without executing code of the pickle.

    Args:
        path: a pickle of a uint8 array (S, H, W), or of a list of S such arrays (H, W).

    Returns:
        uint8 (S, H, W), S at least 1; grey levels 0 to 255.

    Raises:
        UserError: the file is missing, damaged, contains something else, or calls a function that is not allowed.
    """
    try:
        content = untrusted.read_bytes(path, _MAX_PICKLE_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist any more; run again to rebuild the index of the folder") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return parse_pickle(content, path)


def write_pickle(path: Path, frames: np.ndarray) -> None:
    """Write one sequence of silhouettes atomically, in protocol 4, for compatibility with OpenGait.

    Raises:
        OSError: it could not be written; no partial file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, exclusive=True) as file:
        pickle.dump(np.ascontiguousarray(frames), file, protocol=4)


def parse_pickle(content: bytes, path: str | Path) -> np.ndarray:
    """Return the silhouettes of a pickle, as `read_pickle`; `path` is for error messages."""
    try:
        frames = load_arrays(content)
    except Exception as error:  # a damaged stream can raise anything
        reason = str(error)
        if len(reason) > 200 or not reason.isprintable():  # it may contain bytes of the file
            reason = ascii(reason[:200])
        raise UserError(f"{path} cannot be loaded: {reason}; it must be a pickled uint8 array (S, H, W)") from None
    if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
        raise UserError(f"{path} contains {frames.dtype} {frames.shape}; a uint8 array (S, H, W) with S >= 1 is needed")
    return frames


_MAX_PICKLE_BYTES = 2**31
"""Eight minutes of frames of 512x512."""

_CACHE_NAME = ".dygait_index.json"
_CACHE_FORMAT = 1
_MAX_CACHE_BYTES = 2**31


@dataclass(frozen=True, eq=False)
class PickleTree:
    """A folder of pickles: a `Store` that reads a whole pickle to use some of its frames.

    Attributes:
        root: the folder.
        table: the sequences with a file.
        empty: the number of sequence folders without a pickle.
        fingerprint: a hash of names and sizes.
        state: a hash of names, sizes and times.
        names: the files of each sequence, sorted by name.
        file_sizes: their sizes in bytes.
    """

    root: Path
    table: SequenceTable
    empty: int
    fingerprint: str
    state: str
    names: list[tuple[str, ...]]
    file_sizes: list[tuple[int, ...]]

    def num_files(self, index: int) -> int:
        """Return the number of pickles of a sequence."""
        return len(self.names[index])

    def read(self, index: int, file: int = 0) -> np.ndarray:
        """Return the frames of a pickle, uint8 (S, H, W); errors as `read_pickle`."""
        return read_pickle(self.location(index, file))

    def verify(self, index: int, file: int = 0) -> int:
        """Read a pickle and return its number of frames; errors as `read_pickle`."""
        return len(self.read(index, file))

    def location(self, index: int, file: int = 0) -> str:
        """Return a pickle's path."""
        return "/".join((str(self.root), *self.table.key(index), self.names[index][file]))

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        """Return the numbers of frames of some sequences, int64, from the sizes of their pickles.

        The first is read; it is an estimate for sequences of other frame sizes.
        """
        if not len(indices):
            return np.empty(0, np.int64)
        sizes = np.array([self.file_sizes[p][min(file, self.num_files(p) - 1)] for p in indices.tolist()], np.int64)
        first = self.read(int(indices[0]), min(file, self.num_files(int(indices[0])) - 1))
        frame, envelope = first[0].size, sizes[0] - first.size
        return np.maximum(1, np.rint((sizes - envelope) / frame)).astype(np.int64)

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        """Return the frame size (H, W) of the first of some sequences, and its index."""
        _, height, width = self.read(int(indices[0]), file).shape
        return {(height, width): int(indices[0])}


def _folders(path: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        yield from sorted((e for e in entries if e.is_dir() and not e.name.startswith(".")), key=lambda e: e.name)


def _stamp(path: str) -> int:
    return os.stat(path).st_mtime_ns  # noqa: PTH116 - tens of thousands of calls: Path objects would double the time


def _scan(root: Path) -> dict[str, Any]:
    """Scan the tree; the result is the content of the cache file."""
    stamps: dict[str, int] = {}
    rows: list[list[Any]] = []
    for subject in _folders(str(root)):
        stamps[subject.name] = _stamp(subject.path)
        for kind in _folders(subject.path):
            stamps[f"{subject.name}/{kind.name}"] = _stamp(kind.path)
            for view in _folders(kind.path):
                stamps[f"{subject.name}/{kind.name}/{view.name}"] = _stamp(view.path)
                with os.scandir(view.path) as entries:
                    files = sorted((e for e in entries if e.name.endswith(".pkl")), key=lambda e: e.name)
                    found = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in files]
                rows.append([subject.name, kind.name, view.name, [list(f) for f in found]])
    return {"format": _CACHE_FORMAT, "root": str(root), "stamps": stamps, "rows": rows}


def _is_current(root: Path, cached: dict[str, Any]) -> bool:
    """Return whether a cached scan is still valid, by time stamps."""
    try:
        if cached["format"] != _CACHE_FORMAT or cached["root"] != str(root):
            return False
        if [e.name for e in _folders(str(root))] != [name for name in cached["stamps"] if "/" not in name]:
            return False
        if any(_stamp(f"{root}/{name}") != stamp for name, stamp in cached["stamps"].items()):
            return False
        for subject, kind, view, files in cached["rows"]:
            for part in (subject, kind, view, *(name for name, _, _ in files)):
                check_name(part, "the cache")
            for name, size, stamp in files:
                state = os.stat(f"{root}/{subject}/{kind}/{view}/{name}")  # noqa: PTH116 - as in _stamp
                if (state.st_size, state.st_mtime_ns) != (size, stamp):
                    return False
    except (KeyError, TypeError, ValueError, AttributeError, OSError):  # ValueError: a UserError too
        return False
    return True


def _cache_paths(root: Path) -> list[Path]:
    """Return the possible paths of the cache file: in the folder, or, if it is read-only, in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [root / _CACHE_NAME, home / "dygait" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"]


def _read_cache(root: Path) -> dict[str, Any] | None:
    for path in _cache_paths(root):
        try:
            cached = untrusted.parse_json(untrusted.read_bytes(path, _MAX_CACHE_BYTES))
        except (OSError, ValueError):
            continue
        if isinstance(cached, dict) and _is_current(root, cached):
            return cached
    return None


def _write_cache(root: Path, content: dict[str, Any]) -> None:
    for path in _cache_paths(root):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(content, separators=(",", ":")))
            return


def load_tree(root: str | Path) -> PickleTree:
    """Index the folder `<id>/<type>/<view>/<name>.pkl`, from its cache file if that is valid.

    Raises:
        UserError: the folder does not exist, or contains no sequence.
    """
    folder = Path(root).resolve()
    if not folder.is_dir():
        raise UserError(
            f"data_cfg.dataset_root: no such folder: {root}; see datasets/README.md for how to prepare the data"
        )
    content = _read_cache(folder)
    if content is None:
        content = _scan(folder)
        _write_cache(folder, content)
    digest = hashlib.sha256()
    for subject, kind, view, files in content["rows"]:
        digest.update(json.dumps([subject, kind, view, [[name, size] for name, size, _ in files]]).encode())
    rows = [row for row in content["rows"] if row[3]]
    if not rows:
        raise UserError(f"data_cfg.dataset_root: {root} contains no sequence <id>/<type>/<view>/<name>.pkl")
    return PickleTree(
        folder,
        SequenceTable.from_keys([(subject, kind, view) for subject, kind, view, _ in rows]),
        len(content["rows"]) - len(rows),
        digest.hexdigest()[:16],
        hashlib.sha256(json.dumps(content["rows"]).encode()).hexdigest()[:16],
        [tuple(name for name, _, _ in files) for *_, files in rows],
        [tuple(size for _, size, _ in files) for *_, files in rows],
    )
