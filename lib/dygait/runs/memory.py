"""Out-of-memory errors with the sizes of the batch and a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from dygait.data.collate import Batch
from dygait.errors import LocalError


@contextlib.contextmanager
def explained_memory(batch: Batch, remedy: str) -> Iterator[None]:
    """Convert an out-of-memory error in a `with` block that computes a batch to a `LocalError` with a remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        n, s, *_, h, w = batch.silhouettes.shape
        reason = next(iter(str(error).splitlines()), "no memory")
        raise LocalError(
            f"out of memory with a batch of {n} sequences of {s} frames of {h}x{w} ({reason}): {remedy}"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error, of a GPU or of the host."""
    markers = ("DefaultCPUAllocator", "bad_alloc")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in markers)
