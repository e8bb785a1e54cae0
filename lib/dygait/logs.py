"""Log lines and progress bars of rank 0."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from dygait import distributed
from dygait.untrusted import printable

T = TypeVar("T")

log = logging.getLogger("dygait")


def _use_own_lock() -> None:
    tqdm.set_lock(threading.RLock())


# tqdm's own lock is shared with forked processes: if one is killed while it writes, all others would wait for ever.
_use_own_lock()
os.register_at_fork(after_in_child=_use_own_lock)


class _TqdmHandler(logging.StreamHandler):
    """Writes log lines to stdout without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stdout)
        sys.stdout.flush()


def start_logging(folder: Path | None = None, phase: str = "") -> None:
    """Send the log lines of rank 0 to the terminal; other ranks log errors only.

    Args:
        folder: write the lines to `<phase>-<time>.txt` in this folder too.
        phase: `train`, `test` or `extract`.
    """
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = False
    log.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)
    if not distributed.is_main():
        return
    handlers: list[logging.Handler] = [_TqdmHandler()]
    if folder is not None:
        handlers.append(logging.FileHandler(folder / f"{phase}-{datetime.now():%Y%m%d-%H%M%S}.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)


def progress(items: Iterable[T], total: int, description: str, initial: int = 0) -> Iterable[T]:
    """Wrap an iterable in a progress bar, shown by rank 0 on a terminal only."""
    return tqdm(
        items, total=total, initial=initial, desc=description, disable=_is_hidden(), dynamic_ncols=True, leave=False
    )


def progress_bar(total: int, description: str, unit: str) -> tqdm[Any]:
    """Return a progress bar that the caller updates, shown by rank 0 on a terminal only."""
    return tqdm(total=total, desc=description, unit=unit, disable=_is_hidden(), dynamic_ncols=True, leave=False)


def _is_hidden() -> bool:
    return not (distributed.is_main() and sys.stderr.isatty())


def duration(seconds: float) -> str:
    """Format seconds as `1 h 05 min`, `3 min 10 s` or `12 s`."""
    rounded = round(seconds)
    if rounded >= 3600:
        return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
    return f"{rounded // 60} min {rounded % 60:02d} s" if rounded >= 60 else f"{rounded} s"
