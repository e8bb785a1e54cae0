"""What this machine lends to a process; imports nothing heavy."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or a batch job may hold fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
