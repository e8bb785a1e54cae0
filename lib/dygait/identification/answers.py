"""Answers and calibrations as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from dygait.identification.calibration import Calibration, Rate
from dygait.identification.gallery import Answer
from dygait.identification.walks import Walk
from dygait.untrusted import printable

_PEOPLE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Gallery sizes for which the thresholds of a calibration are printed."""
_WIDTH = 120


class Identified(NamedTuple):
    """A walk and its answer."""

    walk: Walk
    answer: Answer


def span_of(walk: Walk) -> str:
    """Format the time span of a walk in a video, `0:03.2-0:07.9`; empty if the walk has no times."""
    if walk.span is None:
        return ""
    return "-".join(f"{int(second // 60)}:{second % 60:04.1f}" for second in walk.span)


def number(value: float | None) -> str:
    """Format a distance with four digits; empty for None."""
    return "" if value is None else f"{value:.4g}"


def percent(rate: float) -> str:
    """Format a rate in 0..1 as percent with two digits."""
    return f"{100 * rate:.2g} %"


def rate_text(rate: Rate) -> str:
    """Format a measured rate as percent; for a rate of 0, its upper bound."""
    return percent(rate.value) if rate.value else f"under {percent(rate.high)}"


def decision_of(answer: Answer) -> str:
    """Return the decision about a track: a name, `unknown`, or the reason why there is no decision."""
    return answer.name or answer.decision


def line(result: Identified) -> str:
    """Format an answer as one line of text."""
    walk, answer = result
    if answer.distance is None:
        return f"{walk.title}: {answer.decision}, {answer.frames} frames"
    nearest = f"nearest {answer.nearest[0].name}, distance {number(answer.distance)}"
    return printable(f"{walk.title}, {span_of(walk)}: {decision_of(answer)} ({nearest})")


def table(results: Sequence[Identified]) -> str:
    """Format answers as a table with a row for each track."""
    rows = []
    for walk, answer in results:
        nearest = answer.nearest[0].name if answer.nearest else ""
        numbers = [number(answer.distance), number(answer.margin), number(answer.ratio)]
        wrong = "" if answer.wrong is None else rate_text(answer.wrong)
        notes = "; ".join(walk.problems)
        rows.append([walk.label, span_of(walk), answer.frames, decision_of(answer), nearest, *numbers, wrong, notes])
    amounts = ["distance", "margin", "ratio", "strangers as near"]
    headers = ["track", "time", "frames", "who", "nearest", *amounts, "problems"]
    columns = [n for n in range(len(headers)) if n in (0, 3) or any(row[n] for row in rows)]
    cells = [[printable(str(row[n])) for n in columns] for row in rows]
    alignment = ["right" if headers[n] in ("frames", *amounts) else "left" for n in columns]
    return tabulate(cells, [headers[n] for n in columns], disable_numparse=True, colalign=alignment)


def to_dict(results: Sequence[Identified], gallery: str, people: int) -> dict[str, Any]:
    """Return answers as a dictionary that JSON can hold."""
    return {
        "gallery": gallery,
        "people": people,
        "tracks": [_answer_to_dict(walk, answer) for walk, answer in results],
    }


def _answer_to_dict(walk: Walk, answer: Answer) -> dict[str, Any]:
    nearest = [{"rank": rank, **candidate._asdict()} for rank, candidate in enumerate(answer.nearest, 1)]
    return {
        "track": walk.label,
        "seconds": walk.span,
        "frames": answer.frames,
        "decision": answer.decision,
        "name": answer.name,
        "distance": answer.distance,
        "margin": answer.margin,
        "ratio": answer.ratio,
        "threshold": answer.threshold,
        "strangers_as_near": None if answer.wrong is None else answer.wrong._asdict(),
        "nearest": nearest,
        "problems": list(walk.problems),
        "measures": {} if walk.track is None else dict(walk.track.measures),
    }


def calibration_text(calibration: Calibration, people: int) -> str:
    """Format the thresholds of a calibration for galleries of several sizes, including `people`, as a table."""
    total = calibration.other.shape[1] + 1
    sizes = sorted({*(n for n in _PEOPLE if n <= total), total, *([people] if people else [])})
    rows = []
    for size in sizes:
        threshold = calibration.threshold(size)
        low, high = calibration.threshold_interval(size)
        alarms = _with_interval(calibration.false_positive_rate(threshold, size))
        identified = _with_interval(calibration.identification_rate(threshold, size)) if size <= total else ""
        mark = " (this gallery)" if size == people else ""
        unit = " (distance)" if size == 1 else ""
        rows.append([f"{size}{mark}", f"{threshold:.4g}{unit}", f"{low:.4g} to {high:.4g}", alarms, identified])
    headers = ("people", "largest ratio", "95 % interval", "strangers named", "enrolled people found")
    intro = (
        f"{calibration.source}: {len(calibration.match)} searches, each also without its own person; wanted: "
        f"{percent(calibration.fpir)} of strangers named. A track is known up to this ratio of its distance to the "
        "nearest person to that to the second nearest; with one person, up to this distance. Intervals are over people."
    )
    if people > total:
        intro += f" This gallery has more people than the calibration ({total}): its row assumes that they are alike."
    return "\n".join([*textwrap.wrap(intro, _WIDTH), tabulate(rows, headers, disable_numparse=True)])


def _with_interval(rate: Rate) -> str:
    return f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"
