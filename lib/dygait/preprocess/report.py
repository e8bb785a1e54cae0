"""The report of a preparation, as JSON and as text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from dygait.preprocess.journal import Outcome
from dygait.preprocess.pictures_to_frames import EMPTY_PICTURE
from dygait.preprocess.rules import SequenceName

_MAX_NAMES = 10
_MAX_NAMED = 5  # pictures or gaps of one sequence


def summarise(
    outcomes: dict[SequenceName, Outcome],
    unmatched: Iterable[str],
    failures: dict[str, str],
    duplicates: dict[str, list[str]],
) -> dict[str, Any]:
    """Return the content of the report, JSON-serialisable and independent of the order of the arguments.

    Arguments are the outcome of every sequence, pictures that match no rule, archives that could not be read with the
    reasons, and the locations of sequences that were found several times.
    """
    ordered = sorted(outcomes.items())
    written = [(outcome.frames, str(key)) for key, outcome in ordered if outcome.frames]
    shortest = sorted(written, key=lambda entry: entry[0])[:_MAX_NAMES]
    skipped: dict[str, list[str]] = defaultdict(list)
    cleaned: dict[str, Counter[str]] = defaultdict(Counter)
    for _, outcome in ordered:
        for name, reason in outcome.skipped:
            skipped[reason].append(name)
        for step, pictures in outcome.remarks.cleaned.items():
            cleaned[step].update(pictures=pictures, sequences=1)
    names = sorted(set(unmatched))
    lost = failures or duplicates or names or not written or any(outcome.lost for outcome in outcomes.values())
    return {
        "ids": len({key.id for key, outcome in ordered if outcome.frames}),
        "sequences": len(written),
        "frames": sum(frames for frames, _ in written),
        "skipped": {reason: {"pictures": len(skipped[reason]), "names": skipped[reason]} for reason in sorted(skipped)},
        "cleaned": {step: dict(cleaned[step]) for step in sorted(cleaned)},
        "jumps": {str(key): dict(outcome.remarks.jumps) for key, outcome in ordered if outcome.remarks.jumps},
        "gaps": {str(key): list(outcome.remarks.gaps) for key, outcome in ordered if outcome.remarks.gaps},
        "sequences_without_frames": [str(key) for key, outcome in ordered if not outcome.frames],
        "shortest": [{"sequence": name, "frames": frames} for frames, name in shortest],
        "unreadable_archives": dict(sorted(failures.items())),
        "found_twice": dict(sorted(duplicates.items())),
        "pictures_of_another_layout": {"pictures": len(names), "names": names},
        "lost": bool(lost),
    }


def format_report(title: str, report: dict[str, Any], coverage: list[str]) -> str:
    """Return the report as text, with the first names of long lists."""
    sections: list[tuple[str, list[str]]] = []
    for reason, pictures in report["skipped"].items():
        usual = " (by the normalisation; no loss)" if reason == EMPTY_PICTURE else ""
        sections.append((f"pictures skipped: {reason}{usual}", pictures["names"]))
    sections += [
        ("sequences have no usable picture and were not written", report["sequences_without_frames"]),
        ("archives could not be read to their end", [f"{k}: {v}" for k, v in report["unreadable_archives"].items()]),
        (
            "sequences were found in several locations; the first was used",
            [f"{name}: {', '.join(locations)}" for name, locations in report["found_twice"].items()],
        ),
        (
            "pictures match no rule of the layout, or are duplicates",
            report["pictures_of_another_layout"]["names"],
        ),
        (
            "sequences have pictures that jump against their neighbours: specks, a cut or merged person, another one?",
            [f"{name}: {_listed(pictures)}" for name, pictures in _jumps(report)],
        ),
        (
            "sequences lack numbers among their pictures",
            [f"{name}: {_listed(gaps)}" for name, gaps in report["gaps"].items()],
        ),
    ]
    lines = [
        title,
        "",
        f"{report['ids']} ids, {report['sequences']} sequences, {report['frames']} frames written",
        "data was lost: see below" if report["lost"] else "nothing was lost",
        *(f"{step}: {n['pictures']} pictures of {n['sequences']} sequences" for step, n in report["cleaned"].items()),
    ]
    for heading, names in sections:
        if names:
            lines += ["", f"{len(names)} {heading}", *(f"  {name}" for name in names[:_MAX_NAMES])]
            if len(names) > _MAX_NAMES:
                lines.append(f"  ... and {len(names) - _MAX_NAMES} more, in the JSON report")
    if report["shortest"]:
        lines += ["", "shortest sequences", *(f"  {s['sequence']}: {s['frames']}" for s in report["shortest"])]
    lines += ["", "partition", *(f"  {line}" for line in coverage)]
    return "\n".join(lines) + "\n"


def _jumps(report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the sequences with pictures that jump, and these; those with the most first."""
    jumps = [
        (sequence, [f"{picture.rpartition('/')[2]} ({how})" for picture, how in pictures.items()])
        for sequence, pictures in report["jumps"].items()
    ]
    return sorted(jumps, key=lambda entry: -len(entry[1]))


def _listed(names: list[str]) -> str:
    """Return the names as text, only the first ones if there are many."""
    return ", ".join(names[:_MAX_NAMED]) + (f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")
