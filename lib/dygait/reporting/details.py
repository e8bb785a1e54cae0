"""The tables of a run on the page, and how it was trained and tested."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dygait.reporting.reported_run import ReportedRun
from dygait.reporting.tables import percent
from dygait.untrusted import at

_LARGEST_TYPE_TABLE = 30


def protocol_descriptions(runs: Sequence[ReportedRun]) -> list[tuple[str, str, str]]:
    """Return the distinct protocols of runs: name, description, metric."""
    results = [run.analysis.result for run in runs]
    return list(dict.fromkeys((result.protocol, result.description, result.metric) for result in results))


def rate_table(run: ReportedRun) -> tuple[list[str], dict[str, list[str]]]:
    """Return the columns of the table of rates, and its cells by group; only rates that all groups resolve."""
    result = run.analysis.result
    tars = [g.pairs.verification.tar_at_far for g in run.analysis.groups.values() if g.pairs is not None]
    fars, fpirs = _resolved(tars), _resolved([one.dir_at_fpir for one in result.open_set.values()])
    columns = [
        *result.measures, "AUC", "EER", *(f"TAR at\nFAR {far:g}" for far in fars),
        *(f"DIR at\nFPIR {fpir:g}" for fpir in fpirs), "probes", "gallery",
    ]  # fmt: skip
    rows = {}
    for group, values in result.percentages.items():
        pairs, counts = run.analysis.groups[group].pairs, result.counts[group]
        rates = [math.nan] * (2 + len(fars))
        if pairs is not None:
            found = pairs.verification
            rates = [100 * rate for rate in (found.auc, found.eer, *(found.tar_at_far[far] for far in fars))]
        rates += [100 * result.open_set[group].dir_at_fpir[fpir] for fpir in fpirs]
        shown = [percent(value) for value in (*(values[m] for m in result.measures), *rates)]
        rows[group] = [*shown, f"{counts['probes']:,}", f"{counts['gallery']:,}"]
    return columns, rows


def _resolved(rates: Sequence[Mapping[float, float]]) -> list[float]:
    return [key for key in (rates[0] if rates else {}) if all(not math.isnan(one[key]) for one in rates)]


def type_rows(run: ReportedRun) -> list[tuple[list[str], list[str]]]:
    """Return labels and cells of the table by probe type; empty for one type, or for very many."""
    shares = [(name, share) for name, group in run.analysis.groups.items() for share in group.by_type]
    if not 1 < len(shares) <= _LARGEST_TYPE_TABLE:
        return []
    rows = []
    for name, s in shares:
        frames = f"{s.median:.0f}" if s.high else "–"
        cells = [str(s.probes), frames, percent(100 - 100 * s.error), f"± {percent(196 * s.spread)}"]
        rows.append(([name, s.name], cells))
    return rows


def run_details(run: ReportedRun) -> list[tuple[str, str]]:
    """Return what is needed to reproduce a run, as far as it is known: (name, value)."""
    origin, analysis, frames = run.origin, run.analysis, run.analysis.lengths
    found = [
        ("checkpoint", origin.get("checkpoint")),
        ("iteration", origin.get("iteration")),
        ("dataset", origin.get("dataset")),
        ("data fingerprint", origin.get("fingerprint")),
        ("test sequences", f"{len(analysis.ids):,} of {len(set(analysis.ids.tolist())):,} subjects"),
    ]
    if frames is not None:
        shown = f"min {frames.min()}, median {int(np.median(frames))}, max {frames.max()}"
        found.append(("frames of a sequence", shown))
    for phase, record in run.records.items():
        found += [(f"{phase}: {name}", value) for name, value in _environment(record)]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


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
    for one, several in (("process", "processes"), ("thread", "threads")):
        if several in record:
            machine.append(f"{record[several]} {one if record[several] == 1 else several}")
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
