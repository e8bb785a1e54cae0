"""What happened in a run, on disk as it happens: a line for each event, and how far it is.

``logs/events.jsonl`` has a JSON line for everything that a reader of the results may want to know: starts, checkpoints,
skipped steps, what was passed over or repaired, how it ended. ``logs/state.json`` says how far the run is, written anew
with every log line. `dygait status` reads both, without the run.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dygait import distributed, untrusted
from dygait.errors import UserError
from dygait.files import write_atomically
from dygait.runs.folder import RunFolder, append_line, writing

EVENTS = "events.jsonl"
STATE = "state.json"


def now() -> str:
    """Return the time, as events bear it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def add_event(folder: RunFolder, kind: str, **facts: Any) -> None:
    """Write down an event; on ranks other than 0 it does nothing.

    Args:
        folder: the run's folder, which exists.
        kind: one or two words: `saved`, `skipped step`.
        facts: plain values.

    Raises:
        UserError: it cannot be written down.
    """
    if not distributed.is_main():
        return
    with writing(folder):
        append_line(folder.logs / EVENTS, {"time": now(), "kind": kind, **facts})


def write_state(
    folder: RunFolder, phase: str, iteration: int, total: int, speed: float | None = None, **facts: Any
) -> None:
    """Write down how far a run is; on ranks other than 0 it does nothing.

    Args:
        folder: the run's folder.
        phase: `training`, `testing`.
        iteration: iterations done.
        total: iterations of the whole run.
        speed: iterations a second.
        facts: plain values.

    Raises:
        UserError: it cannot be written down.
    """
    if not distributed.is_main():
        return
    state = {
        "phase": phase,
        "iteration": iteration,
        "total": total,
        "speed": speed,
        "time": now(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        **facts,
    }
    with writing(folder):
        write_atomically(folder.logs / STATE, json.dumps(state) + "\n")


def read_events(logs: Path) -> list[dict[str, Any]]:
    """Return the events of a run in their order; lines that were cut off are left out."""
    return read_lines(logs / EVENTS)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the mappings of a file of JSON lines; a line that is none, as a crash leaves it, is left out.

    Raises:
        UserError: the file cannot be read, or is beyond all bounds.
    """
    if not path.is_file():
        return []
    found = []
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
            found.append(entry)
    return found
