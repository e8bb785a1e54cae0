"""The largest batch that fits the memory.

On a GPU, a batch that does not fit raises an error, which is caught. On a CPU, it would exhaust the memory of the
machine. There each size is tried in a child process that is killed when it exceeds its limit, and sizes that would
exceed the limit by extrapolation from smaller ones are not tried.
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
"""The share of the free memory that a batch may take; the rest is for the loader and other programs."""
LARGEST = 4096
"""The largest number of subjects that is tried."""
_POLL_SECONDS = 0.02

Trial = Callable[[int], int | None]
"""Takes a number of subjects, and returns the peak memory of two training steps in bytes; None if they do not fit."""


def find_largest(
    trial: Trial, free: int | None, most: int = LARGEST, log: Callable[[str], None] = print
) -> dict[int, int]:
    """Find the largest number of subjects that fits, at least two, the minimum for a triplet.

    The number is doubled as long as it fits, then bisected. If the free memory is known, sizes that exceed it by linear
    extrapolation from the two largest sizes that fit are not tried.

    Args:
        trial: tries a number of subjects.
        free: free memory in bytes; None if unknown.
        most: the largest number that is tried.
        log: takes a message for each size.

    Returns:
        Number of subjects -> peak memory in bytes, of those that fit.
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
    """Extrapolate the bytes linearly from the two largest sizes that fit; None without two."""
    if len(fitted) < 2:
        return None
    (a, first), (b, second) = sorted(fitted.items())[-2:]
    return second + max(0.0, (second - first) / (b - a)) * (people - b)


def steps_peak(config: Config, device: torch.device, people: int) -> int:
    """Run two training steps on example silhouettes and return their peak memory in bytes."""
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
    """Run a trial in this process, which becomes the preferred victim of the kernel's OOM killer."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - write_text would truncate, which /proc refuses
            file.write("1000")
    except OSError:
        pass
    torch.set_num_threads(threads)
    try:
        pipe.send(steps_peak(Settings.model_validate(settings), torch.device("cpu"), people))
    except (RuntimeError, MemoryError) as error:  # PyTorch's CPU allocator raises a RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        pipe.send(None)


def run_limited(target: Callable[..., None], arguments: tuple[Any, ...], limit: int | None) -> int | None:
    """Run a function in a child process, which is killed when it uses more than `limit` bytes.

    Args:
        target: the function; its arguments are a pipe connection for the result, and `arguments`.
        arguments: further arguments.
        limit: bytes of resident memory.

    Returns:
        The result that it sends; None if the process was killed.

    Raises:
        UserError: the process ended without a result.
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
        if process.exitcode == -9:  # by the OOM killer
            return None
        raise UserError("a step on example silhouettes failed; `dygait profile` with this batch shows why") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def find_batch(config: Config, device: torch.device, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Find the largest P such that a training batch of P x K sequences fits, with K from the configuration.

    Args:
        config: the experiment.
        device: where to compute.
        log: takes a message for each size.

    Returns:
        Plain values, as `to_text` prints them.

    Raises:
        UserError: P = 2 does not fit.
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
            raise UserError("--find-batch: the free memory of this system is unknown (Linux reports it)")
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
    within = "" if found["limit"] is None else f" of the limit of {found['limit'] / 2**30:.2f} GiB"
    return (
        f"largest batch that fits: {people} x {each} = {people * each} sequences, {found['bytes'] / 2**30:.2f} GiB"
        f"{within}; trainer_cfg.sampler.batch_size: [{people}, {each}]"
    )
