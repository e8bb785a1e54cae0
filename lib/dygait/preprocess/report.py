"""The report of a preparation, as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dygait.preprocess.jobs import EMPTY_PICTURE
from dygait.preprocess.journal import Outcome
from dygait.preprocess.layout import SequenceName

_MAX_NAMES = 10


def summarise(
    outcomes: dict[SequenceName, Outcome],
    unmatched: Iterable[str],
    failures: dict[str, str],
    duplicates: dict[str, list[str]],
) -> dict[str, Any]:
    """Return the report's content.

    Args:
        outcomes: of every sequence.
        unmatched: pictures that match no rule of the layout.
        failures: archives that could not be read, and why.
        duplicates: sequences that were found in several locations, and these; the first was used.

    Returns:
        a JSON-serialisable dict that does not depend on the order of the arguments; `lost`: whether data was lost.
    """
    ordered = sorted(outcomes.items())
    written = [(key, outcome) for key, outcome in ordered if outcome.frames]
    skipped: dict[str, list[str]] = {}
    for _, outcome in ordered:
        for name, reason in outcome.skipped:
            skipped.setdefault(reason, []).append(name)
    unmatched_pictures = sorted(set(unmatched))
    return {
        "ids": len({key.id for key, _ in written}),
        "sequences": len(written),
        "frames": sum(outcome.frames for _, outcome in written),
        "skipped": {reason: {"pictures": len(skipped[reason]), "names": skipped[reason]} for reason in sorted(skipped)},
        "sequences_without_frames": [str(key) for key, outcome in ordered if not outcome.frames],
        "shortest": [
            {"sequence": str(key), "frames": outcome.frames}
            for key, outcome in sorted(written, key=lambda pair: (pair[1].frames, pair[0]))[:_MAX_NAMES]
        ],
        "unreadable_archives": dict(sorted(failures.items())),
        "found_twice": dict(sorted(duplicates.items())),
        "pictures_of_another_layout": {"pictures": len(unmatched_pictures), "names": unmatched_pictures},
        "lost": bool(
            failures
            or duplicates
            or unmatched_pictures
            or any(outcome.lost for outcome in outcomes.values())
            or not written
        ),
    }


def format_report(title: str, report: dict[str, Any], coverage: list[str]) -> str:
    """Return the report as text, with the first names of long lists."""
    lines = [
        title,
        "",
        f"{report['ids']} ids, {report['sequences']} sequences, {report['frames']} frames written",
        "data was lost: see below" if report["lost"] else "nothing was lost",
    ]
    for reason, found in report["skipped"].items():
        usual = " (by the normalisation; no loss)" if reason == EMPTY_PICTURE else ""
        lines += ["", f"{found['pictures']} pictures skipped: {reason}{usual}", *_names(found["names"])]
    for key, what in (
        ("sequences_without_frames", "sequences have no usable picture and were not written"),
        ("unreadable_archives", "archives could not be read to their end"),
        ("found_twice", "sequences were found in several locations; the first was used"),
    ):
        found = report[key]
        if found:
            names = [f"{k}: {v if isinstance(v, str) else ', '.join(v)}" for k, v in found.items()] if isinstance(
                found, dict
            ) else found  # fmt: skip
            lines += ["", f"{len(found)} {what}", *_names(names)]
    unmatched_pictures = report["pictures_of_another_layout"]
    if unmatched_pictures["pictures"]:
        lines += [
            "",
            f"{unmatched_pictures['pictures']} pictures match no rule of the layout, or are duplicates",
            *_names(unmatched_pictures["names"]),
        ]
    if report["shortest"]:
        lines += ["", "shortest sequences", *(f"  {s['sequence']}: {s['frames']}" for s in report["shortest"])]
    lines += ["", "partition", *(f"  {line}" for line in coverage)]
    return "\n".join(lines) + "\n"


def _names(names: list[str]) -> list[str]:
    more = [f"  ... and {len(names) - _MAX_NAMES} more, in the JSON report"] if len(names) > _MAX_NAMES else []
    return [f"  {name}" for name in names[:_MAX_NAMES]] + more
