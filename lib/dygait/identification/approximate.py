"""Approximate search for large galleries: faiss selects candidates, whose exact distances are then computed."""

from __future__ import annotations

import numpy as np
import torch

from dygait.errors import UserError
from dygait.identification.search import Candidate, ExactSearch

_COMPONENTS = 64
_TRAINING = 50_000  # gallery windows on which the index fits its principal components and cells
_PER_CELL = 39  # training windows per cell that faiss recommends
_PROBED = 16  # cells that are searched for each window
_WINDOWS = 64  # gallery windows that the index returns for each window
_PEOPLE = 32  # people whose exact distances are computed


class ApproximateSearch:
    """A faiss index over concatenated parts, followed by exact distances to the people that it returns.

    The index searches the nearest cells only, and compares principal components by the Euclidean distance of
    concatenated parts instead of the mean over parts. So it can miss the nearest person.

    Args:
        exact: the features of the gallery.

    Raises:
        UserError: faiss is not installed.
    """

    def __init__(self, exact: ExactSearch) -> None:
        try:
            import faiss
        except ImportError:
            raise UserError(
                "the search by faiss is not installed: pip install 'dygait[faiss]', or leave out --search"
            ) from None
        self.exact, self.names = exact, exact.names
        total = int(exact.starts[-1])
        sample = np.unique(np.linspace(0, total - 1, min(total, _TRAINING)).astype(np.int64))
        training_rows = exact.rows(torch.from_numpy(sample))
        dimensions = training_rows.shape[1]
        cells = max(1, min(round(4 * total**0.5), len(sample) // _PER_CELL))
        components = min(_COMPONENTS, dimensions, len(sample))
        self._index = faiss.index_factory(dimensions, f"PCA{components},IVF{cells},Flat")
        self._index.train(training_rows)
        for start in range(0, total, _TRAINING):
            self._index.add(exact.rows(slice(start, start + _TRAINING)))
        faiss.extract_index_ivf(self._index).nprobe = min(_PROBED, cells)

    def nearest(self, track: np.ndarray, count: int) -> list[Candidate]:
        """Return the nearest people of a track (T, C, P) among the candidates; as `ExactSearch.nearest`."""
        flat = self.exact.flattened(torch.from_numpy(track))
        approximate, rows = self._index.search(flat, min(_WINDOWS, int(self.exact.starts[-1])))
        is_valid = rows >= 0
        people = np.searchsorted(self.exact.starts, rows[is_valid], side="right") - 1
        # People ordered by their nearest window.
        order = people[np.argsort(approximate[is_valid], kind="stable")].tolist()
        candidates = list(dict.fromkeys(order))[: max(_PEOPLE, count)]
        if len(candidates) < 2:  # all windows are of one person, but a decision needs the second nearest too
            return self.exact.nearest(track, count)
        return sorted(self.exact.distances(track, candidates), key=lambda c: (c.distance, c.name))[:count]
