"""A search for galleries of more windows than can be compared: candidates by faiss, and their exact distances."""

from __future__ import annotations

import numpy as np
import torch

from dygait.errors import UserError
from dygait.identification.search import Candidate, ExactSearch

_COMPONENTS = 64
_TRAINING = 50_000  # windows of the gallery from which the index learns its principal components and cells
_PER_CELL = 39  # windows that faiss wants for the training of a cell
_PROBED = 16  # cells that are searched for a window
_WINDOWS = 64  # windows of the gallery that the index returns for a window
_PEOPLE = 32  # people to whom the exact distances are computed


class ApproximateSearch:
    """An index of faiss over concatenated parts as a first stage, and exact distances to the people that it finds.

    The index compares the principal components of the nearest cells, by the Euclidean distance of concatenated parts
    instead of the mean over parts, so that the nearest person can be missed.

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
        learned = exact.rows(torch.from_numpy(sample))
        dimensions = learned.shape[1]
        cells = max(1, min(round(4 * total**0.5), len(sample) // _PER_CELL))
        components = min(_COMPONENTS, dimensions, len(sample))
        self._index = faiss.index_factory(dimensions, f"PCA{components},IVF{cells},Flat")
        self._index.train(learned)
        for start in range(0, total, _TRAINING):
            self._index.add(exact.rows(slice(start, start + _TRAINING)))
        faiss.extract_index_ivf(self._index).nprobe = min(_PROBED, cells)

    def nearest(self, track: np.ndarray, count: int) -> list[Candidate]:
        """Return the nearest people of a track (T, C, P) among the candidates; as `ExactSearch.nearest`."""
        flat = self.exact.flattened(torch.from_numpy(track))
        approximate, rows = self._index.search(flat, min(_WINDOWS, int(self.exact.starts[-1])))
        found = rows >= 0
        people = np.searchsorted(self.exact.starts, rows[found], side="right") - 1
        # The people in the order of the nearest of their windows.
        order = people[np.argsort(approximate[found], kind="stable")].tolist()
        candidates = list(dict.fromkeys(order))[: max(_PEOPLE, count)]
        if len(candidates) < 2:  # all windows are of one person, and a decision needs the second nearest too
            return self.exact.nearest(track, count)
        return sorted(self.exact.distances(track, candidates), key=lambda one: (one.distance, one.name))[:count]
