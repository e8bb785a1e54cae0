"""The last section of a run: how it was trained, and everything that is needed to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dygait.reporting import charts
from dygait.reporting.charts import Series
from dygait.reporting.markup import Html, tag
from dygait.reporting.runs import Run
from dygait.untrusted import at, parts_of

_POINTS = 240
_CURVES = 6


def provenance(run: Run, key: str) -> Html:
    """Return the section."""
    curves = _training(run, key)
    return tag(
        "section",
        tag("h2", "Training, data and environment"),
        tag("div", *curves, class_="figures") if curves else None,
        tag("dl", *(part for name, value in _facts(run) for part in (tag("dt", name), tag("dd", value)))),
        *_commands(run),
        tag("details", tag("summary", "Resolved configuration"), tag("pre", run.config)) if run.config else None,
    )


def _training(run: Run, key: str) -> list[Html]:
    """Return a chart of each loss and accuracy; many iterations are averaged to as many as can be seen."""
    names = list(dict.fromkeys(n for entry in run.scalars for n in entry if n.endswith(("loss", "accuracy"))))
    figures = []
    for number, name in enumerate([n for n in names if not n.endswith("hard_loss")][:_CURVES]):
        points = [
            (float(entry["iteration"]), float(entry[name]))
            for entry in run.scalars
            if isinstance(entry.get(name), (int, float)) and np.isfinite(entry[name])
        ]
        if len(points) < 2:
            continue
        x, y = (
            np.array([part.mean() for part in np.array_split(np.array(c), min(len(c), _POINTS))])
            for c in zip(*points, strict=True)
        )
        figures.append(
            tag(
                "figure",
                tag(
                    "figcaption",
                    tag("strong", name),
                    f"{points[0][1]:.3g} at iteration {points[0][0]:.0f}, {points[-1][1]:.3g} at {points[-1][0]:.0f}.",
                ),
                charts.line_chart(
                    f"{key}-training{number}",
                    f"Training: {name}",
                    f"from {points[0][1]:.3g} to {points[-1][1]:.3g}",
                    [Series(name, x, y, 0)],
                    charts.linear_axis("iteration", 0, float(x[-1])),
                    charts.linear_axis(name, min(0.0, float(y.min())), float(y.max())),
                ),
            )
        )
    return figures


def _facts(run: Run) -> list[tuple[str, str]]:
    origin, analysis = run.origin, run.analysis
    facts = [
        ("checkpoint", origin.get("checkpoint")),
        ("iteration", origin.get("iteration")),
        ("dataset", origin.get("dataset")),
        ("data fingerprint", origin.get("fingerprint")),
        ("test sequences", f"{len(analysis.ids):,} of {len(set(analysis.ids.tolist())):,} subjects"),
    ]
    if analysis.lengths is not None:
        frames = analysis.lengths
        facts.append(
            ("frames of a sequence", f"fewest {frames.min()}, median {int(np.median(frames))}, most {frames.max()}")
        )
    for phase, record in run.records.items():
        facts += [(f"{phase}: {name}", value) for name, value in _environment(record)]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _environment(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    commit = at(record, "git", "commit")
    if commit:
        commit = f"{commit}{' with uncommitted changes' if at(record, 'git', 'changed') else ''}"
    versions = [
        f"{name} {record[key]}"
        for name, key in (("DyGait", "dygait"), ("PyTorch", "torch"), ("Python", "python"))
        if key in record
    ]
    machine = ", ".join(
        [
            *(str(record[key]) for key in ("device", "machine") if key in record),
            *(
                f"{record[key]} {one if record[key] == 1 else key}"
                for one, key in (("process", "processes"), ("thread", "threads"))
                if key in record
            ),
        ]
    )
    notes = "; ".join(map(str, parts_of(at(record, "data", "notes"))))
    return [
        ("time", record.get("time")),
        ("commit", commit),
        ("versions", ", ".join(versions)),
        ("machine", machine),
        ("notes", notes),
    ]


def _commands(run: Run) -> list[Html]:
    said = [command_line(entry["command"]) for entry in run.records.values() if isinstance(entry.get("command"), list)]
    return [tag("p", "To make it again:", class_="soft"), tag("pre", "\n".join(said))] if said else []


def command_line(words: Sequence[object]) -> str:
    """Return a recorded command as one would type it."""
    program, *rest = map(str, words) if words else [""]
    name = Path(program).name
    start = ["dygait"] if name in ("__main__.py", "dygait") else ["python", program]
    return shlex.join([*start, *rest])
