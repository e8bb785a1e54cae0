"""The walks of a source: sequences that are silhouettes already, or the tracks of a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from dygait.data.stores import MANIFEST, open_store, read_pickle
from dygait.errors import UserError
from dygait.reporting.reported_run import middle_frames
from dygait.synthetic.settings import is_address
from dygait.video import Track


@dataclass(frozen=True)
class Walk:
    """One person who walks.

    Attributes:
        label: `<id>/<type>/<view>`, or the number of the track.
        frames: uint8 (S, H, W), normalised silhouettes.
        person: the id, where the source has ids; else empty.
        track: of a video; None for silhouettes.
    """

    label: str
    frames: np.ndarray
    person: str = ""
    track: Track | None = None

    @property
    def title(self) -> str:
        """The label in words."""
        return self.label if self.track is None else f"track {self.label}"

    @property
    def span(self) -> tuple[float, float] | None:
        """The seconds of a video from the first to the last frame; None for silhouettes, which have no times."""
        if self.track is None:
            return None
        return float(self.track.times[0]), float(self.track.times[-1])

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the silhouettes should not be trusted."""
        return () if self.track is None else self.track.problems

    def reduced(self) -> Walk:
        """Return the walk with the few frames that pictures show, so that many walks stay in memory."""
        track = self.track and replace(self.track, frames=self.track.frames[:0])
        return replace(self, frames=middle_frames(self.frames) if len(self.frames) else self.frames, track=track)


def holds_silhouettes(source: str) -> bool:
    """Return whether a source is a dataset, or a pickle or folder of silhouettes, rather than something to segment."""
    path = Path(source)
    return _is_store(source) or path.suffix == ".pkl" or any(path.rglob("*.pkl"))


def _is_store(source: str) -> bool:
    return is_address(source) or Path(source, MANIFEST).is_file()


def walks_of(source: str, pattern: str = "*") -> Iterator[Walk]:
    """Yield the walks of a source that holds silhouettes, one after the other.

    Args:
        source: a packed store, an address of SynGait, a folder with pickles at any depth, or a pickle.
        pattern: a shell pattern of the labels of those that are wanted.

    Raises:
        UserError: the source cannot be read, or nothing matches the pattern.
    """
    found = False
    for walk in _stored(source, pattern) if _is_store(source) else _pickled(Path(source), pattern):
        found = True
        yield walk
    if not found:
        raise UserError(f"{source}: there is no walk that matches {pattern!r}; `dygait info` lists types and views")


def _stored(source: str, pattern: str) -> Iterator[Walk]:
    store = open_store(source)
    for index in range(len(store.table)):
        key = store.table.key(index)
        if fnmatchcase("/".join(key), pattern):
            yield Walk("/".join(key), np.asarray(store.read(index)), key[0])


def _pickled(path: Path, pattern: str) -> Iterator[Walk]:
    if not path.is_dir():
        yield Walk(path.stem, read_pickle(path))
        return
    for folder in sorted({file.parent for file in path.rglob("*.pkl")}):
        label = folder.relative_to(path).as_posix()
        if fnmatchcase(label, pattern):
            parts = label.split("/")
            frames = read_pickle(min(folder.glob("*.pkl")))  # the first file is the silhouettes', as in a dataset
            yield Walk(label, frames, parts[0] if len(parts) == 3 else "")
