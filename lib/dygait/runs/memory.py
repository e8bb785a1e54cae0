"""Running out of memory, in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from dygait.data import Batch
from dygait.errors import LocalError


@contextlib.contextmanager
def explained_memory(batch: Batch, parts: int) -> Iterator[None]:
    """Turn running out of memory within a `with` block into an error that says with what, and what to change.

    Args:
        batch: what is computed.
        parts: `trainer_cfg.accumulate`.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        n, s, h, w = batch.silhouettes.shape
        raise LocalError(
            f"out of memory with a batch of {n} sequences of {s} frames of {h}x{w} in {parts} part(s): set "
            f"trainer_cfg.accumulate to {2 * parts}, or lower trainer_cfg.sampler.batch_size or frames_num_fixed"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that there was no more memory, on a GPU or on the host."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
