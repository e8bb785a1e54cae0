"""An evaluation as text (a table), JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import DataRow, TableFormat, tabulate

from dygait.evaluation.evaluate import EvaluationResult
from dygait.untrusted import printable

_FORMULAS = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_GAP = "  "
BASELINE = "GEI nearest neighbour"
"""The label of the baseline's rows."""
Row = tuple[str, str, list[float]]
"""Group, method, and a percentage for each column; NaN for a missing view."""
PublishedRows = tuple[Sequence[str], Sequence[tuple[str, str, list[float]]]]
"""Groups; and for the test's result and each published one: name, source, and a percentage for each group."""
PUBLISHED = "published rank-1 in percent: same protocol, data and input; none measured with this code"


def to_text(
    result: EvaluationResult,
    baseline: EvaluationResult | None = None,
    name: str = "model",
    width: int = 120,
    published: PublishedRows = ((), ()),
) -> str:
    """Return a table: a row per group and method, a column per view (or per measure), the mean and the chance level.

    Args:
        baseline: the result of gait energy images under the same protocol.
        name: the label of the rows of `result`; shown only if there is a baseline.
        width: columns of the terminal; views that do not fit are in a second table.
        published: of `literature.with_published`: shown below.
    """
    methods = {name: result} if baseline is None else {name: result, BASELINE: baseline}
    lines = textwrap.wrap(f"{result.protocol}: {result.description}.", width)
    left, views = (1 if len(methods) == 1 else 2), len(probe_views(methods.values()))
    for measure in result.measures if views else [None]:
        columns, rows = result_rows(methods, measure)
        shown = len(columns) - (measure in result.measures[1:])  # the chance level stands beside the headline only
        table = [[""] * left + columns[:shown]]
        for group, method, values in rows:
            labels = [group if method == name else "", method] if left == 2 else [group]
            table.append([*labels, *map(_number, values[:shown])])
        if measure is None:
            lines += [f"percent, {compared(result)}", *_aligned(table, left)]
        else:
            lines += textwrap.wrap(f"{measure} in percent by probe view, {compared(result)}", width)
            lines += _view_table(table, left, shown - views, width)
    lines += _rate_tables(result) + _published(*published, width)
    lines += textwrap.wrap(_counts(result), width)
    for note in result.notes:
        lines += textwrap.wrap(f"Note: {note}.", width, subsequent_indent="      ")
    return "\n".join(lines)


def compared(result: EvaluationResult) -> str:
    """Describe how features are compared: distance and feature, if it is known; or by the largest logit."""
    if result.metric == "logits":
        return "by the largest logit"
    return f"distance {result.metric}" + (f", feature {result.feature}" if result.feature else "")


def to_dict(result: EvaluationResult) -> dict[str, Any]:
    """Return a result as plain containers, in full precision; NaN becomes None."""
    matrices = {
        group: {
            "views": list(matrix.views),
            "values": [[*map(number_or_none, row)] for row in matrix.values.tolist()],
            "counted": matrix.counted.tolist(),
        }
        for group, matrix in result.matrices.items()
    }
    return {
        "protocol": result.protocol,
        "words": result.description,
        "metric": result.metric,
        "feature": result.feature,
        "measures": list(result.measures),
        "percentages": result.percentages,
        "chance": result.chance,
        "counts": result.counts,
        "matrices": matrices,
        "notes": list(result.notes),
        "intervals": {g: {m: [*limits] for m, limits in measures.items()} for g, measures in result.intervals.items()},
        "verification": {
            group: {"genuine": v.genuine, "impostor": v.impostor, **_without_nan(v.rates)}
            for group, v in result.verification.items()
        },
        "open_set": {
            group: {"mated": o.mated, "non-mated": o.non_mated, **_without_nan(o.rates)}
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
    rows = [
        (result.protocol, result.metric, group, view, measure, value)
        for group, measure, view, value in csv_rows(result)
    ]
    return csv_text(("protocol", "metric", "group", "view", "measure", "percent"), rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV of rows whose last cell is a number, in full precision, and whose others are names."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for *names, value in rows:
        writer.writerow([*map(cell, names), repr(value)])
    return buffer.getvalue()


def cell(name: str) -> str:
    """Escape a name for a spreadsheet: one that would be a formula gets a leading apostrophe."""
    name = printable(name).replace("\n", "\\n")  # a line end would end the row
    return f"'{name}" if name.startswith(_FORMULAS) and not _NUMBER.fullmatch(name) else name


def csv_rows(result: EvaluationResult) -> Iterator[tuple[str, str, str, float]]:
    """Yield group, measure, view and value of each line of `to_csv`."""
    for group, values in result.percentages.items():
        for measure in result.measures:
            for view, value in values.get(result.view_key(measure), {}).items():
                yield group, measure, view, value
            yield group, measure, "mean", values[measure]
        yield group, "chance", "mean", result.chance[group]
        for measure, limits in result.intervals.get(group, {}).items():
            for end, value in zip(("low", "high"), limits, strict=True):
                yield group, f"{measure} {end}", "mean", value
        for rates in (result.verification.get(group), result.open_set.get(group)):
            for name, value in rates.rates.items() if rates is not None else ():
                yield group, name, "mean", value


def number_or_none(value: float) -> float | None:
    """Return a number as JSON represents it: NaN becomes None."""
    return None if math.isnan(value) else value


def _without_nan(rates: Mapping[str, float]) -> dict[str, float | None]:
    return {name: number_or_none(rate) for name, rate in rates.items()}


def _rate_tables(result: EvaluationResult) -> list[str]:
    """Return the tables of intervals, verification and open-set identification, with a row for each group."""
    tables = {
        "95 % intervals over subjects, in percent": {
            group: {name: f"{low:.1f}..{high:.1f}" for name, (low, high) in limits.items()}
            for group, limits in result.intervals.items()
        },
        "verification of pairs, in percent": {g: _numbers(rates.rates) for g, rates in result.verification.items()},
        "open-set identification, in percent": {g: _numbers(rates.rates) for g, rates in result.open_set.items()},
    }
    lines: list[str] = []
    for title, groups in tables.items():
        if groups:
            rows = [["", *next(iter(groups.values()))], *([group, *cells.values()] for group, cells in groups.items())]
            lines += [title, *_aligned(rows, left=1)]
    return lines


def _published(groups: Sequence[str], rows: Sequence[tuple[str, str, list[float]]], width: int) -> list[str]:
    if not rows:
        return []
    table = [["", "source", *groups], *([name, source, *map(_number, values)] for name, source, values in rows)]
    return [*textwrap.wrap(PUBLISHED, width), *_view_table(table, 2, 0, width)]


def _numbers(rates: Mapping[str, float]) -> dict[str, str]:
    return {name: _number(rate) for name, rate in rates.items()}


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def probe_views(results: Iterable[EvaluationResult]) -> list[str]:
    """Return the probe views of all results; numbers are sorted by value."""
    views = {
        view for result in results for values in result.percentages.values() for view in values.get("per view", {})
    }
    return sorted(views, key=lambda view: (not view.isdecimal(), int(view) if view.isdecimal() else 0, view))


def result_rows(results: Mapping[str, EvaluationResult], measure: str | None = None) -> tuple[list[str], list[Row]]:
    """Return the columns of a table, and a row for each group of the first result and method.

    The columns are the probe views and ``mean`` of a measure (None: the headline), or all measures if the gallery is
    searched at once; then ``chance``.
    """
    first = next(iter(results.values()))
    views, measure = probe_views(results.values()), measure or first.measures[0]
    rows = []
    for group in first.percentages:
        for method, result in results.items():
            if group in result.percentages:
                percentages = result.percentages[group]
                values = [percentages[m] for m in first.measures]
                if views:
                    by_view = percentages[result.view_key(measure)]
                    values = [*(by_view.get(view, math.nan) for view in views), percentages[measure]]
                rows.append((group, method, [*map(float, values), result.chance[group]]))
    return [*views, "mean", "chance"] if views else [*first.measures, "chance"], rows


def _view_table(table: Sequence[Sequence[str]], left: int, right: int, width: int) -> list[str]:
    """Format a header and rows in `width` columns; views that do not fit are in a second table.

    The first `left` columns are labels, which every table repeats; the last `right` columns are in the last table.
    """
    header, stop = table[0], len(table[0]) - right
    labels = sum(max(len(row[n]) for row in table) for n in range(left))
    column = max(len("100.0"), *map(len, header[left:stop]))
    ends = sum(max(len("100.0"), len(name)) for name in header[stop:])
    for gap in (_GAP, " "):  # a narrower gap, if that avoids a second table
        fit = max(1, (width - labels - ends - len(gap) * (left - 1 + right)) // (column + len(gap)))
        if fit >= stop - left:
            break
    lines: list[str] = []
    for start in range(left, stop, fit):
        end = start + fit if start + fit < stop else len(header)
        lines += _aligned([[*row[:left], *row[start:end]] for row in table], left, gap)
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
    if result.metric == "logits":
        return f"Sequences: {probes}."
    galleries = sorted({counts["gallery"] for counts in result.counts.values()})
    return f"Probe sequences: {probes}. Gallery sequences: {', '.join(map(str, galleries))}."
