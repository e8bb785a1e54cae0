"""What a preparation reports, as JSON and as text: a function of the journal and of what the inputs hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dygait.preprocess.jobs import NOBODY
from dygait.preprocess.journal import Outcome
from dygait.preprocess.layout import Key

_FEW = 10


def summarise(
    outcomes: dict[Key, Outcome], unmatched: Iterable[str], failures: dict[str, str], duplicates: dict[str, list[str]]
) -> dict[str, Any]:
    """Return the report's content.

    Args:
        outcomes: of every sequence.
        unmatched: pictures that fit no rule of the layout.
        failures: archives that could not be read, and why.
        duplicates: sequences that were found in several places, and in which; the first was taken.

    Returns:
        a dict that JSON can hold, the same whatever the order of the arguments; `lost` tells whether anything was.
    """
    ordered = sorted(outcomes.items())
    written = [(key, outcome) for key, outcome in ordered if outcome.frames]
    skipped: dict[str, list[str]] = {}
    for _, outcome in ordered:
        for name, reason in outcome.skipped:
            skipped.setdefault(reason, []).append(name)
    strangers = sorted(set(unmatched))
    return {
        "ids": len({key.id for key, _ in written}),
        "sequences": len(written),
        "frames": sum(outcome.frames for _, outcome in written),
        "skipped": {reason: {"pictures": len(skipped[reason]), "names": skipped[reason]} for reason in sorted(skipped)},
        "sequences_without_frames": [str(key) for key, outcome in ordered if not outcome.frames],
        "shortest": [
            {"sequence": str(key), "frames": outcome.frames}
            for key, outcome in sorted(written, key=lambda pair: (pair[1].frames, pair[0]))[:_FEW]
        ],
        "unreadable_archives": dict(sorted(failures.items())),
        "found_twice": dict(sorted(duplicates.items())),
        "pictures_of_another_layout": {"pictures": len(strangers), "names": strangers},
        "lost": bool(
            failures or duplicates or strangers or any(outcome.lost for outcome in outcomes.values()) or not written
        ),
    }


def as_text(title: str, report: dict[str, Any], coverage: list[str]) -> str:
    """Return the report for reading; a few names stand for many."""
    lines = [
        title,
        "",
        f"{report['ids']} ids, {report['sequences']} sequences, {report['frames']} frames written",
        "something was lost: see below" if report["lost"] else "nothing was lost",
    ]
    for reason, found in report["skipped"].items():
        usual = " (left out by the normalisation; no loss)" if reason == NOBODY else ""
        lines += ["", f"{found['pictures']} pictures left out: {reason}{usual}", *_names(found["names"])]
    for key, what in (
        ("sequences_without_frames", "sequences have no usable picture and were not written"),
        ("unreadable_archives", "archives could not be read to their end"),
        ("found_twice", "sequences were found in several places; the first was taken"),
    ):
        found = report[key]
        if found:
            names = [f"{k}: {v if isinstance(v, str) else ', '.join(v)}" for k, v in found.items()] if isinstance(
                found, dict
            ) else found  # fmt: skip
            lines += ["", f"{len(found)} {what}", *_names(names)]
    strangers = report["pictures_of_another_layout"]
    if strangers["pictures"]:
        lines += [
            "",
            f"{strangers['pictures']} pictures fit no rule of the layout, or are another copy",
            *_names(strangers["names"]),
        ]
    if report["shortest"]:
        lines += ["", "shortest sequences", *(f"  {s['sequence']}: {s['frames']}" for s in report["shortest"])]
    lines += ["", "partition", *(f"  {line}" for line in coverage)]
    return "\n".join(lines) + "\n"


def _names(names: list[str]) -> list[str]:
    more = [f"  ... and {len(names) - _FEW} more, in the JSON report"] if len(names) > _FEW else []
    return [f"  {name}" for name in names[:_FEW]] + more
