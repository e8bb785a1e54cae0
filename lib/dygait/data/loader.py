"""The loader: requests in, batches out, in the sampler's order whatever the number of workers."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from dygait.data.collate import Batch, collate
from dygait.data.dataset import Request, SequenceDataset
from dygait.errors import LocalError, UserError

_PREFETCH = 3
"""Batches that each worker is ahead."""

_NOTICED = 2.0
"""Seconds within which PyTorch raises that a worker was killed."""

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

    Args:
        dataset: answers requests.
        sampler: yields the requests of a batch.
        workers: loader processes; 0 loads in this one.
        pin_memory: for copies to a GPU that do not wait.
    """
    several: dict[str, Any] = (
        {"persistent_workers": True, "prefetch_factor": _PREFETCH, "worker_init_fn": _prepare_worker} if workers else {}
    )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        **several,
    )


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Kill the workers that a `with` block has started if it ends in an error, and explain the error if one was killed.

    They ignore the SIGTERM by which PyTorch and Python end them: the process, which waits for them at its end, would
    hang. That a worker was killed PyTorch raises wherever the process is, in the middle of a step or of a checkpoint.

    Raises:
        LocalError: a worker was killed.
    """
    before = multiprocessing.active_children()
    try:
        yield
    except BaseException as error:
        _kill([worker for worker in multiprocessing.active_children() if worker not in before])
        died = _death_of_worker(error)
        if died is None:
            raise
        raise LocalError(
            f"process {died[1]}, which loads data, {died[2]}: most often the machine is short of memory, or /dev/shm "
            f"is full; lower data_cfg.num_workers (0: the run loads its data itself), and go on with --resume"
        ) from None


def _death_of_worker(error: BaseException | None) -> re.Match[str] | None:
    """Return the numbers of workers, and what became of them, from what PyTorch raised in the middle of anything."""
    while error is not None:
        died = re.search(r"^DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]*)", str(error))
        if died is not None and isinstance(error, RuntimeError):
            return died
        error = error.__context__  # torch.save raises another error when a write is interrupted by this one
    return None


def _kill(workers: Iterable[Any]) -> None:
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would raise that they were killed
    for worker in workers:
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, handler)


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
    except (ConnectionError, EOFError, FileNotFoundError):
        time.sleep(_NOTICED)  # a worker was killed as it handed over memory, perhaps: PyTorch raises so in here
        raise
