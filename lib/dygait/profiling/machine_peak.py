"""Peak throughput and memory of this machine, measured in the same run as the profile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from dygait.machine import status_bytes

_REPEATS = 4
_MIN_SECONDS = 0.05
"""The minimal duration of a measured matrix product, in seconds."""
_USABLE_SHARE = 0.8
"""The share of the available memory that a step may take; the rest is for the loader and other programs."""


def _seconds(device: torch.device, function: Callable[[], object]) -> float:
    """Return the shortest of `_REPEATS` times, after a warm-up."""
    synchronize = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(_REPEATS + 1):
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def products_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Return the multiply-adds per second of a large matrix product: the measured peak in a dtype."""
    size = 256
    while True:
        a, b, out = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(3))
        seconds = _seconds(device, partial(torch.mm, a, b, out=out))
        if seconds >= _MIN_SECONDS or size >= 16384:
            return size**3 / seconds
        size *= 2


def start_peak(device: torch.device) -> None:
    """Reset the peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset = Path("/proc/self/clear_refs")
        if reset.exists():
            reset.write_text("5")


def peak_bytes(device: torch.device) -> int | None:
    """Return the peak memory since `start_peak`: allocated on a GPU, resident on a CPU; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return status_bytes("VmHWM")


@contextlib.contextmanager
def limited_memory(limit: int | None) -> Iterator[None]:
    """Make this process run out of memory where it allocates more than `limit` further bytes in a `with` block."""
    allocated = status_bytes("VmData")
    if limit is None or allocated is None:
        yield
        return
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (allocated + limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def usable_bytes(device: torch.device) -> int | None:
    """Return the limit of a training step on a CPU: a share of the available memory; None if unknown, or on a GPU."""
    available = available_bytes() if device.type == "cpu" else None
    return None if available is None else int(_USABLE_SHARE * available)


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes that a process can allocate, by the machine and by all of its control groups; None if unknown.

    `root` is the folder of proc and sys; tests use another.
    """
    try:
        info = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next(int(line.split()[1]) * 1024 for line in info if line.startswith("MemAvailable:"))
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):  # a group is limited by its parents too
            if folder.is_relative_to(mount):
                free = min(free, _left_in_group(folder, *names, free))
    return free


def _left_in_group(folder: Path, limit: str, usage: str, cache: str, unlimited: int) -> int:
    try:
        allowed, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        statistics = (folder / "memory.stat").read_text().splitlines()
    except OSError:  # inside a container the path of an outer group need not exist
        return unlimited
    if allowed == "max":
        return unlimited
    # Inactive page cache is reclaimed on demand.
    cached = next((int(line.split()[1]) for line in statistics if line.startswith(f"{cache} ")), 0)
    return max(0, int(allowed) - used + cached)
