"""The events and the progress of a run, written as they happen.

``logs/events.jsonl`` has a JSON line for each event: starts, checkpoints, skipped steps, damaged or removed files, the
end of the run. ``logs/state.json`` holds the progress, rewritten with every log line. `dygait status` reads both. A
UserError is raised if they cannot be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dygait import distributed, untrusted
from dygait.errors import Interrupted, UserError
from dygait.files import write_atomically
from dygait.runs.folder import RunFolder, append_line, now, writing

EVENTS = "events.jsonl"
STATE = "state.json"


def add_event(folder: RunFolder, kind: str, **fields: Any) -> None:
    """Append an event, of a kind such as `saved`, with fields of plain values; ranks other than 0 do nothing."""
    if not distributed.is_main():
        return
    with writing(folder):
        append_line(folder.logs / EVENTS, {"time": now(), "kind": kind, **fields})


def write_state(folder: RunFolder, iteration: int, total: int, speed: float, **fields: Any) -> None:
    """Write the progress of training, with further fields of plain values; ranks other than 0 do nothing.

    `total` is the number of iterations of the whole run, `speed` is in iterations per second.
    """
    if not distributed.is_main():
        return
    state = {"iteration": iteration, "total": total, "speed": speed, **fields}
    state.update(time=now(), host=socket.gethostname(), process=os.getpid())
    with writing(folder):
        write_atomically(folder.logs / STATE, json.dumps(state) + "\n")


@contextlib.contextmanager
def recorded_end(folder: RunFolder) -> Iterator[None]:
    """Append an event, `interrupted` or `failed`, if an exception ends a `with` block."""
    try:
        yield
    except Interrupted as interrupted:
        add_event(folder, "interrupted", why=str(interrupted))
        raise
    except BaseException as error:
        with contextlib.suppress(UserError):  # the first error is the one to report
            add_event(folder, "failed", why=str(error) or type(error).__name__)
        raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the mappings in a file of JSON lines; invalid lines, which a crash may leave, are skipped.

    Raises:
        UserError: the file cannot be read, or is too large.
    """
    if not path.is_file():
        return []
    entries = []
    try:
        lines = untrusted.read_bytes(path).decode(errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for line in lines:
        try:
            entry = untrusted.parse_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
