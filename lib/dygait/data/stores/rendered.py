"""SynGait without files: a store that renders its sequences when they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dygait.data.sequences import Column, SequenceTable
from dygait.data.stores.base import Store
from dygait.synthetic.key_points import render_heat_maps
from dygait.synthetic.settings import VERSION, Settings, parse_address
from dygait.synthetic.walker import FRAME, draw_walk, render_frames, walk


class RenderedFrames:
    """The frames of one sequence, uint8 (S, 64, 64), or heat maps (S, 2, 64, 64), which are rendered when indexed.

    The index, a slice or an integer array, selects the frames of the returned array.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, settings: Settings, subject: int, kind: str, view: str, heatmaps: bool = False) -> None:
        self._sequence = (settings, subject, kind, view)
        self._figure = walk(settings, subject, kind)
        self._render = render_heat_maps if heatmaps else render_frames
        self.shape = (len(self._figure.centres), *((2,) if heatmaps else ()), FRAME, FRAME)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        distinct, positions = np.unique(np.arange(len(self))[index], return_inverse=True)
        return self._render(*self._sequence, self._figure, distinct.tolist())[positions]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class RenderedStore(Store):
    """A `Store` of SynGait, named by its address: every sequence is a pure function of (settings, id, type, view).

    Args:
        address: see :func:`dygait.synthetic.settings.parse_address`.

    Raises:
        UserError: the address is invalid.
    """

    has_files = False

    def __init__(self, address: str | Path) -> None:
        self.root = Path(address)
        self.settings = parse_address(str(address))
        self.fingerprint = hashlib.sha256(f"{VERSION} {self.settings.address}".encode()).hexdigest()[:16]
        ids = sorted(name for names in self.settings.partition().values() for name in names)
        types, views = sorted(self.settings.types), sorted(self.settings.views)
        shape = (len(ids), len(types), len(views))
        codes = np.indices(shape, np.uint32).reshape(3, -1)
        self.table = SequenceTable(*map(Column, (ids, types, views), codes))

    def state(self) -> str:
        return self.fingerprint

    def num_files(self, index: int) -> int:
        """Return 2 with heat maps, which are the first file, else 1."""
        return 1 + self.settings.heatmaps

    def read(self, index: int, file: int = 0) -> Any:
        """Return the frames of a sequence, which are rendered when indexed."""
        subject, kind, view = self.table.key(index)
        return RenderedFrames(self.settings, int(subject), kind, view, file < self.settings.heatmaps)

    def verify(self, index: int, file: int = 0) -> int:
        """Return the number of frames of a sequence, which cannot be damaged."""
        return int(self.lengths(np.array([index]))[0])

    def location(self, index: int, file: int = 0) -> str:
        return f"{self.settings.address}, {'/'.join(self.table.key(index))}"

    def lengths(self, indices: np.ndarray, file: int = 0) -> np.ndarray:
        # All views of a walk have the same length.
        views = len(self.settings.views)
        walks, positions = np.unique(indices // views, return_inverse=True)
        keys = [self.table.key(int(number) * views) for number in walks]
        counts = [len(draw_walk(self.settings, int(id_), kind).phase) for id_, kind, _ in keys]
        return np.array(counts, np.int64)[positions]

    def geometries(self, indices: np.ndarray, file: int = 0) -> dict[tuple[int, int], int]:
        return {(FRAME, FRAME): int(indices[0])} if len(indices) else {}
