"""The loader: requests in, batches out, in the sampler's order whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from dygait.data.collate import Batch, SharedRing, collate
from dygait.data.dataset import Request, Sample, SequenceDataset
from dygait.errors import LocalError, UserError

_PREFETCH = 3
"""Batches that each worker is ahead."""


class _CollateInTurn:
    """Collates in a worker into memory that it shares with the training process, in turn.

    A worker is at most `_PREFETCH` batches ahead of the one that is in use; one more is spared for the batch before.
    """

    def __init__(self) -> None:
        self.ring: SharedRing | None = None

    def __call__(self, samples: list[Sample]) -> Batch:
        if self.ring is None:  # made where it is used: in the worker
            self.ring = SharedRing((_PREFETCH + 2) * (1 + len(samples[0].others)))
        return collate(samples, self.ring)


def _one_thread(worker: int) -> None:
    """A worker is one of many: threads inside it would only fight."""
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
        {"persistent_workers": True, "prefetch_factor": _PREFETCH, "worker_init_fn": _one_thread} if workers else {}
    )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_CollateInTurn() if workers else collate,
        pin_memory=pin_memory,
        **several,
    )


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
