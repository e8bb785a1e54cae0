"""The loader: requests in, batches out, in the sampler's order whatever the number of workers."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import signal
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from dygait.data.collate import Batch, SharedRing, collate
from dygait.data.dataset import Request, Sample, SequenceDataset
from dygait.errors import LocalError, UserError

_PREFETCH = 3
"""Batches that each worker is ahead."""


_Slot = tuple[int, int, int]
"""Which loader's, which worker's and which of its pieces of shared memory."""

_known: dict[_Slot, torch.Tensor] = {}
"""In the training process: the workers' memory, mapped when it came for the first time."""

_numbers = itertools.count()


class _Frames(NamedTuple):
    """Where a batch's frames of one modality lie; the memory itself comes along only once."""

    slot: _Slot
    shape: tuple[int, ...]
    memory: torch.Tensor | None


@dataclass
class _Sent:
    """A batch between processes, which arrives as a `Batch`.

    A tensor in shared memory is sent by its own connection and mapped anew each time; numbers in a message are not.
    """

    frames: list[_Frames]
    lengths: np.ndarray | None
    labels: np.ndarray
    sequences: np.ndarray

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.frames, self.lengths, self.labels, self.sequences)


def _arrived(frames: list[_Frames], lengths: np.ndarray | None, labels: np.ndarray, sequences: np.ndarray) -> Batch:
    silhouettes, *others = (_memory(one)[: math.prod(one.shape)].view(one.shape) for one in frames)
    return Batch(
        silhouettes,
        None if lengths is None else torch.from_numpy(lengths),
        torch.from_numpy(labels),
        torch.from_numpy(sequences),
        tuple(others),
    )


def _memory(frames: _Frames) -> torch.Tensor:
    if frames.memory is not None:
        _known[frames.slot] = frames.memory
    return _known[frames.slot]


def _forget(loader: int) -> None:
    """Let go of the memory of a loader's workers."""
    for slot in [slot for slot in _known if slot[0] == loader]:
        del _known[slot]


class _CollateInTurn:
    """Collates in a worker into memory that it shares with the training process, in turn.

    A worker is at most `_PREFETCH` batches ahead of the one that is in use; one more is spared for the batch before.
    """

    def __init__(self) -> None:
        self.loader = next(_numbers)
        self.ring: SharedRing | None = None

    def __call__(self, samples: list[Sample]) -> _Sent:
        if self.ring is None:  # made where it is used: in the worker
            self.ring = SharedRing((_PREFETCH + 2) * (1 + len(samples[0].others)))
        ring, worker = self.ring, get_worker_info()
        assert worker is not None
        frames: list[_Frames] = []

        def room(shape: tuple[int, ...]) -> torch.Tensor:
            given = ring(shape)
            memory = ring.slots[ring.turn] if ring.is_new else None
            frames.append(_Frames((self.loader, worker.id, ring.turn), shape, memory))
            return given

        batch = collate(samples, room)
        lengths = None if batch.lengths is None else batch.lengths.numpy()
        return _Sent(frames, lengths, batch.labels.numpy(), batch.sequences.numpy())


_DYING = 2.0
"""Seconds that a worker may take from closing its connections to being gone."""
_LEFT_TO_THE_PARENT = ("SIGTERM", "SIGINT", "SIGUSR1")


def _prepare_worker(worker: int) -> None:
    """A worker is one of many: threads inside it would only fight.

    And what signals a whole group must not end it before the iteration that its process wants to finish: it goes when
    its process does.
    """
    for name in _LEFT_TO_THE_PARENT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def make_loader(
    dataset: SequenceDataset, sampler: Iterable[list[Request]], workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Return a loader of `Batch`es.

    With workers, a batch's silhouettes stand until the next but one is asked for: to keep them longer, copy them.

    Args:
        dataset: answers requests.
        sampler: yields the requests of a batch.
        workers: loader processes; 0 loads in this one.
        pin_memory: for copies to a GPU that do not wait.
    """
    several: dict[str, Any] = (
        {"persistent_workers": True, "prefetch_factor": _PREFETCH, "worker_init_fn": _prepare_worker} if workers else {}
    )
    in_turn = _CollateInTurn() if workers else None
    loader: DataLoader[Any] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=in_turn or collate,
        pin_memory=pin_memory,
        **several,
    )
    if in_turn is not None:
        weakref.finalize(loader, _forget, in_turn.loader)
    return loader


@contextlib.contextmanager
def working(*loaders: DataLoader[Any]) -> Iterator[None]:
    """End the workers of loaders when a `with` block ends in an error, and say what it means if one was killed.

    PyTorch raises that a worker was killed wherever the training process is, in the middle of a step or of a
    checkpoint; or, where the worker was about to hand over memory, that a connection was reset. And workers that wait
    for requests would not go when they are told to by SIGTERM, which they ignore: the process, which waits for them at
    its end, would hang.

    Raises:
        LocalError: a worker was killed.
    """
    try:
        yield
    except BaseException as error:
        killed = _killed_worker(error, loaders)
        for loader in loaders:
            _end_workers(loader)
        if killed is None:
            raise
        raise LocalError(
            f"process {killed[0]}, which loads data, {killed[1]}: most often the machine is short of memory, or "
            f"/dev/shm is full; lower data_cfg.num_workers (0: the run loads its data itself), and go on with --resume"
        ) from None


def _killed_worker(error: BaseException, loaders: Iterable[DataLoader[Any]]) -> tuple[str, str] | None:
    """Return the number of the worker whose death an error is about, and what it died of; None: it is about another."""
    said = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]*)", str(error))
    by_pytorch = said if isinstance(error, RuntimeError) else None
    if by_pytorch is None and not isinstance(error, (ConnectionError, EOFError, FileNotFoundError)):  # or of its socket
        return None
    workers = [worker for loader in loaders for worker in getattr(loader._iterator, "_workers", ())]
    ending = wait([worker.sentinel for worker in workers], _DYING if workers else 0)
    for worker in workers:
        if worker.sentinel in ending:
            worker.join(_DYING)  # its end of the sentinel is closed a moment before it can be asked for its code
        if (worker.exitcode or 0) < 0:
            return str(worker.pid), f"is killed by signal: {signal.strsignal(-worker.exitcode)}"
    return None if by_pytorch is None else (by_pytorch[1], by_pytorch[2])


def _end_workers(loader: DataLoader[Any]) -> None:
    iterator = loader._iterator
    if iterator is None:  # it has no workers, or did not start them
        return
    loader._iterator = None
    iterator._shutdown_workers()  # type: ignore[attr-defined]
    for worker in iterator._workers:  # type: ignore[attr-defined] # one may wait for what a killed one had locked
        worker.kill()


def batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    """Yield a loader's batches; what a worker raises for the user is raised here in the same words.

    Raises:
        LocalError: a file cannot be used.
    """
    try:
        yield from loader
    except UserError as error:
        # A worker's exception arrives with its traceback wrapped into the message.
        raise LocalError(str(error).rstrip().rpartition("UserError: ")[2]) from None
