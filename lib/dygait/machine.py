"""What this machine lends to a process; imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import sys

ALLOCATOR_VARIABLE = "DYGAIT_ALLOCATOR"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_KEPT = 2**31 - 1  # bytes; mallopt takes an int
_OLD_GLIBC_LIMIT = 32 * 2**20  # above this, older versions refuse M_MMAP_THRESHOLD
_PAD = 64 * 2**20


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or a batch job may hold fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tune_allocator() -> tuple[bool, str]:
    """Tell the C library to keep freed memory in the process; calling it again changes nothing.

    By default glibc asks the system for every large block (above 32 MiB, or less) and hands it back when it is freed:
    every large activation of every iteration is mapped and zeroed page by page anew. A user's own choice is left alone:
    the environment variable DYGAIT_ALLOCATOR=default, glibc's own variables, or another allocator that is preloaded.

    Returns:
        Whether freed memory is kept now, and a sentence that says so or says why not.
    """
    if os.environ.get(ALLOCATOR_VARIABLE) == "default":
        return False, f"the allocator is left as it is ({ALLOCATOR_VARIABLE}=default)"
    chosen = _chosen_by_user()
    if chosen is not None:
        return False, f"the allocator is left as it is: {chosen} is set"
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        return False, "the allocator is left as it is: this is not glibc's"
    kept = any(libc.mallopt(_M_MMAP_THRESHOLD, limit) for limit in (_KEPT, _OLD_GLIBC_LIMIT))
    if not (kept and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT) and libc.mallopt(_M_TOP_PAD, _PAD)):
        return False, "the allocator is left as it is: it refuses its thresholds"
    return True, "freed memory is kept for the next iteration (trainer_cfg.tune_allocator)"


def _chosen_by_user() -> str | None:
    """Return what the user has set about memory, if anything."""
    for name in sorted(os.environ):
        if name.startswith("MALLOC_"):
            return name
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES"
    return "LD_PRELOAD" if "malloc" in os.environ.get("LD_PRELOAD", "") else None
