"""The largest batch that fits the memory.

On a GPU by trying: a batch that does not fit fails and is caught. On a CPU a batch that does not fit takes the machine
down with it, so there each size is tried in a process of its own that is watched and ended when it takes more than its
share, and no size is tried that will not fit by what the smaller ones took.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from dygait.config import Config
from dygait.config.schema import Config as Settings
from dygait.errors import UserError
from dygait.profiling import machine_peak
from dygait.profiling.example_batch import batch_size, classes_of, example_batch
from dygait.training.trainer import build_trainer

MEMORY_SHARE = 0.8
"""The share of the free memory that a batch may take: the rest is for loader, other programs and surprises."""
LARGEST = 4096
"""People in a batch; nobody trains with more."""
_POLL_SECONDS = 0.02

Trial = Callable[[int], int | None]
"""Takes a number of people, and returns the bytes at the peak of two training steps; None where they do not fit."""


def find_largest(
    trial: Trial, free: int | None, most: int = LARGEST, log: Callable[[str], None] = print
) -> dict[int, int]:
    """Look for the largest number of people that fits, from two on, the fewest that a triplet needs.

    Doubles as long as that fits, then halves the gap. Where the free memory is known, nothing is tried that would not
    fit if it grew in proportion from the two largest sizes that did.

    Args:
        trial: tries a number of people.
        free: bytes; None: unknown, everything is tried.
        most: try no more people than so many.
        log: takes a message for each size.

    Returns:
        The bytes of every number of people that fitted; empty where none did.
    """
    fitted: dict[int, int] = {}
    low, high = 1, most + 1  # fits, and does not
    while high - low > 1:
        people = min(2 * low, most) if high > most else (low + high) // 2
        predicted = _predict(fitted, people)
        if free is not None and predicted is not None and predicted > free:
            log(f"{people} people would take about {predicted / 2**30:.2f} GiB: not tried")
            high = people
            continue
        peak = trial(people)
        if peak is None or (free is not None and peak > free):
            log(f"{people} people do not fit")
            high = people
        else:
            log(f"{people} people fit: {peak / 2**30:.2f} GiB")
            fitted[people] = peak
            low = people
    return fitted


def _predict(fitted: dict[int, int], people: int) -> float | None:
    """Return the bytes in proportion to the two largest that fitted; None without two."""
    if len(fitted) < 2:
        return None
    (a, first), (b, second) = sorted(fitted.items())[-2:]
    return second + max(0.0, (second - first) / (b - a)) * (people - b)


def steps_peak(config: Config, device: torch.device, people: int) -> int:
    """Take two training steps on example silhouettes and return the most memory that they took."""
    trainer = build_trainer(config, device)
    trainer.training_mode()
    batch = example_batch(config, people, batch_size(config)[1], classes_of(trainer.network))
    machine_peak.start_peak(device)
    for _ in range(2):
        trainer.step(batch, [255.0] * config.data_cfg.modalities)
    return machine_peak.peak_bytes(device) or 0


def _on_gpu(config: Config, device: torch.device, people: int) -> int | None:
    try:
        return steps_peak(config, device, people)
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def _on_cpu(config: Config, limit: int, people: int) -> int | None:
    return run_limited(_in_child, (config.as_dict(), torch.get_num_threads(), people), limit)


def _in_child(pipe: Any, settings: dict[str, Any], threads: int, people: int) -> None:
    """Run a trial in this process, the first that the system ends where memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - write_text would truncate, which /proc refuses
            file.write("1000")
    except OSError:
        pass
    torch.set_num_threads(threads)
    try:
        pipe.send(steps_peak(Settings.model_validate(settings), torch.device("cpu"), people))
    except (RuntimeError, MemoryError) as error:  # PyTorch's allocator has no error of its own on a CPU
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        pipe.send(None)


def run_limited(target: Callable[..., None], arguments: tuple[Any, ...], limit: int | None) -> int | None:
    """Run a trial in a process of its own, ended when it holds more than `limit` bytes.

    Args:
        target: takes the end of a pipe to answer to, and `arguments`.
        arguments: what it is given.
        limit: bytes.

    Returns:
        Its answer; None where it was ended, or answered None.

    Raises:
        UserError: it ended by itself without an answer.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender, *arguments), daemon=True)
    process.start()
    sender.close()
    try:
        while not receiver.poll(_POLL_SECONDS):
            held = machine_peak.status_bytes("VmRSS", process.pid or 0)
            if limit is not None and held is not None and held > limit:
                return None
        answer: int | None = receiver.recv()
        return answer
    except EOFError:
        process.join()
        if process.exitcode == -9:  # by the system, for want of memory
            return None
        raise UserError("a step on example silhouettes failed; `dygait profile` with this batch shows why") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def find_batch(config: Config, device: torch.device, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Find the largest number of people P of a training batch of P x K sequences that fits, K kept.

    Args:
        config: the experiment.
        device: where to compute.
        log: takes a message for each size.

    Returns:
        Plain values, as `to_text` prints them.

    Raises:
        UserError: not even two people fit.
    """
    each = batch_size(config)[1]
    if 2 * each < config.trainer_cfg.accumulate:
        raise UserError(
            f"trainer_cfg.accumulate is {config.trainer_cfg.accumulate}, but 2 people have {2 * each} sequences"
        )
    start = time.monotonic()
    free = None
    if device.type == "cuda":
        trial: Trial = partial(_on_gpu, config, device)
    else:
        available = machine_peak.available_bytes()
        if available is None:
            raise UserError("--find-batch: this system does not say how much memory is free (Linux does)")
        free = int(MEMORY_SHARE * available)
        trial = partial(_on_cpu, config, free)
    fitted = find_largest(trial, free, log=log)
    if not fitted:
        raise UserError(f"not even 2 people x {each} sequences fit; lower K, the frames or the channels")
    people = max(fitted)
    return {
        "batch": [people, each],
        "bytes": fitted[people],
        "limit": free,
        "tried": {str(p): size for p, size in sorted(fitted.items())},
        "seconds": time.monotonic() - start,
    }


def to_text(found: dict[str, Any]) -> str:
    """Return the result as text."""
    people, each = found["batch"]
    within = "" if found["limit"] is None else f" of {found['limit'] / 2**30:.2f} GiB that it may take"
    return (
        f"largest batch that fits: {people} x {each} = {people * each} sequences, {found['bytes'] / 2**30:.2f} GiB"
        f"{within}; trainer_cfg.sampler.batch_size: [{people}, {each}]"
    )
