"""Calibration on a labelled dataset: which of its sequences are enrolled, and which are searched."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dygait.data.sequences import SequenceTable
from dygait.data.stores import RenderedStore, Store
from dygait.data.stores.base import Progress, no_progress
from dygait.deployment import EmbeddingModel, embed
from dygait.errors import UserError
from dygait.identification.calibration import Calibration, check_resolved
from dygait.identification.search import distances_of_tracks
from dygait.identification.windows import windows_of_all

_SEQUENCES = 32  # sequences whose frames are in memory at a time


@dataclass(frozen=True)
class Choice:
    """The sequences of a labelled dataset that are used, selected by shell patterns.

    Attributes:
        ids: ids of the people.
        enrolled_types: types of the enrolled sequences; None: the first type of each person.
        enrolled_views: views of the enrolled sequences.
        searched_views: views of the searched sequences.
        searches: the most searches of a person, evenly spaced over the person's remaining sequences.
    """

    ids: str = "*"
    enrolled_types: str | None = None
    enrolled_views: str = "*"
    searched_views: str = "*"
    searches: int = 20

    def split(self, table: SequenceTable) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the enrolled and of the searched sequences.

        No view of an enrolled type is searched, as it may show the same walk.

        Raises:
            UserError: fewer than two people are selected, or nobody has a sequence to search.
        """
        enrolled: list[int] = []
        searched: list[int] = []
        keys = table.all_keys()
        for subject in fnmatch.filter(table.ids.names, self.ids):
            indices = table.indices([subject]).tolist()
            pattern = self.enrolled_types or min(keys[n][1] for n in indices)
            of_type = [n for n in indices if fnmatch.fnmatchcase(keys[n][1], pattern)]
            matching = [n for n in of_type if fnmatch.fnmatchcase(keys[n][2], self.enrolled_views)]
            if not matching:
                continue
            remaining = sorted(set(indices) - set(of_type))
            remaining = [n for n in remaining if fnmatch.fnmatchcase(keys[n][2], self.searched_views)]
            positions = np.linspace(0, len(remaining) - 1, min(self.searches, len(remaining))).round().astype(int)
            enrolled += matching
            searched += [remaining[position] for position in positions.tolist()]
        people = len({keys[n][0] for n in enrolled})
        if people < 2 or not searched:
            raise UserError(
                f"the labelled dataset has {people} people with sequences to enrol and {len(searched)} sequences to "
                f"search: a calibration needs two people or more, each with sequences of two types or more (ids "
                f"{self.ids}, enrolled types {self.enrolled_types or 'the first'}, enrolled views "
                f"{self.enrolled_views}, searched views {self.searched_views})"
            )
        return np.array(enrolled), np.array(searched)


def calibrate(
    model: EmbeddingModel,
    store: Store,
    choice: Choice,
    fpir: float,
    windows: tuple[int, int],
    metric: str,
    progress: Progress = no_progress,
) -> Calibration:
    """Enrol and search the people of a labelled dataset.

    Args:
        model: the model that embeds the silhouettes.
        fpir: the target false-positive identification rate.
        windows: frames of a window, and frames from one window to the next.
        metric: the distance, `euc` or `cos`.

    Raises:
        UserError: the dataset has too few people, or too few searches for the rate.
    """
    enrolled, searched = choice.split(store.table)
    check_resolved(fpir, len(searched))
    order = np.concatenate([enrolled, searched])
    embedded = list(zip(order.tolist(), embed_sequences(model, store, order, windows, progress), strict=True))
    ids = store.table.ids.codes
    by_person: dict[int, list[np.ndarray]] = {}
    for index, features in embedded[: len(enrolled)]:
        by_person.setdefault(int(ids[index]), []).append(features)
    gallery = {person: np.concatenate(parts) for person, parts in by_person.items() if sum(map(len, parts))}
    tracks = [
        (int(ids[n]), features) for n, features in embedded[len(enrolled) :] if len(features) and int(ids[n]) in gallery
    ]
    check_resolved(fpir, len(tracks))
    distance = distances_of_tracks([features for _, features in tracks], list(gallery.values()), metric)
    subjects = np.array([person for person, _ in tracks])
    is_match = subjects[:, None] == np.array(list(gallery))
    other = np.sort(distance[~is_match].reshape(len(tracks), -1), 1)
    source = store.settings.address if isinstance(store, RenderedStore) else str(store.root)
    return Calibration(distance[is_match], other, subjects, f"{source}, {len(gallery)} people", fpir)


def embed_sequences(
    model: EmbeddingModel, store: Store, indices: np.ndarray, windows: tuple[int, int], progress: Progress = no_progress
) -> Iterator[np.ndarray]:
    """Yield the features (n, C, P) of the n windows of each sequence; n is 0 for one that is too short."""
    empty = np.empty((0, 0, 0), np.float32)
    for first in progress(range(0, len(indices), _SEQUENCES), -(-len(indices) // _SEQUENCES)):
        sequences = [np.asarray(store.read(n)) for n in indices[first : first + _SEQUENCES].tolist()]
        parts, starts = windows_of_all(sequences, *windows)
        features = embed(model, parts) if parts else empty
        yield from (features[start:stop] for start, stop in pairwise(starts))
