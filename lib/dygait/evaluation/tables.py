"""An evaluation as text (a table), JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import DataRow, TableFormat, tabulate

from dygait.evaluation.evaluate import EvaluationResult
from dygait.evaluation.openset import OpenSet
from dygait.evaluation.verification import Verification
from dygait.untrusted import printable

_FORMULAS = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_GAP = "  "
_BLANK = "-"


def to_text(
    result: EvaluationResult,
    baselines: Mapping[str, EvaluationResult] | None = None,
    name: str = "model",
    width: int = 120,
) -> str:
    """Return a table: a row per group and method, a column per view (or per measure), the mean and the chance level.

    Args:
        result: the result.
        baselines: other results under the same protocol, by the label of their rows.
        name: the label of the rows of `result`; shown only if there are baselines.
        width: columns of the terminal; views that do not fit are in a second table.

    Returns:
        Lines, without a line end at the last.
    """
    methods = {name: result, **(baselines or {})}
    rows = _rows(result, methods)
    views = _views(methods.values())
    lines = textwrap.wrap(f"{result.protocol}: {result.description}.", width)
    if views:
        for measure in result.measures:
            lines += textwrap.wrap(f"{measure} in percent by probe view, distance {result.metric}", width)
            lines += _view_table(rows, views, result, measure, width)
    else:
        header = [*_blank_labels(rows), *result.measures, "chance"]
        cells = [[*row.labels, *(row.mean(m) for m in result.measures), row.chance] for row in rows]
        lines.append(f"percent, distance {result.metric}")
        lines += _aligned([header, *cells], left=len(header) - len(result.measures) - 1)
    lines += _further(result)
    lines += textwrap.wrap(_counts(result), width)
    for note in result.notes:
        lines += textwrap.wrap(f"Note: {note}.", width, subsequent_indent="      ")
    return "\n".join(lines)


def to_dict(result: EvaluationResult) -> dict[str, Any]:
    """Return a result as plain containers, in full precision; NaN becomes None."""
    matrices = {
        group: {
            "views": list(matrix.views),
            "values": [[None if math.isnan(v) else v for v in row] for row in matrix.values.tolist()],
            "counted": matrix.counted.tolist(),
        }
        for group, matrix in result.matrices.items()
    }
    return {
        "protocol": result.protocol,
        "words": result.description,
        "metric": result.metric,
        "measures": list(result.measures),
        "percentages": result.percentages,
        "chance": result.chance,
        "counts": result.counts,
        "matrices": matrices,
        "notes": list(result.notes),
        "intervals": {group: {m: [*limits] for m, limits in of.items()} for group, of in result.intervals.items()},
        "verification": {
            group: {"genuine": v.genuine, "impostor": v.impostor, **_without_nan(_verification_rates(v))}
            for group, v in result.verification.items()
        },
        "open_set": {
            group: {"mated": o.mated, "non-mated": o.non_mated, **_without_nan(_open_set_rates(o))}
            for group, o in result.open_set.items()
        },
    }


def to_json(result: EvaluationResult) -> str:
    """Return `to_dict` as JSON."""
    return json.dumps(to_dict(result), indent=2, allow_nan=False) + "\n"


def to_csv(result: EvaluationResult) -> str:
    """Return CSV with a header and a line per group, probe view and measure, in full precision.

    The view of a group's mean is ``mean``; the chance level is a line with the measure ``chance``, the ends of an
    interval are ``rank-1 low`` and ``rank-1 high``, and rates of pairs and of searches are lines with their names.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["protocol", "metric", "group", "view", "measure", "percent"])
    for group, measure, view, value in _cells(result):
        names = map(cell, (result.protocol, result.metric, group, view, measure))
        writer.writerow([*names, repr(value)])
    return buffer.getvalue()


def cell(name: str) -> str:
    """Return a name for a spreadsheet; a leading apostrophe is added to one that would be a formula."""
    name = printable(name).replace("\n", "\\n")  # a line end would end the row
    return f"'{name}" if name.startswith(_FORMULAS) and not _NUMBER.fullmatch(name) else name


def _cells(result: EvaluationResult) -> Iterator[tuple[str, str, str, float]]:
    for group, values in result.percentages.items():
        for measure in result.measures:
            for view, value in values.get(_view_key(result, measure), {}).items():
                yield group, measure, view, value
            yield group, measure, "mean", values[measure]
        yield group, "chance", "mean", result.chance[group]
        for measure, limits in result.intervals.get(group, {}).items():
            for end, value in zip(("low", "high"), limits, strict=True):
                yield group, f"{measure} {end}", "mean", value
        for name, value in _rates(result, group).items():
            yield group, name, "mean", value


def _rates(result: EvaluationResult, group: str) -> dict[str, float]:
    """Return the rates of a group's pairs and searches by their names, in percent."""
    pairs, searches = result.verification.get(group), result.open_set.get(group)
    return {
        **({} if pairs is None else _verification_rates(pairs)),
        **({} if searches is None else _open_set_rates(searches)),
    }


def _verification_rates(pairs: Verification) -> dict[str, float]:
    of_far = {f"TAR@FAR={far:g}": 100 * rate for far, rate in pairs.tar_at_far.items()}
    return {"AUC": 100 * pairs.auc, "EER": 100 * pairs.eer, **of_far}


def _open_set_rates(searches: OpenSet) -> dict[str, float]:
    return {f"DIR@FPIR={fpir:g}": 100 * rate for fpir, rate in searches.dir_at_fpir.items()}


def _without_nan(rates: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(rate) else rate for name, rate in rates.items()}


def _further(result: EvaluationResult) -> list[str]:
    """Return the tables of intervals, verification and open-set identification, with a row for each group."""
    lines: list[str] = []
    if result.intervals:
        lines.append("95 % intervals over subjects, in percent")
        cells = [
            [group, *(f"{low:.1f}..{high:.1f}" for low, high in of.values())] for group, of in result.intervals.items()
        ]
        lines += _aligned([["", *result.measures], *cells], left=1)
    pairs = {group: _verification_rates(v) for group, v in result.verification.items()}
    searches = {group: _open_set_rates(o) for group, o in result.open_set.items()}
    lines += _rate_table("verification of pairs, in percent", pairs)
    return lines + _rate_table("open-set identification, in percent", searches)


def _rate_table(title: str, by_group: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not by_group:
        return []
    names = [*next(iter(by_group.values()))]
    cells = [
        [group, *(_BLANK if math.isnan(rate) else f"{rate:.1f}" for rate in rates.values())]
        for group, rates in by_group.items()
    ]
    return [title, *_aligned([["", *names], *cells], left=1)]


@dataclass(frozen=True)
class _Row:
    """One line of a table: a group and a method."""

    labels: list[str]
    group: str
    result: EvaluationResult

    def mean(self, measure: str) -> str:
        return f"{self.result.percentages[self.group][measure]:.1f}"

    def of_view(self, measure: str, view: str) -> str:
        value = self.result.percentages[self.group][_view_key(self.result, measure)].get(view)
        return _BLANK if value is None else f"{value:.1f}"

    @property
    def chance(self) -> str:
        return f"{self.result.chance[self.group]:.1f}"


def _rows(result: EvaluationResult, methods: Mapping[str, EvaluationResult]) -> list[_Row]:
    """Return a row for each group and method; a single method has no label."""
    rows: list[_Row] = []
    for group in result.percentages:
        for position, (method, shown) in enumerate(methods.items()):
            if group in shown.percentages:
                labels = [group if position == 0 else "", method] if len(methods) > 1 else [group]
                rows.append(_Row(labels, group, shown))
    return rows


def _blank_labels(rows: Sequence[_Row]) -> list[str]:
    return [""] * len(rows[0].labels)


def _views(results: Iterable[EvaluationResult]) -> list[str]:
    """Return the probe views of all results; numbers are sorted by value."""
    found = {
        view for result in results for values in result.percentages.values() for view in values.get("per view", {})
    }
    return sorted(found, key=lambda view: (not view.isdecimal(), int(view) if view.isdecimal() else 0, view))


def _view_key(result: EvaluationResult, measure: str) -> str:
    return "per view" if measure == result.measures[0] else f"{measure} per view"


def _view_table(
    rows: Sequence[_Row], views: Sequence[str], result: EvaluationResult, measure: str, width: int
) -> list[str]:
    blank = _blank_labels(rows)
    summary = ["mean", "chance"] if measure == result.measures[0] else ["mean"]
    labels = sum(max(len(row.labels[i]) for row in rows) for i in range(len(blank)))
    column = max(len("100.0"), *map(len, views))
    ends_with = sum(max(len("100.0"), len(name)) for name in summary)
    for gap in (_GAP, " "):  # a narrower gap, if that avoids a second table
        around = len(gap) * (len(blank) - 1 + len(summary))
        fit = max(1, (width - labels - ends_with - around) // (column + len(gap)))
        if fit >= len(views):
            break
    lines: list[str] = []
    for start in range(0, len(views), fit):
        part = views[start : start + fit]
        ends = start + fit >= len(views)
        table = [[*blank, *part, *(summary if ends else [])]]
        for row in rows:
            last = [row.mean(measure), row.chance][: len(summary)] if ends else []
            table.append([*row.labels, *(row.of_view(measure, view) for view in part), *last])
        lines += _aligned(table, left=len(blank), gap=gap)
    return lines


def _aligned(table: Sequence[Sequence[str]], left: int, gap: str = _GAP) -> list[str]:
    """Format a table, labels aligned left, numbers aligned right, with a rule below the header."""
    row = DataRow("", gap, "")
    layout = TableFormat(None, None, None, None, row, row, padding=0, with_header_hide=None)
    sides = ["left"] * left + ["right"] * (len(table[0]) - left)
    header, *rows = tabulate(table, tablefmt=layout, colalign=sides, disable_numparse=True).split("\n")
    return [header, "-" * max(map(len, (header, *rows))), *rows]


def _counts(result: EvaluationResult) -> str:
    probes = ", ".join(f"{group} {counts['probes']}" for group, counts in result.counts.items())
    galleries = sorted({counts["gallery"] for counts in result.counts.values()})
    return f"Probe sequences: {probes}. Gallery sequences: {', '.join(map(str, galleries))}."
