"""`dygait status`: how a run is doing, from its files alone."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dygait.errors import UserError

_ENDS = ("finished", "interrupted", "failed")
_REMARKABLE = ("skipped step", "passed over", "left out", "test failed", "restarted", "tidied", "no TensorBoard")
_SILENT = 600.0  # seconds without a word, after which a run on another machine is taken for dead
_PATIENCE = 10  # so many times the usual time between two words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Say how a run is doing, from the files in its folder."
    parser.add_argument("run", type=Path, help="the run's folder: output/<dataset>/<model>/<save_name>")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print the summary.

    Raises:
        UserError: the folder is not a run's.
    """
    found = status(args.run)
    print(json.dumps(found, indent=2) if args.json else to_text(found))
    return 0


def status(run: Path) -> dict[str, Any]:
    """Return what the files of a run say.

    Args:
        run: the run's folder.

    Returns:
        `state` (running, finished, interrupted, failed, lost), `why`, `iteration`, `total`, `speed` (iterations a
        second), `seconds_left`, `last_word` (time), `losses` (the last that were logged), `checkpoint` (the newest that
        is whole), `damaged` (newer ones that are not), `tests` (results by iteration), `warnings`.

    Raises:
        UserError: the folder is not a run's.
    """
    from dygait.engine.checkpoint import newest_checkpoint
    from dygait.engine.events import STATE, read_events, read_lines

    logs = run / "logs"
    if not logs.is_dir():
        raise UserError(f"{run} is not a run's folder: it has no logs; give output/<dataset>/<model>/<save_name>")
    events = read_events(logs)
    state = next(iter(read_lines(logs / STATE)), {})
    scalars = read_lines(logs / "scalars.jsonl")
    began = next((e for e in reversed(events) if e.get("kind") == "started"), None)
    since = events[events.index(began) :] if began is not None else events
    end = next((e for e in reversed(since) if e.get("kind") in _ENDS), None)
    last = max((str(e["time"]) for e in (state, *since[-1:]) if "time" in e), default=None)
    name, why = _alive(state, last, scalars) if end is None else (str(end["kind"]), str(end.get("why", "")))
    speed = state.get("speed")
    iteration, total = state.get("iteration"), state.get("total")
    damaged: list[str] = []
    newest = newest_checkpoint(run / "checkpoints", run.name, lambda path, damage: damaged.append(path.name))
    left = (total - iteration) / speed if name == "running" and speed and iteration is not None else None
    counted = Counter(str(e["kind"]) for e in events if e.get("kind") in _REMARKABLE)
    notes = [str(n) for e in since if e.get("kind") == "started" for n in e.get("notes", [])]
    return {
        "run": str(run),
        "state": name,
        "why": why,
        "iteration": iteration,
        "total": total,
        "speed": speed,
        "seconds_left": left,
        "last_word": last,
        "losses": {k: v for k, v in (scalars[-1] if scalars else {}).items() if k != "iteration"},
        "checkpoint": None if newest is None else newest.name,
        "damaged": damaged,
        "starts": sum(e.get("kind") == "started" for e in events),
        "warnings": [*(f"{count} x {kind}" for kind, count in sorted(counted.items())), *notes],
    }


def _alive(state: dict[str, Any], last: str | None, scalars: list[dict[str, Any]]) -> tuple[str, str]:
    """Tell a run that goes on from one that ended without a word."""
    if not state or last is None:
        return "lost", "it has not said how far it is"
    if state.get("host") == socket.gethostname():
        try:
            os.kill(int(state["process"]), 0)
        except (ProcessLookupError, KeyError, ValueError):
            return "lost", f"process {state.get('process')} is gone without a word; it was killed, or crashed"
        except PermissionError:
            pass  # someone else's, but there
        return "running", ""
    silent = (datetime.now(timezone.utc) - datetime.fromisoformat(last)).total_seconds()
    speed = state.get("speed") or 0.0
    every = scalars[-1]["iteration"] - scalars[-2]["iteration"] if len(scalars) > 1 else 1
    if silent > max(_SILENT, _PATIENCE * every / speed if speed else 0.0):
        return "lost", f"nothing was heard from {state.get('host')} for {silent / 60:.0f} minutes"
    return "running", f"on {state.get('host')}"


def to_text(found: dict[str, Any]) -> str:
    """Return a status as lines for people."""
    from dygait.engine.monitor import duration

    why = f": {found['why']}" if found["why"] else ""
    lines = [f"{found['run']}: {found['state']}{why}"]
    if found["iteration"] is not None:
        speed = f", {found['speed']:.2f} it/s" if found["speed"] else ""
        left = f", {duration(found['seconds_left'])} left" if found["seconds_left"] is not None else ""
        lines.append(
            f"iteration   {found['iteration']} of {found['total']}{speed}{left}; last word {found['last_word']}"
        )
    if found["last_word"] is not None:
        lines.append(f"last word   {found['last_word']}")
    if found["losses"]:
        lines.append("last values " + ", ".join(f"{name} {_number(value)}" for name, value in found["losses"].items()))
    lines.append(f"checkpoint  {found['checkpoint'] or 'none that is whole'}")
    if found["damaged"]:
        lines.append(f"damaged     {', '.join(found['damaged'])}")
    if found["starts"] > 1:
        lines.append(f"starts      {found['starts']}")
    lines += [f"warning     {text}" for text in found["warnings"]]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
