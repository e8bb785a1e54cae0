"""A labelled dataset as a calibration's people: who is enrolled by which sequences, and searched by which."""

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
    """Which sequences of a labelled dataset are used, by shell patterns.

    Attributes:
        ids: of the people.
        enrolled_types: of the sequences that are enrolled; None: the first type of each person.
        enrolled_views: their views.
        searched_views: of the sequences that are searched.
        searches: the most searches of a person, evenly over its other sequences.
    """

    ids: str = "*"
    enrolled_types: str | None = None
    enrolled_views: str = "*"
    searched_views: str = "*"
    searches: int = 20

    def split(self, table: SequenceTable) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the sequences that are enrolled, and of those that are searched.

        The walk of an enrolled sequence, its type, is not searched in another view either.

        Raises:
            UserError: fewer than two people are left, or nobody has a sequence to search.
        """
        enrolled: list[int] = []
        searched: list[int] = []
        keys = table.all_keys()
        for subject in fnmatch.filter(table.ids.names, self.ids):
            own = table.indices([subject]).tolist()
            wanted = self.enrolled_types or min(keys[n][1] for n in own)
            of_type = [n for n in own if fnmatch.fnmatchcase(keys[n][1], wanted)]
            chosen = [n for n in of_type if fnmatch.fnmatchcase(keys[n][2], self.enrolled_views)]
            if not chosen:
                continue
            others = sorted(set(own) - set(of_type))
            others = [n for n in others if fnmatch.fnmatchcase(keys[n][2], self.searched_views)]
            positions = np.linspace(0, len(others) - 1, min(self.searches, len(others))).round().astype(int)
            enrolled += chosen
            searched += [others[position] for position in positions.tolist()]
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
    """Search for the people of a labelled dataset among themselves.

    Args:
        model: what embeds the silhouettes.
        fpir: the wanted false-positive identification rate.
        windows: frames of a window, and from one to the next.
        metric: the distance.

    Raises:
        UserError: the dataset has too few people, or too few searches for the rate.
    """
    enrolled, searched = choice.split(store.table)
    check_resolved(fpir, len(searched))
    order = np.concatenate([enrolled, searched])
    found = list(zip(order.tolist(), embed_sequences(model, store, order, windows, progress), strict=True))
    ids = store.table.ids.codes
    of_person: dict[int, list[np.ndarray]] = {}
    for index, features in found[: len(enrolled)]:
        of_person.setdefault(int(ids[index]), []).append(features)
    gallery = {person: np.concatenate(parts) for person, parts in of_person.items() if sum(map(len, parts))}
    tracks = [
        (int(ids[n]), features) for n, features in found[len(enrolled) :] if len(features) and int(ids[n]) in gallery
    ]
    check_resolved(fpir, len(tracks))
    distance = distances_of_tracks([features for _, features in tracks], list(gallery.values()), metric)
    subjects = np.array([person for person, _ in tracks])
    own = subjects[:, None] == np.array(list(gallery))
    other = np.sort(distance[~own].reshape(len(tracks), -1), 1)
    source = store.settings.address if isinstance(store, RenderedStore) else str(store.root)
    return Calibration(distance[own], other, subjects, f"{source}, {len(gallery)} people", fpir)


def embed_sequences(
    model: EmbeddingModel, store: Store, indices: np.ndarray, windows: tuple[int, int], progress: Progress = no_progress
) -> Iterator[np.ndarray]:
    """Yield the features of the windows of sequences of a store, (n, C, P); n is 0 for one that is too short."""
    empty = np.empty((0, 0, 0), np.float32)
    for first in progress(range(0, len(indices), _SEQUENCES), -(-len(indices) // _SEQUENCES)):
        sequences = [np.asarray(store.read(n)) for n in indices[first : first + _SEQUENCES].tolist()]
        parts, starts = windows_of_all(sequences, *windows)
        features = embed(model, parts) if parts else empty
        yield from (features[start:stop] for start, stop in pairwise(starts))
