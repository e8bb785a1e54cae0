"""The index of a dataset: which sequences are on disk, found once and kept in a cache file until the tree changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dygait.errors import UserError

_CACHE_NAME = ".dygait_index.json"
_CACHE_FORMAT = 1


@dataclass(frozen=True)
class Sequence:
    """One walk of one person, seen by one camera.

    Attributes:
        id: who walks.
        type: how: `nm-01`, `bg-02`; a session; a camera.
        view: from where, or the last folder's name, whatever it means in the dataset.
        files: the pickles, sorted by name, one per modality.
        sizes: their sizes in bytes: a measure of length that costs no reading.
    """

    id: str
    type: str
    view: str
    files: tuple[str, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class SequenceIndex:
    """Every sequence below a folder, sorted by id, type and view.

    Attributes:
        root: the folder.
        sequences: what was found.
        empty: how many sequence folders hold no pickle.
        fingerprint: a hash of names and sizes: two runs with the same one saw the same files.
    """

    root: Path
    sequences: tuple[Sequence, ...]
    empty: int
    fingerprint: str

    def ids(self) -> list[str]:
        """Return the ids on disk, sorted."""
        return sorted({s.id for s in self.sequences})

    def of(self, ids: set[str]) -> list[Sequence]:
        """Return the sequences of some ids, in order."""
        return [s for s in self.sequences if s.id in ids]


def _folders(path: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        yield from sorted((e for e in entries if e.is_dir() and not e.name.startswith(".")), key=lambda e: e.name)


def _stamp(path: str) -> int:
    return os.stat(path).st_mtime_ns  # noqa: PTH116 - tens of thousands of calls: Path objects would double the time


def _scan(root: Path) -> dict[str, Any]:
    """Walk the tree; the result is what the cache file holds."""
    stamps: dict[str, int] = {}
    rows: list[list[Any]] = []
    for person in _folders(str(root)):
        stamps[person.name] = _stamp(person.path)
        for kind in _folders(person.path):
            stamps[f"{person.name}/{kind.name}"] = _stamp(kind.path)
            for view in _folders(kind.path):
                stamps[f"{person.name}/{kind.name}/{view.name}"] = _stamp(view.path)
                with os.scandir(view.path) as entries:
                    files = sorted((e for e in entries if e.name.endswith(".pkl")), key=lambda e: e.name)
                    found = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in files]
                rows.append([person.name, kind.name, view.name, [list(f) for f in found]])
    return {"format": _CACHE_FORMAT, "root": str(root), "stamps": stamps, "rows": rows}


def _is_current(root: Path, cached: dict[str, Any]) -> bool:
    """Tell whether the tree still is what the cache file says, by time stamps alone."""
    try:
        if cached["format"] != _CACHE_FORMAT or cached["root"] != str(root):
            return False
        if [e.name for e in _folders(str(root))] != [name for name in cached["stamps"] if "/" not in name]:
            return False
        if any(_stamp(f"{root}/{name}") != stamp for name, stamp in cached["stamps"].items()):
            return False
        for person, kind, view, files in cached["rows"]:
            for name, size, stamp in files:
                state = os.stat(f"{root}/{person}/{kind}/{view}/{name}")  # noqa: PTH116 - as in _stamp
                if (state.st_size, state.st_mtime_ns) != (size, stamp):
                    return False
    except (KeyError, TypeError, ValueError, OSError):
        return False
    return True


def _cache_places(root: Path) -> list[Path]:
    """Return where the cache file may be: in the folder itself, or, where that is read-only, in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [root / _CACHE_NAME, home / "dygait" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"]


def _read_cache(root: Path) -> dict[str, Any] | None:
    for place in _cache_places(root):
        try:
            cached = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(cached, dict) and _is_current(root, cached):
            return cached
    return None


def _write_cache(root: Path, content: dict[str, Any]) -> None:
    for place in _cache_places(root):
        temporary = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
            temporary.replace(place)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            continue
        return


def load_index(root: str | Path) -> SequenceIndex:
    """Index the folder `<id>/<type>/<view>/<name>.pkl`, from its cache file where that still holds.

    Raises:
        UserError: there is no such folder, or no sequence in it.
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
    sequences = []
    digest = hashlib.sha256()
    for person, kind, view, files in content["rows"]:
        digest.update(json.dumps([person, kind, view, [[name, size] for name, size, _ in files]]).encode())
        if files:
            paths = tuple(str(folder / person / kind / view / name) for name, _, _ in files)
            sequences.append(Sequence(person, kind, view, paths, tuple(size for _, size, _ in files)))
    if not sequences:
        raise UserError(f"data_cfg.dataset_root: {root} holds no sequence <id>/<type>/<view>/<name>.pkl")
    empty = len(content["rows"]) - len(sequences)
    return SequenceIndex(folder, tuple(sequences), empty, digest.hexdigest()[:16])
