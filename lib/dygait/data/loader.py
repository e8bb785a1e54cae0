"""The data loader: batches in the order of the sampler, for any number of workers."""

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
from dygait.machine import END_SIGNALS

_DETECTION_SECONDS = 2.0
"""The time within which PyTorch detects that a worker was killed, and raises an error."""


def _prepare_worker(worker: int) -> None:
    """Use one thread, since there are many workers, and ignore signals, which the training process handles."""
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def make_loader(
    dataset: SequenceDataset, sampler: Iterable[list[Request]], workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Return a loader of the `Batch`es of a sampler, with worker processes or, if `workers` is 0, in this process."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_prepare_worker,
    )


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Kill the workers that a `with` block has started if it ends with an error; `LocalError` if a worker was killed.

    Workers ignore the SIGTERM with which PyTorch and Python end them, so that the process would wait for them at exit.
    PyTorch raises the error of a killed worker at any time, such as during a step or a checkpoint.
    """
    before = multiprocessing.active_children()
    try:
        yield
    except BaseException as error:
        _kill([worker for worker in multiprocessing.active_children() if worker not in before])
        killed = _killed_worker(error)
        if killed is None:
            raise
        raise LocalError(
            f"process {killed[1]}, which loads data, {killed[2]}: usually out of memory, or /dev/shm is full; "
            "lower data_cfg.num_workers (0: no loader processes), and resume with --resume"
        ) from None


def _killed_worker(error: BaseException | None) -> re.Match[str] | None:
    """Return the match (pids, reason) of PyTorch's message about a killed worker; None for another error.

    Where the error interrupts a write, torch.save raises another one, with this one as its context; where it interrupts
    the serialisation of a configuration, pydantic raises another one, whose message names this one's type and message.
    """
    while error is not None:
        text = f"{type(error).__name__}: {error}"
        match = re.search(r"\bRuntimeError: DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]*)", text)
        if match is not None:
            return match
        error = error.__context__
    return None


def _kill(workers: Iterable[Any]) -> None:
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise an error
    for worker in workers:
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, handler)


def batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    """Yield the batches of a loader; a `UserError` of a worker is raised as `LocalError`, with its message."""
    try:
        yield from loader
    except UserError as error:
        # The message of a worker's exception contains its traceback.
        raise LocalError(str(error).rstrip().rpartition("UserError: ")[2]) from None
    except (ConnectionError, EOFError, FileNotFoundError):
        time.sleep(_DETECTION_SECONDS)  # if a worker was killed, PyTorch raises its error here
        raise
