"""Messages of commands: warnings, problems, written files, progress; and the exit code of problems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from dygait.files import write_atomically, write_errors
from dygait.untrusted import printable

INCOMPLETE = 3
"""The exit code if some of the input is damaged, or could not be used."""


def warn(message: str) -> None:
    """Print a warning."""
    print(printable(f"dygait: warning: {message}"), file=sys.stderr)


def print_problems(problems: Iterable[str]) -> int:
    """Print problems as the iterator yields them, and return their number."""
    count = 0
    for problem in problems:
        print(printable(f"dygait: {problem}"), file=sys.stderr)
        count += 1
    return count


def write_file(path: Path, text: str) -> None:
    """Write a text file, and print its path; UserError if it cannot be written."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    print(f"wrote {path}")


def progress_bar(description: str) -> Callable[[Iterable[int], int], Iterable[int]]:
    """Return a wrapper that shows a progress bar over sequences; it updates rarely outside a terminal."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    return lambda indices, total: tqdm(indices, total=total, desc=description, unit="sequence", mininterval=interval)
