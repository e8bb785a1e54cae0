"""Batch samplers: which sequences make the batch of an iteration, and which of them this process loads.

A batch is a pure function of (seed, iteration): every process derives the same global batch without talking to the
others and takes its slice; and a run that goes on from iteration i draws what the uninterrupted run would have drawn.
"""

from __future__ import annotations

import abc
import heapq
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from dygait.data.dataset import Request
from dygait.errors import UserError
from dygait.registry import Registry

SAMPLERS: Registry[type] = Registry("sampler")


class TrainingSampler(abc.ABC):
    """What draws the batches of a training run.

    Attributes:
        batch_size_form: how `batch_size` is given: as [P, K], or as one number.
    """

    batch_size_form: ClassVar[Literal["[P, K]", "a number"]] = "[P, K]"

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: Sequence[int] | int,
        batch_shuffle: bool = False,
        seed: int = 0,
        first_iteration: int = 0,
        total_iterations: int = 80000,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.labels = list(labels)
        self.size = [batch_size] if isinstance(batch_size, int) else list(batch_size)
        if math.prod(self.size) % world_size:
            size = str(self.size[0])
            if len(self.size) > 1:
                size = f"P x K = {' x '.join(map(str, self.size))} = {math.prod(self.size)}"
            raise UserError(
                f"trainer_cfg.sampler.batch_size: {size} sequences cannot be dealt out evenly to {world_size} "
                f"processes; change {'P or K' if len(self.size) > 1 else 'it'}, or the number of processes"
            )
        self.shuffle = batch_shuffle
        self.seed = seed
        self.first = first_iteration
        self.total = total_iterations
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return max(0, self.total - self.first)

    @abc.abstractmethod
    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        """Return the sequences of an iteration's batch; `rng` is the iteration's."""

    def global_batch(self, iteration: int) -> list[Request]:
        """Return the whole batch of an iteration, as every process sees it."""
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, iteration)))
        chosen = self.draw(iteration, rng)
        return [Request(sequence, (self.seed, iteration, position)) for position, sequence in enumerate(chosen)]

    def __iter__(self) -> Iterator[list[Request]]:
        for iteration in range(self.first, self.total):
            yield self.global_batch(iteration)[self.rank :: self.world_size]


@SAMPLERS.register("TripletSampler")
class TripletSampler(TrainingSampler):
    """P people, K sequences of each, drawn without replacement as far as there are enough.

    Args:
        labels: the label of every sequence of the dataset.
        batch_size: [P, K], over all processes together.
        batch_shuffle: shuffle the batch before it is dealt out; else every process gets its share of each person.
        seed: the run's seed.
        first_iteration: how many iterations have been done.
        total_iterations: where to stop.
        rank: this process's number.
        world_size: the number of processes.

    Raises:
        UserError: there are fewer than P people, or the batch cannot be dealt out evenly.
    """

    def __init__(self, labels: Sequence[int], batch_size: Sequence[int], *rest: Any, **more: Any) -> None:
        super().__init__(labels, batch_size, *rest, **more)
        self.num_ids, self.num_sequences = batch_size
        by_label: dict[int, list[int]] = {}
        for position, label in enumerate(labels):
            by_label.setdefault(label, []).append(position)
        self.sequences = [np.array(by_label[label]) for label in sorted(by_label)]
        if self.num_ids > len(self.sequences):
            raise UserError(
                f"trainer_cfg.sampler.batch_size: P = {self.num_ids} people per batch, but only {len(self.sequences)} "
                f"train; lower P to {len(self.sequences)} or less"
            )

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        """Return K sequences of each of P people."""
        chosen: list[int] = []
        for label in rng.choice(len(self.sequences), self.num_ids, replace=False):
            own = self.sequences[label]
            # Someone with fewer than K sequences gives all of them again and again: every person counts K times.
            rounds = [rng.permutation(own) for _ in range(-(-self.num_sequences // len(own)))]
            chosen.extend(np.concatenate(rounds)[: self.num_sequences].tolist())
        if self.shuffle:
            rng.shuffle(chosen)
        return chosen


@SAMPLERS.register("CommonSampler")
class CommonSampler(TrainingSampler):
    """Any sequences, whoever's they are: drawn without replacement where there are enough, else with it.

    Args:
        labels: the label of every sequence of the dataset.
        batch_size: one number, over all processes together.
        batch_shuffle: changes nothing: the batch comes in the order in which it is drawn.
        seed: the run's seed.
        first_iteration: how many iterations have been done.
        total_iterations: where to stop.
        rank: this process's number.
        world_size: the number of processes.

    Raises:
        UserError: the batch cannot be dealt out evenly.
    """

    batch_size_form = "a number"

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        """Return B sequences."""
        count, size = len(self.labels), self.size[0]
        return rng.choice(count, size, replace=count < size).tolist()


@SAMPLERS.register("BilateralSampler")
class BilateralSampler(TrainingSampler):
    """Every sequence in turn, in an order drawn anew for each round, and each one twice in its batch.

    Frames and random changes of the two are drawn apart, so that they are two views of one walk: GaitSSB's, Fan et al.,
    *Learning Gait Representation from Massive Unlabelled Walking Videos: A Benchmark*, TPAMI 2023. A round ends where
    fewer than P x K sequences are left.

    Args:
        labels: the label of every sequence of the dataset.
        batch_size: [P, K]: P x K sequences over all processes together, and so 2 x P x K samples.
        batch_shuffle: changes nothing: a round's order is drawn.
        seed: the run's seed.
        first_iteration: how many iterations have been done.
        total_iterations: where to stop.
        rank: this process's number.
        world_size: the number of processes.

    Raises:
        UserError: there are fewer than P x K sequences, or they cannot be dealt out evenly.
    """

    def __init__(self, labels: Sequence[int], batch_size: Sequence[int], *rest: Any, **more: Any) -> None:
        super().__init__(labels, batch_size, *rest, **more)
        self.num_distinct = math.prod(batch_size)
        if self.num_distinct > len(self.labels):
            raise UserError(
                f"trainer_cfg.sampler.batch_size: P x K = {self.num_distinct} sequences per batch, but only "
                f"{len(self.labels)} train; lower P or K"
            )

    def draw(self, iteration: int, rng: np.random.Generator) -> list[int]:
        """Return P x K sequences, and the same again."""
        epoch, position = divmod(iteration, len(self.labels) // self.num_distinct)
        # The order is the round's, not the iteration's; the third number keeps it apart from every iteration's draws.
        order = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, 1))).permutation(len(self.labels))
        return 2 * order[position * self.num_distinct : (position + 1) * self.num_distinct].tolist()


@SAMPLERS.register("InferenceSampler")
class InferenceSampler:
    """Every sequence once, those of like length together so that little is padded, as many as a budget of frames holds.

    The batches are the same for any number of processes, which take whole batches; so are the results, therefore. No
    sequence is repeated to fill a batch or to give every process the same number.

    Args:
        lengths: the most frames of each sequence that can come.
        frames_budget: the most frames of a batch, padding included; a longer sequence is a batch of its own.
        batch_size: the most sequences of a batch; None: as many as the budget holds.
        seed: the run's seed, for the frame modes that draw.
        rank: this process's number.
        world_size: the number of processes.

    Attributes:
        lengths: int64 (n,).
        batches: every batch, as the positions of its sequences, the longest first; a batch's number is its index here.
        done: the numbers of the batches that need not be made any more.
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
        """Return how many frames a batch has, padding included."""
        batch = self.batches[number]
        return len(batch) * int(self.lengths[batch[0]])

    def batches_of_rank(self) -> list[int]:
        """Return the numbers of the batches that this process makes, in order: about as many frames as any other."""
        loads = [(0, rank) for rank in range(self.world_size)]  # a heap
        mine = []
        left = [number for number in range(len(self.batches)) if number not in self.done]
        for number in sorted(left, key=lambda n: -self.num_padded_frames(n)):
            load, rank = loads[0]
            heapq.heapreplace(loads, (load + self.num_padded_frames(number), rank))
            if rank == self.rank:
                mine.append(number)
        return sorted(mine)

    def __len__(self) -> int:
        return len(self.batches_of_rank())

    def __iter__(self) -> Iterator[list[Request]]:
        for number in self.batches_of_rank():
            # The position is the sequence's own: the frames drawn do not depend on batches or processes.
            yield [Request(sequence, (self.seed, 0, sequence)) for sequence in self.batches[number]]
