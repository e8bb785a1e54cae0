"""From a request for one sequence to its silhouettes: read, choose frames, transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dygait.data.frames import FrameSampler
from dygait.data.stores import Store
from dygait.data.transforms import Transform
from dygait.errors import UserError


class Request(NamedTuple):
    """One sequence of the dataset, and the key (seed, iteration, position) of all randomness about it."""

    sequence: int
    key: tuple[int, int, int]


class Sample(NamedTuple):
    """One sequence, ready for a batch.

    Attributes:
        silhouettes: uint8 (S, H, W).
        label: the person's number among the training ids; -1 at test time.
        sequence: the sequence's position in the dataset.
        others: the same frames of the sequence's other modalities, each uint8 (S, H', W').
    """

    silhouettes: np.ndarray
    label: int
    sequence: int
    others: tuple[np.ndarray, ...] = ()


class SequenceDataset:
    """Some sequences of a store, with labels, frame choice and transform.

    What `dataset[request]` returns is a pure function of the request and the files, whichever worker answers it.

    Args:
        store: where the sequences lie.
        indices: int64 (n,), which of its sequences.
        ids: the ids that have labels, in label order; others get -1.
        frames: which frames of a sequence are used.
        transforms: uint8 (S, H, W) to uint8 (S, H', W'), one for each file in use.
        data_in_use: a mask over the sorted files of a sequence, true for those in use; None: the first file.

    Of a sequence with several files in use (several modalities) the same frames of each are taken, and each transform
    draws the same random numbers, so that equal transforms make equal changes.
    """

    def __init__(
        self,
        store: Store,
        indices: np.ndarray,
        ids: list[str],
        frames: FrameSampler,
        transforms: Sequence[Transform],
        data_in_use: list[bool] | None = None,
    ) -> None:
        self.store = store
        self.indices = indices
        label_of = {person: label for label, person in enumerate(ids)}
        by_code = np.array([label_of.get(name, -1) for name in store.table.ids.names], np.int64)
        self.labels: list[int] = by_code[store.table.ids.codes[indices]].tolist()
        self.frames = frames
        self.transforms = tuple(transforms)
        self.files = files_in_use(data_in_use)
        assert len(self.files) == len(self.transforms)

    def __len__(self) -> int:
        return len(self.indices)

    def keys(self) -> tuple[list[str], list[str], list[str]]:
        """Return ids, types and views of all sequences."""
        table = self.store.table
        return table.ids.take(self.indices), table.types.take(self.indices), table.views.take(self.indices)

    def lengths(self) -> np.ndarray:
        """Return the number of frames that each sequence has, int64, as far as the store knows it without reading."""
        return self.store.lengths(self.indices, self.files[0])

    def max_frames(self) -> np.ndarray:
        """Return the most frames of each sequence that can be chosen, int64."""
        return self.frames.max_frames(self.lengths())

    def silhouettes(self, position: int) -> np.ndarray:
        """Return every frame of a sequence as it is stored, uint8 (S, H, W), perhaps not yet read from the disk."""
        return self.stored(int(self.indices[position]))

    def stored(self, index: int) -> np.ndarray:
        """Return every frame of the sequence at an index of the store; as `silhouettes`."""
        self.require(index)
        return self.store.read(index, self.files[0])

    def require(self, index: int) -> None:
        """Make sure that the sequence at an index of the store has the file in use.

        Raises:
            UserError: it has not.
        """
        check_files(self.store, index, self.files)

    def __getitem__(self, request: Request) -> Sample:
        index = int(self.indices[request.sequence])
        stored = self.stored(index)
        rng = np.random.default_rng(np.random.SeedSequence(request.key))
        chosen = self.frames(len(stored), rng)
        state = rng.bit_generator.state if len(self.files) > 1 else {}
        made = [self._transformed(index, self.files[0], self.transforms[0], stored, chosen, rng)]
        for file, transform in zip(self.files[1:], self.transforms[1:], strict=True):
            other = self.store.read(index, file)
            check_lengths(self.store, index, (self.files[0], len(stored)), (file, len(other)))
            rng.bit_generator.state = state
            made.append(self._transformed(index, file, transform, other, chosen, rng))
        return Sample(made[0], self.labels[request.sequence], request.sequence, tuple(made[1:]))

    def _transformed(
        self,
        index: int,
        file: int,
        transform: Transform,
        stored: np.ndarray,
        chosen: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        try:
            return transform(_take(stored, chosen, self.frames.ordered), rng)
        except UserError as error:
            raise UserError(f"{self.store.location(index, file)}: {error}") from None


def files_in_use(mask: Sequence[bool] | None) -> tuple[int, ...]:
    """Return the positions of the files that `data_cfg.data_in_use` asks for; None: the first."""
    return (0,) if mask is None else tuple(index for index, used in enumerate(mask) if used)


def check_files(store: Store, index: int, files: Sequence[int]) -> None:
    """Make sure that the sequence at an index of a store has some files.

    Raises:
        UserError: it has not.
    """
    if max(files) >= (there := store.num_files(index)):
        raise UserError(
            f"data_cfg.data_in_use asks for file {max(files) + 1} of {'/'.join(store.table.key(index))}, "
            f"which has {there}"
        )


def check_lengths(store: Store, index: int, first: tuple[int, int], other: tuple[int, int]) -> None:
    """Make sure that two modalities of a sequence, (file, number of frames) each, have equally many frames.

    Raises:
        UserError: they have not.
    """
    if first[1] != other[1]:
        raise UserError(
            f"{store.location(index, other[0])} has {other[1]} frames, "
            f"{store.location(index, first[0])} has {first[1]}; modalities must show the same frames: "
            "prepare the sequence again"
        )


def _take(frames: np.ndarray, chosen: np.ndarray, ordered: bool) -> np.ndarray:
    """Return the chosen frames; those of an unbroken window without a copy."""
    first, last = int(chosen[0]), int(chosen[-1])
    if ordered and last - first == len(chosen) - 1:
        return frames[first : last + 1]
    return frames[chosen]
