"""How a run was trained and tested: data, commit, versions, machine, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dygait.reporting.reported_run import ReportedRun
from dygait.untrusted import at


def run_details(run: ReportedRun) -> list[tuple[str, str]]:
    """Return the known details that are needed to reproduce a run: (name, value)."""
    origin, analysis, frames = run.origin, run.analysis, run.analysis.lengths
    details = [
        ("checkpoint", origin.get("checkpoint")),
        ("iteration", origin.get("iteration")),
        ("dataset", origin.get("dataset")),
        ("data fingerprint", origin.get("fingerprint")),
        ("test sequences", f"{len(analysis.ids):,} of {len(set(analysis.ids.tolist())):,} subjects"),
        ("frames of a sequence", f"min {frames.min()}, median {int(np.median(frames))}, max {frames.max()}"),
    ]
    for phase, record in run.records.items():
        details += [(f"{phase}: {name}", value) for name, value in _environment(record)]
    return [(name, str(value)) for name, value in details if value not in (None, "")]


def _environment(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    commit = at(record, "git", "commit")
    if commit:
        commit = f"{commit}{' with uncommitted changes' if at(record, 'git', 'changed') else ''}"
    versions = [
        f"{name} {record[key]}"
        for name, key in (("DyGait", "dygait"), ("PyTorch", "torch"), ("Python", "python"))
        if key in record
    ]
    machine = [str(record[key]) for key in ("device", "machine") if key in record]
    for singular, plural in (("process", "processes"), ("thread", "threads")):
        if plural in record:
            machine.append(f"{record[plural]} {singular if record[plural] == 1 else plural}")
    notes = "; ".join(map(str, at(record, "data", "notes") or []))
    return [
        ("time", record.get("time")),
        ("commit", commit),
        ("versions", ", ".join(versions)),
        ("machine", ", ".join(machine)),
        ("notes", notes),
    ]


def commands(run: ReportedRun) -> list[str]:
    """Return the recorded commands."""
    records = run.records.values()
    return [command_line(entry["command"]) for entry in records if isinstance(entry.get("command"), list)]


def command_line(arguments: Sequence[object]) -> str:
    """Return a recorded command as a shell command line."""
    program, *rest = map(str, arguments) if arguments else [""]
    name = Path(program).name
    start = ["dygait"] if name in ("__main__.py", "dygait") else ["python", program]
    return shlex.join([*start, *rest])
