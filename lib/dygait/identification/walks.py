"""The walks of a source: stored sequences of silhouettes, or the tracks of a video."""

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
    """A sequence of one walking person.

    Attributes:
        label: `<id>/<type>/<view>`, or the number of the track.
        frames: uint8 (S, H, W), normalised silhouettes.
        person: the id; empty if the source has none.
        track: the track of a video; None for stored silhouettes.
    """

    label: str
    frames: np.ndarray
    person: str = ""
    track: Track | None = None

    @property
    def title(self) -> str:
        """The label as it is shown to the user."""
        return self.label if self.track is None else f"track {self.label}"

    @property
    def span(self) -> tuple[float, float] | None:
        """The times of the first and the last frame in a video, in seconds; None for stored silhouettes."""
        if self.track is None:
            return None
        return float(self.track.times[0]), float(self.track.times[-1])

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the silhouettes should not be trusted."""
        return () if self.track is None else self.track.problems

    def reduced(self) -> Walk:
        """Return the walk with only the few frames that the page shows, so that many walks fit into memory."""
        track = self.track and replace(self.track, frames=self.track.frames[:0])
        return replace(self, frames=middle_frames(self.frames) if len(self.frames) else self.frames, track=track)


def holds_silhouettes(source: str) -> bool:
    """Return whether a source holds silhouettes, as a dataset or pickles, rather than pictures to segment."""
    path = Path(source)
    return _is_store(source) or path.suffix == ".pkl" or any(path.rglob("*.pkl"))


def _is_store(source: str) -> bool:
    return is_address(source) or Path(source, MANIFEST).is_file()


def walks_of(source: str, pattern: str = "*") -> Iterator[Walk]:
    """Yield the walks of a source that holds silhouettes.

    Args:
        source: a packed store, an address of SynGait, a folder with pickles at any depth, or a pickle.
        pattern: a shell pattern that the labels must match.

    Raises:
        UserError: the source cannot be read, or nothing matches the pattern.
    """
    is_empty = True
    for walk in _walks_of_store(source, pattern) if _is_store(source) else _walks_of_pickles(Path(source), pattern):
        is_empty = False
        yield walk
    if is_empty:
        raise UserError(f"{source}: there is no walk that matches {pattern!r}; `dygait info` lists types and views")


def _walks_of_store(source: str, pattern: str) -> Iterator[Walk]:
    store = open_store(source)
    for index in range(len(store.table)):
        key = store.table.key(index)
        if fnmatchcase("/".join(key), pattern):
            yield Walk("/".join(key), np.asarray(store.read(index)), key[0])


def _walks_of_pickles(path: Path, pattern: str) -> Iterator[Walk]:
    if not path.is_dir():
        yield Walk(path.stem, read_pickle(path))
        return
    for folder in sorted({file.parent for file in path.rglob("*.pkl")}):
        label = folder.relative_to(path).as_posix()
        if fnmatchcase(label, pattern):
            parts = label.split("/")
            frames = read_pickle(min(folder.glob("*.pkl")))  # the first file holds the silhouettes, as in a dataset
            yield Walk(label, frames, parts[0] if len(parts) == 3 else "")
