"""Batch samplers, which choose the sequences of a batch, and those among them that this process loads.

A batch is a pure function of (seed, iteration), the same in every process and in a resumed run.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dygait.data.dataset import Request
from dygait.errors import UserError
from dygait.registry import Registry

SAMPLERS: Registry[type] = Registry("sampler")


@dataclass(eq=False)
class TrainingSampler(abc.ABC):
    """The base class of samplers for training.

    Attributes:
        labels: the label of every sequence of the dataset.
        batch_size: [P, K] or a number, over all processes.
        batch_shuffle: whether to shuffle the batch before it is divided among the processes.
        first_iteration: the number of completed iterations.
        total_iterations: the last iteration.
        conditions: the walking condition of every sequence of the dataset (`nm`, `bg` and `cl` of CASIA-B).
        batch_size_form: the form of `batch_size`: [P, K], or a number.
        views: the number of samples of each sequence; a batch has one view of all sequences, then the next.

    Raises:
        UserError: the batch size is not divisible by the number of processes, or too large for the dataset.
    """

    labels: Sequence[int]
    batch_size: Sequence[int] | int
    batch_shuffle: bool = False
    seed: int = 0
    first_iteration: int = 0
    total_iterations: int = 80000
    rank: int = 0
    world_size: int = 1
    conditions: Sequence[str] | None = None
    batch_size_form: ClassVar[Literal["[P, K]", "a number"]] = "[P, K]"
    views: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.size = [self.batch_size] if isinstance(self.batch_size, int) else list(self.batch_size)
        if math.prod(self.size) % self.world_size:
            size = " x ".join(map(str, self.size)) + f" = {math.prod(self.size)}" * (len(self.size) > 1)
            raise UserError(
                f"trainer_cfg.sampler.batch_size: {size} sequences are not divisible by {self.world_size} processes; "
                "change it, or the number of processes"
            )

    def __len__(self) -> int:
        return max(0, self.total_iterations - self.first_iteration)

    @abc.abstractmethod
    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        """Return the indices of the sequences of a batch; `rng` is seeded for the iteration."""

    def global_batch(self, iteration: int) -> list[Request]:
        """Return the global batch of an iteration, the same in every process."""
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, iteration)))
        sequences = self.draw(iteration, rng)
        return [Request(sequence, (self.seed, iteration, position)) for position, sequence in enumerate(sequences)]

    def __iter__(self) -> Iterator[list[Request]]:
        for iteration in range(self.first_iteration, self.total_iterations):
            yield self.global_batch(iteration)[self.rank :: self.world_size]


@SAMPLERS.register("TripletSampler")
class TripletSampler(TrainingSampler):
    """P subjects with K sequences each, sampled without replacement if there are enough.

    Unless the batch is shuffled, every process has sequences of every subject.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_ids, self.num_sequences = self.size
        by_label: dict[int, list[int]] = {}
        for position, label in enumerate(self.labels):
            by_label.setdefault(label, []).append(position)
        self.sequences = [np.array(by_label[label]) for label in sorted(by_label)]
        if self.num_ids > len(self.sequences):
            raise UserError(
                f"trainer_cfg.sampler.batch_size: P = {self.num_ids} subjects per batch, but only "
                f"{len(self.sequences)} train; lower P to {len(self.sequences)} or less"
            )

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        batch: list[int] = []
        for label in rng.choice(len(self.sequences), self.num_ids, replace=False):
            batch.extend(self.draw_sequences(self.sequences[label], rng))
        if self.batch_shuffle:
            rng.shuffle(batch)
        return batch

    def draw_sequences(self, sequences: np.ndarray, rng: np.random.Generator) -> list[int]:
        """Return K of a subject's sequences, which are repeated if there are fewer."""
        permutations = [rng.permutation(sequences) for _ in range(-(-self.num_sequences // len(sequences)))]
        return np.concatenate(permutations)[: self.num_sequences].tolist()


@SAMPLERS.register("BalancedTripletSampler")
class BalancedTripletSampler(TripletSampler):
    """P subjects with K sequences each, of all walking conditions of the subject equally often.

    In CASIA-B, where a subject walks six times as usual, twice with a bag and twice in a coat, two of five draws of
    four sequences by :class:`TripletSampler` have none in a coat.
    """

    def draw_sequences(self, sequences: np.ndarray, rng: np.random.Generator) -> list[int]:
        assert self.conditions is not None
        by_condition: dict[str, list[int]] = {}
        for sequence in rng.permutation(sequences).tolist():
            by_condition.setdefault(self.conditions[sequence], []).append(sequence)
        groups = list(by_condition.values())
        rng.shuffle(groups)
        turns = (divmod(turn, len(groups)) for turn in range(self.num_sequences))
        return [groups[group][turn % len(groups[group])] for turn, group in turns]


@SAMPLERS.register("CommonSampler")
class CommonSampler(TrainingSampler):
    """Random sequences of all subjects, sampled with replacement only if there are too few.

    `batch_shuffle` has no effect, since the order of the batch is random.
    """

    batch_size_form = "a number"

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        count, size = len(self.labels), self.size[0]
        return rng.choice(count, size, replace=count < size).tolist()


@SAMPLERS.register("BilateralSampler")
class BilateralSampler(TrainingSampler):
    """Every sequence once per epoch, in random order, and each twice in its batch.

    Frames and augmentation of the two samples are independent, so that they are two views of one walk, as in GaitSSB:
    Fan et al., *Learning Gait Representation from Massive Unlabelled Walking Videos: A Benchmark*, TPAMI 2023. An epoch
    ends when fewer than P x K sequences remain. A batch has P x K sequences, and so 2 x P x K samples; `batch_shuffle`
    has no effect.
    """

    views = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_distinct = math.prod(self.size)
        if self.num_distinct > len(self.labels):
            raise UserError(
                f"trainer_cfg.sampler.batch_size: P x K = {self.num_distinct} sequences per batch, but only "
                f"{len(self.labels)} train; lower P or K"
            )

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        epoch, position = divmod(iteration, len(self.labels) // self.num_distinct)
        # Seeded by the epoch; the third number makes it independent of the generators of iterations.
        order = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, 1))).permutation(len(self.labels))
        return self.views * order[position * self.num_distinct : (position + 1) * self.num_distinct].tolist()


@SAMPLERS.register("InferenceSampler")
class InferenceSampler:
    """Every sequence once, sorted by length to reduce padding, in batches of a limited number of frames.

    The batches are the same for any number of processes. No sequence is repeated.

    A batch has at most `frames_budget` frames, padding included, unless it is a single longer sequence, and at most
    `batch_size` sequences. The other arguments are those of `TrainingSampler`.

    Attributes:
        lengths: int64 (n,), the maximum number of frames of each sequence.
        batches: the indices of the sequences of each batch, the longest first; the number of a batch is its index.
        done: the numbers of completed batches, which are skipped.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        frames_budget: int = 512,
        batch_size: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        self.batches: list[list[int]] = []
        longest = 0
        for sequence in np.argsort(-self.lengths, kind="stable").tolist():
            count = len(self.batches[-1]) + 1 if self.batches else 1
            if count == 1 or count * longest > frames_budget or (batch_size is not None and count > batch_size):
                self.batches.append([])
                longest = int(self.lengths[sequence])
            self.batches[-1].append(sequence)
        self.done: frozenset[int] = frozenset()
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def num_padded_frames(self, number: int) -> int:
        """Return the number of frames of a batch, padding included."""
        batch = self.batches[number]
        return len(batch) * int(self.lengths[batch[0]])

    def batches_of_rank(self) -> list[int]:
        """Return the sorted numbers of this process's batches; all processes have about the same number of frames."""
        loads = [0] * self.world_size
        batches = []
        remaining = [number for number in range(len(self.batches)) if number not in self.done]
        for number in sorted(remaining, key=lambda n: -self.num_padded_frames(n)):
            rank = loads.index(min(loads))
            loads[rank] += self.num_padded_frames(number)
            if rank == self.rank:
                batches.append(number)
        return sorted(batches)

    def __len__(self) -> int:
        return len(self.batches_of_rank())

    def __iter__(self) -> Iterator[list[Request]]:
        for number in self.batches_of_rank():
            # Seeded by the sequence, so that the sampled frames do not depend on batches or processes.
            yield [Request(sequence, (self.seed, 0, sequence)) for sequence in self.batches[number]]


def views_of(name: str) -> int:
    """Return the number of views of each sequence in the batches of a sampler."""
    return getattr(SAMPLERS.get(name), "views", 1)
