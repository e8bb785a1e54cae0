"""Trees of pickles, `<id>/<type>/<view>/<name>.pkl`, with one array of silhouettes per file."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dygait import untrusted
from dygait.data.sequences import SequenceTable, check_name
from dygait.data.stores.base import Store, frames_problem
from dygait.data.stores.unpickling import load_arrays
from dygait.errors import UserError
from dygait.files import replacing

_MAX_PICKLE_BYTES = 2**31
"""Eight minutes of frames of 512x512."""


def read_pickle(path: str | Path) -> np.ndarray:
    """Read the frames of one sequence, as `Store.read` returns them, without executing code of the pickle.

    The pickle contains the array, or a list of S arrays (H, W) or (C, H, W).

    Raises:
        UserError: the file is missing, damaged, contains something else, or calls a function that is not allowed.
    """
    try:
        content = untrusted.read_bytes(path, _MAX_PICKLE_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist any more; run again to list the folder again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return parse_pickle(content, path)


def parse_pickle(content: bytes, path: str | Path) -> np.ndarray:
    """Return the frames of a pickle, as `read_pickle`; `path` is for error messages."""
    try:
        frames = load_arrays(content)
    except Exception as error:  # a damaged stream can raise anything
        reason = str(error)
        if len(reason) > 200 or not reason.isprintable():  # it may contain bytes of the file
            reason = ascii(reason[:200])
        raise UserError(f"{path} cannot be loaded: {reason}; it must be a pickled uint8 array (S, H, W)") from None
    if problem := frames_problem(frames):
        raise UserError(f"{path} contains {problem}")
    return frames[:, 0] if frames.shape[1:-2] == (1,) else frames


def write_pickle(path: Path, frames: np.ndarray) -> None:
    """Write one sequence atomically (an `OSError` leaves no partial file), in protocol 4, which OpenGait reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, exclusive=True) as file:
        pickle.dump(np.ascontiguousarray(frames), file, protocol=4)


class PickleTreeWriter:
    """Writes the layout `<root>/<id>/<type>/<view>/<name>`, which OpenGait reads; by default, a name is `<view>.pkl`.

    The folder is not synced: the newest files may be lost in a power failure.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def contains(self, id: str, type: str, view: str, name: str | None = None) -> bool:
        """Return whether a file of a sequence has been written."""
        return self._path(id, type, view, name).is_file()

    def write(self, id: str, type: str, view: str, frames: np.ndarray, name: str | None = None) -> None:
        """Write a file of a sequence, with frames as `Store.read` returns them, atomically, even if it exists.

        Raises:
            UserError: a name is invalid.
            OSError: the file cannot be written; there is no partial file.
        """
        path = self._path(id, type, view, name)
        for part in (id, type, view, path.name):
            check_name(part, str(path))
        write_pickle(path, frames)

    def close(self) -> None:
        """Do nothing: every file is complete."""

    def _path(self, id: str, type: str, view: str, name: str | None) -> Path:
        return self._root / id / type / view / (name or f"{view}.pkl")


class PickleTree(Store):
    """A tree of pickles: a `Store` that reads a whole pickle to use some of its frames.

    Attributes:
        names: the files of each sequence, sorted by name.
        file_sizes: their sizes in bytes.

    Raises:
        UserError: the folder does not exist, or contains no sequence.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise UserError(
                f"data_cfg.dataset_root: no such folder: {root}; see datasets/README.md for how to prepare the data"
            )
        folders = list(_scan(self.root))
        sequences = [folder for folder in folders if folder[3]]
        if not sequences:
            raise UserError(f"data_cfg.dataset_root: {root} contains no sequence <id>/<type>/<view>/<name>.pkl")
        self.table = SequenceTable.from_keys([(subject, kind, view) for subject, kind, view, _ in sequences])
        self.empty = len(folders) - len(sequences)
        self.names = [tuple(name for name, _, _ in files) for *_, files in sequences]
        self.file_sizes = [tuple(size for _, size, _ in files) for *_, files in sequences]
        digest = hashlib.sha256()  # of names and sizes
        for subject, kind, view, files in folders:
            digest.update(json.dumps([subject, kind, view, [[name, size] for name, size, _ in files]]).encode())
        self.fingerprint = digest.hexdigest()[:16]
        self._state = hashlib.sha256(json.dumps(folders).encode()).hexdigest()[:16]

    def state(self) -> str:
        """Return a hash of names, sizes and modification times."""
        return self._state

    def num_files(self, index: int) -> int:
        return len(self.names[index])

    def read(self, index: int, file: int = 0) -> np.ndarray:
        return read_pickle(self.location(index, file))

    def location(self, index: int, file: int = 0) -> str:
        return "/".join((str(self.root), *self.table.key(index), self.names[index][file]))

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        if not len(indices):
            return np.empty(0, np.int64)
        files = [min(file, self.num_files(index) - 1) for index in indices.tolist()]
        sizes = np.array([self.file_sizes[i][f] for i, f in zip(indices.tolist(), files, strict=True)], np.int64)
        first = self.read(int(indices[0]), files[0])
        frame_bytes, overhead = first[0].size, sizes[0] - first.size
        return np.maximum(1, np.rint((sizes - overhead) / frame_bytes)).astype(np.int64)

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        height, width = self.read(int(indices[0]), file).shape[-2:]
        return {(height, width): int(indices[0])}


def _scan(root: Path) -> Iterator[tuple[str, str, str, list[Any]]]:
    """Yield id, type, view and the files of each sequence folder, sorted; a file is (name, size, modification time)."""
    for subject in _folders(str(root)):
        for kind in _folders(subject.path):
            for view in _folders(kind.path):
                with os.scandir(view.path) as entries:
                    pickles = sorted((e for e in entries if e.name.endswith(".pkl")), key=lambda e: e.name)
                    files = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in pickles]
                yield subject.name, kind.name, view.name, files


def _folders(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted((e for e in entries if e.is_dir() and not e.name.startswith(".")), key=lambda e: e.name)
