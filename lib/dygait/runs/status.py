"""The state of a run, read from its files."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dygait.errors import UserError
from dygait.machine import is_running

_END_EVENTS = ("finished", "interrupted", "failed")
_COUNTED_EVENTS = ("skipped step", "damaged checkpoint", "unfinished files", "no TensorBoard")
_MAX_SILENCE = 600.0  # seconds without a log line after which a run on another machine counts as lost,
_MAX_INTERVALS = 10  # or this many times the usual time between two log lines, if it is longer
_MIN_SPEED = 1e-9  # iterations per second; below it the remaining time is unknown


def status(run: Path) -> dict[str, Any]:
    """Return the state of the run in a folder.

    Returns:
        `state` (running, finished, interrupted, failed, lost), `why`, `iteration`, `total`, `speed` (iterations per
        second), `seconds_left`, `last_word` (time of the last event or log line), `losses` (the last logged values),
        `checkpoint` (the newest undamaged one), `damaged` (newer, damaged ones), `memory` and `gpu_memory` (peak bytes
        of the process), `tests` (results, each with its iteration and protocol), `warnings`.

    Raises:
        UserError: the folder is not a run's.
    """
    from dygait.runs.checkpoint_files import newest_checkpoint
    from dygait.runs.events import EVENTS, STATE, read_lines

    logs = run / "logs"
    if not logs.is_dir():
        raise UserError(f"{run} is not a run's folder: it has no logs; give output/<dataset>/<model>/<save_name>")
    events, scalars = read_lines(logs / EVENTS), read_lines(logs / "scalars.jsonl")
    state = next(iter(read_lines(logs / STATE)), {})
    start = next((e for e in reversed(events) if e.get("kind") == "started"), None)
    latest = events[events.index(start) :] if start is not None else events  # of the latest start
    end = next((e for e in reversed(latest) if e.get("kind") in _END_EVENTS), None)
    last = max((str(e["time"]) for e in (state, *latest[-1:]) if "time" in e), default=None)
    name, why = _running_or_lost(state, last, scalars) if end is None else (str(end["kind"]), str(end.get("why", "")))
    speed: float = state.get("speed") or 0.0
    iteration, total = state.get("iteration"), state.get("total")
    damaged: list[str] = []
    newest = newest_checkpoint(run / "checkpoints", run.name, lambda path, damage: damaged.append(path.name))
    seconds_left = None
    if name == "running" and iteration is not None and total is not None and speed > _MIN_SPEED:
        seconds_left = (total - iteration) / speed
    counts = Counter(str(e["kind"]) for e in events if e.get("kind") in _COUNTED_EVENTS)
    notes = [str(n) for e in latest if e.get("kind") == "started" for n in e.get("notes", [])]
    return {
        "run": str(run),
        "state": name,
        "why": why,
        "iteration": iteration,
        "total": total,
        "speed": speed or None,
        "seconds_left": seconds_left,
        "last_word": last,
        "losses": {k: v for k, v in (scalars[-1] if scalars else {}).items() if k != "iteration"},
        "checkpoint": None if newest is None else newest.name,
        "damaged": damaged,
        "memory": state.get("memory"),
        "gpu_memory": state.get("gpu_memory"),
        "tests": [
            {key: e[key] for key in ("iteration", "protocol", "results") if key in e}
            for e in events
            if e["kind"] == "tested"
        ],
        "starts": sum(e.get("kind") == "started" for e in events),
        "warnings": [*(f"{count} x {kind}" for kind, count in sorted(counts.items())), *notes],
    }


def _running_or_lost(state: dict[str, Any], last: str | None, scalars: list[dict[str, Any]]) -> tuple[str, str]:
    """Distinguish a running run from one that was killed or crashed; return the state and the reason."""
    if not state or last is None:
        return "lost", "it has not logged an iteration"
    if state.get("host") == socket.gethostname():
        if "process" in state and is_running(state["process"]):
            return "running", ""
        return "lost", f"process {state.get('process')} has ended without an event; it was killed, or crashed"
    silence = (datetime.now(timezone.utc) - datetime.fromisoformat(last)).total_seconds()
    speed = state.get("speed") or 0.0
    interval = scalars[-1]["iteration"] - scalars[-2]["iteration"] if len(scalars) > 1 else 1
    if silence > max(_MAX_SILENCE, _MAX_INTERVALS * interval / speed if speed else 0.0):
        return "lost", f"no news from {state.get('host')} for {silence / 60:.0f} minutes"
    return "running", f"on {state.get('host')}"
