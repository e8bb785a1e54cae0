"""The largest batch that fits the memory.

On a GPU, a batch that does not fit raises an error. On a CPU it would exhaust the memory of the machine: there, each
size is tried in a child process whose memory is limited.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dygait.config import Config
from dygait.config.custom_imports import import_file
from dygait.data.samplers import views_of
from dygait.errors import UserError
from dygait.profiling import machine_peak
from dygait.profiling.example_batch import batch_size, example_batch
from dygait.runs.memory import is_out_of_memory
from dygait.training.trainer import build_trainer

LARGEST = 4096
"""The largest number of subjects that is tried."""


def find_largest(
    trial: Callable[[int], int], most: int = LARGEST, log: Callable[[str], None] = print
) -> dict[int, int]:
    """Find the largest number of subjects that fits, at least two, the minimum for a triplet.

    The number is doubled as long as it fits, then bisected. `trial` takes a number of subjects, and returns the peak
    memory in bytes or raises an out-of-memory error; `log` takes a message for each number.

    Returns:
        Number of subjects that fits -> peak memory in bytes.
    """
    fitted: dict[int, int] = {}
    low, high = 1, most + 1  # the largest number that fits, the smallest that does not
    while high - low > 1:
        subjects = min(2 * low, most) if high > most else (low + high) // 2
        try:
            fitted[subjects] = trial(subjects)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log(f"{subjects} subjects do not fit")
            high = subjects
        else:
            log(f"{subjects} subjects fit: {fitted[subjects] / 2**30:.2f} GiB")
            low = subjects
    return fitted


def steps_peak(config: Config, device: torch.device, subjects: int) -> int:
    """Run two training steps on example silhouettes and return their peak memory in bytes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of an earlier call
    trainer = build_trainer(config, device)
    trainer.training_mode()
    batch = example_batch(config, subjects, batch_size(config)[1], trainer.network)
    machine_peak.start_peak(device)
    for _ in range(2):
        trainer.step(batch)
    return machine_peak.peak_bytes(device) or 0


def _in_child(config: Config, limit: int, subjects: int) -> int:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_limited_peak, config, torch.get_num_threads(), limit, subjects).result()
        except BrokenProcessPool:  # killed by the system
            raise MemoryError from None


def _limited_peak(config: Config, threads: int, limit: int, subjects: int) -> int:
    torch.set_num_threads(threads)
    for file in config.custom_imports:
        import_file(Path(file))
    with machine_peak.limited_memory(limit):
        return steps_peak(config, torch.device("cpu"), subjects)


def find_batch(config: Config, device: torch.device, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Find the largest P such that a training batch of P x K sequences fits, with K from the configuration.

    Returns:
        Plain values, as `to_text` prints them.

    Raises:
        UserError: P = 2 does not fit.
    """
    count = batch_size(config)[1]  # both views, if the sampler draws two
    if 2 * count < config.trainer_cfg.accumulate:
        raise UserError(
            f"trainer_cfg.accumulate is {config.trainer_cfg.accumulate}, but 2 subjects have {2 * count} sequences"
        )
    start = time.monotonic()
    limit = machine_peak.usable_bytes(device)
    if device.type == "cpu" and limit is None:
        raise UserError("--find-batch: the free memory of this system is unknown (Linux reports it)")
    trial = partial(steps_peak, config, device) if limit is None else partial(_in_child, config, limit)
    fitted = find_largest(trial, log=log)
    if not fitted:
        raise UserError(f"not even 2 subjects x {count} sequences fit; lower K, the frames or the channels")
    subjects = max(fitted)
    return {
        "batch": [subjects, count // views_of(config.trainer_cfg.sampler.type)],
        "bytes": fitted[subjects],
        "limit": limit,
        "tried": {str(p): size for p, size in sorted(fitted.items())},
        "seconds": time.monotonic() - start,
    }


def to_text(result: dict[str, Any]) -> str:
    """Return the result as text."""
    subjects, per_subject = result["batch"]
    limit = "" if result["limit"] is None else f" of the limit of {result['limit'] / 2**30:.2f} GiB"
    return (
        f"largest batch that fits: {subjects} x {per_subject} = {subjects * per_subject} sequences, "
        f"{result['bytes'] / 2**30:.2f} GiB{limit}; trainer_cfg.sampler.batch_size: [{subjects}, {per_subject}]"
    )
