"""CPU cores, signals, memory and the allocator of this process; imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

END_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
"""The signals that end a run early. Slurm can send SIGUSR1 some time before SIGTERM."""
ALLOCATOR_VARIABLE = "DYGAIT_ALLOCATOR"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_MAX_THRESHOLD = 2**31 - 1  # bytes; mallopt takes an int
_OLD_MAX_MMAP_THRESHOLD = 32 * 2**20  # the largest M_MMAP_THRESHOLD of older versions
_PAD = 64 * 2**20


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or a batch job may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    peak = status_bytes("VmHWM")
    if peak is not None:  # unlike ru_maxrss, it is not inherited from the parent process
        return peak
    import resource  # Linux and macOS have it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)


def status_bytes(field: str) -> int | None:
    """Return a memory field of this process from Linux's /proc in bytes; None without /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 2**10 for line in lines if line.startswith(f"{field}:")), None)


def is_running(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it belongs to another user, but exists
    return True


def tune_allocator() -> tuple[bool, str]:
    """Make glibc keep freed memory in the process; calling it again changes nothing.

    By default glibc maps every large block (above 32 MiB, or less) and unmaps it when it is freed: the pages of every
    large activation are mapped and zeroed again in every iteration. Settings of the user have precedence: the
    environment variable DYGAIT_ALLOCATOR=default, glibc's own variables, or a preloaded allocator.

    Returns:
        Whether freed memory is kept, and a message that says so or why not.
    """
    if os.environ.get(ALLOCATOR_VARIABLE) == "default":
        return False, f"the allocator is unchanged ({ALLOCATOR_VARIABLE}=default)"
    if (variable := _user_setting()) is not None:
        return False, f"the allocator is unchanged: {variable} is set"
    libc = libc_with_mallopt()
    if libc is None:
        return False, "the allocator is unchanged: it is not glibc's"
    accepted = any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in (_MAX_THRESHOLD, _OLD_MAX_MMAP_THRESHOLD))
    if not (accepted and libc.mallopt(_M_TRIM_THRESHOLD, _MAX_THRESHOLD) and libc.mallopt(_M_TOP_PAD, _PAD)):
        return False, "the allocator is unchanged: it rejects the thresholds"
    return True, "freed memory is kept for the next iteration (trainer_cfg.tune_allocator)"


def libc_with_mallopt() -> ctypes.CDLL | None:
    """Return the C library where it is glibc, else None."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _user_setting() -> str | None:
    """Return the name of a variable by which the user configures the allocator, if any."""
    for name in sorted(os.environ):
        if name.startswith("MALLOC_"):
            return name
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES"
    return "LD_PRELOAD" if "malloc" in os.environ.get("LD_PRELOAD", "") else None
