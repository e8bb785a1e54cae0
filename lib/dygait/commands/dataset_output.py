"""What `dygait pack`, `unpack` and `verify` print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

DAMAGED = 3
"""The exit code where a dataset was read and something in it cannot be used."""


def print_problems(problems: Iterable[str]) -> int:
    """Print problems as they come, and return how many there were."""
    count = 0
    for problem in problems:
        print(f"dygait: {problem}", file=sys.stderr)
        count += 1
    return count


def progress_bar(description: str) -> Callable[[Iterable[int], int], Iterable[int]]:
    """Return what shows a bar over sequences: live on a terminal, a line now and then in a log file."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    return lambda indices, total: tqdm(indices, total=total, desc=description, unit="sequence", mininterval=interval)
