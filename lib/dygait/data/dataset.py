"""The dataset, which reads a sequence, samples frames and transforms them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dygait.data.frame_sampler import FrameSampler
from dygait.data.stores import Store
from dygait.data.transforms import Transform
from dygait.errors import UserError
from dygait.frames.modalities import channels_to_stack


class Request(NamedTuple):
    """A sequence of the dataset, and the seed (seed, iteration, position) of its random choices."""

    sequence: int
    key: tuple[int, int, int]


class Sample(NamedTuple):
    """One transformed sequence.

    Attributes:
        silhouettes: uint8 (S, H, W), or (S, C, H, W) of several channels.
        label: the index of the subject among the training ids; -1 at test time.
        sequence: the index of the sequence in the dataset.
        others: the same frames of the other modalities, of the same type.
        divisors: by which the grey levels of each modality are divided, to scale them to 0..1.
        class_label: the class of the logits, if not the label.
    """

    silhouettes: np.ndarray
    label: int
    sequence: int
    others: tuple[np.ndarray, ...] = ()
    divisors: tuple[float, ...] = (255.0,)
    class_label: int | None = None


class SequenceDataset:
    """Sequences of a store, with labels, frame sampling and transforms.

    `dataset[request]` is a pure function of the request and the files.

    Args:
        store: the store of the sequences.
        indices: int64 (n,), the indices of the sequences in the store.
        ids: the ids in the order of their labels; other ids have label -1.
        frames: samples the frames of a sequence.
        transforms: one for each file in use; or one, before which the frames of all files are stacked to channels.
        data_in_use: a mask over the sorted files of a sequence, true for those in use; None: the first file.
        class_of: maps the type of a sequence to the class of the logits; None: the class is the label.

    If several files of a sequence (modalities) are in use, the same frames of each are sampled, and their transforms
    use the same random numbers, so that equal transforms have equal effects.
    """

    def __init__(
        self,
        store: Store,
        indices: np.ndarray,
        ids: list[str],
        frames: FrameSampler,
        transforms: Sequence[Transform],
        data_in_use: list[bool] | None = None,
        class_of: Callable[[str], int] | None = None,
    ) -> None:
        self.store = store
        self.indices = indices
        label_of = {subject: label for label, subject in enumerate(ids)}
        code_labels = np.array([label_of.get(name, -1) for name in store.table.ids.names], np.int64)
        self.labels: list[int] = code_labels[store.table.ids.codes[indices]].tolist()
        types = store.table.types.take(indices)
        self.class_labels = [None if class_of is None else class_of(name) for name in types]
        self.frames = frames
        self.transforms = tuple(transforms)
        self.files = files_in_use(data_in_use)
        assert len(self.transforms) in (1, len(self.files))

    def __len__(self) -> int:
        return len(self.indices)

    def keys(self) -> tuple[list[str], list[str], list[str]]:
        """Return ids, types and views of all sequences."""
        table = self.store.table
        return table.ids.take(self.indices), table.types.take(self.indices), table.views.take(self.indices)

    def lengths(self) -> np.ndarray:
        """Return the number of frames of each sequence, int64; estimated for a tree of pickles."""
        return self.store.lengths(self.indices, self.files[0])

    def max_frames(self) -> np.ndarray:
        """Return the largest number of frames that can be sampled of each sequence, int64."""
        return self.frames.max_frames(self.lengths())

    def read(self, index: int) -> np.ndarray:
        """Return all frames of the sequence at an index of the store, uint8 (S, H, W), possibly memory-mapped."""
        check_files(self.store, index, self.files)
        return self.store.read(index, self.files[0])

    def __getitem__(self, request: Request) -> Sample:
        index = int(self.indices[request.sequence])
        rng = np.random.default_rng(np.random.SeedSequence(request.key))
        modalities = [self.read(index), *(self.store.read(index, file) for file in self.files[1:])]
        for file, other in zip(self.files[1:], modalities[1:], strict=True):
            check_lengths(self.store, index, (self.files[0], len(modalities[0])), (file, len(other)))
        sampled = self.frames(len(modalities[0]), rng)
        modalities = [_take(frames, sampled, self.frames.ordered) for frames in modalities]
        silhouettes, *others = self._transform(modalities, index, rng)
        divisors = tuple(transform.divisor for transform in self.transforms)
        label, class_label = self.labels[request.sequence], self.class_labels[request.sequence]
        return Sample(silhouettes, label, request.sequence, tuple(others), divisors, class_label)

    def sizes(self, index: int) -> list[tuple[int, ...]]:
        """Return the size of a transformed frame of each modality of the sequence at an index of the store.

        It is (H, W), or (C, H, W) for several channels.
        """
        first_frames = [np.asarray(self.store.read(index, file)[:1]) for file in self.files]
        return [frames.shape[1:] for frames in self._transform(first_frames, index, np.random.default_rng(0))]

    def _transform(self, modalities: list[np.ndarray], index: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the transformed frames of each modality; a UserError names the file."""
        state, result = rng.bit_generator.state, []
        for number, transform in enumerate(self.transforms):
            rng.bit_generator.state = state
            try:
                stacks = len(self.transforms) < len(modalities)
                frames = np.concatenate(channels_to_stack(modalities, 4), 1) if stacks else modalities[number]
                result.append(transform(frames, rng))
            except UserError as error:
                raise UserError(f"{self.store.location(index, self.files[number])}: {error}") from None
        return result


def files_in_use(mask: Sequence[bool] | None) -> tuple[int, ...]:
    """Return the indices of the files that the mask `data_cfg.data_in_use` selects; None: the first."""
    return (0,) if mask is None else tuple(index for index, used in enumerate(mask) if used)


def check_files(store: Store, index: int, files: Sequence[int]) -> None:
    """Raise `UserError` if a sequence of a store does not have the files."""
    if max(files) >= (count := store.num_files(index)):
        name = "/".join(store.table.key(index))
        raise UserError(f"data_cfg.data_in_use asks for file {max(files) + 1} of {name}, which has {count}")


def check_lengths(store: Store, index: int, first: tuple[int, int], other: tuple[int, int]) -> None:
    """Raise `UserError` if two modalities of a sequence, as (file, number of frames), have different lengths."""
    if first[1] != other[1]:
        counts = [f"{store.location(index, file)} has {frames} frames" for file, frames in (other, first)]
        raise UserError(f"{', '.join(counts)}; modalities must show the same frames: prepare the sequence again")


def _take(frames: np.ndarray, indices: np.ndarray, ordered: bool) -> np.ndarray:
    """Return the frames at some indices, without a copy if they are contiguous."""
    first, last = int(indices[0]), int(indices[-1])
    if ordered and last - first == len(indices) - 1:
        return frames[first : last + 1]
    return frames[indices]
