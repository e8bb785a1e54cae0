"""The report's numbers for a spreadsheet (CSV), for a paper (LaTeX) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dygait.evaluation import EvaluationResult, to_dict
from dygait.evaluation.analysis import SEED, Analysis, GroupAnalysis
from dygait.evaluation.tables import compared, csv_rows, csv_text, number_or_none, result_rows
from dygait.reporting.reported_run import ReportedRun

_NAN = float("nan")


def percent(value: float) -> str:
    """Format a percentage."""
    return "–" if math.isnan(value) else f"{value:.1f}"


def methods(analysis: Analysis) -> dict[str, EvaluationResult]:
    """Return the results by method: the model, and the gait energy images if there are any."""
    baseline = analysis.baseline
    return {"model": analysis.result, **({"GEI": baseline} if baseline is not None else {})}


def comparable(runs: Sequence[ReportedRun]) -> list[str]:
    """Return the reasons why runs are not comparable, one sentence each."""
    first, warnings = runs[0], []
    for run in runs[1:]:
        a, b = first.analysis.result, run.analysis.result
        if not _same_protocol(first, run):
            warnings.append(f"{run.name} was tested by another protocol ({b.protocol}), so no differences are shown")
        if a.metric != b.metric:
            warnings.append(f"{run.name} was tested with another distance ({b.metric})")
        if a.feature != b.feature:
            warnings.append(f"{run.name} was tested on another feature ({b.feature})")
        if first.origin.get("fingerprint") != run.origin.get("fingerprint"):
            warnings.append(f"{run.name} was tested on other data than {first.name} (another fingerprint)")
    return warnings


def groups_of(runs: Sequence[ReportedRun]) -> list[str]:
    """Return the distinct groups of runs."""
    return list(dict.fromkeys(group for run in runs for group in run.analysis.groups))


def comparison_columns(runs: Sequence[ReportedRun]) -> list[str]:
    """Return the names of the columns of `differences`."""
    measures = [*runs[0].analysis.result.measures, "EER"]
    return [column for measure in measures for column in (measure, "difference")]


def differences(run: ReportedRun, first: ReportedRun, group: str) -> list[str]:
    """Return measures and equal error rate of a group, each with its difference to the first run."""
    cells = []
    measures = first.analysis.result.measures
    for value, other in zip(_rates(run, group, measures), _rates(first, group, measures), strict=True):
        difference = value - other if run is not first and _same_protocol(run, first) else _NAN
        cells += [percent(value), "–" if math.isnan(difference) else f"{difference:+.1f}".replace("-", "−")]
    return cells


def _same_protocol(first: ReportedRun, second: ReportedRun) -> bool:
    a, b = first.analysis.result, second.analysis.result
    return (a.protocol, a.description) == (b.protocol, b.description)


def _rates(run: ReportedRun, group: str, measures: Iterable[str]) -> list[float]:
    """Return measures and equal error rate of a group in percent, NaN where there is none."""
    values, analysis = run.analysis.result.percentages.get(group, {}), run.analysis.groups.get(group)
    eer = _NAN if analysis is None or analysis.pairs is None else 100 * analysis.pairs.verification.eer
    return [*(float(values.get(measure, _NAN)) for measure in measures), eer]


def to_csv(runs: Sequence[ReportedRun]) -> str:
    """Return CSV with a header and a line for each number, in full precision.

    ``method`` is ``model`` or ``GEI``; group, view and measure are those of `dygait.evaluation.to_csv`, with the
    additional view ``090/036``, a probe view against a gallery view, and the additional measure ``CMC 5``.
    """
    header = ("run", "protocol", "distance", "method", "group", "view", "measure", "percent")
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        for method, result in methods(run.analysis).items():
            prefix = run.name, result.protocol, result.metric, method
            rows += [(*prefix, group, view, measure, value) for group, measure, view, value in csv_rows(result)]
            for group, matrix in result.matrices.items():
                for row, column in np.argwhere(~np.isnan(matrix.values)).tolist():
                    view = f"{matrix.views[row]}/{matrix.views[column]}"
                    rows.append((*prefix, group, view, result.measures[0], float(matrix.values[row, column])))
            if method == "model":
                rows += [
                    (*prefix, group, "mean", f"CMC {rank}", value)
                    for group, analysis in run.analysis.groups.items()
                    for rank, value in enumerate(analysis.cmc.tolist(), 1)
                ]
    return csv_text(header, rows)


def to_latex(runs: Sequence[ReportedRun]) -> str:
    r"""Return LaTeX tables that need ``booktabs``: by view or by measure for each run, then a comparison of runs."""
    parts = ["% \\usepackage{booktabs}"]
    for run in runs:
        result = run.analysis.result
        columns, rows = result_rows(methods(run.analysis))
        body = [[group, method, *map(percent, values[:-1])] for group, method, values in rows]
        unit = f"{result.measures[0]} in percent by probe view" if result.matrices else "Percent"
        caption = f"{run.name}. {result.protocol}: {result.description}. {unit}, {compared(result)}."
        parts.append(latex_table(caption, ["", "", *columns[:-1]], blank_repeats(body)))
    if len(runs) > 1:
        measures = runs[0].analysis.result.measures
        body = [
            [group, run.name, *map(percent, _rates(run, group, measures))]
            for group in groups_of(runs)
            for run in runs
            if group in run.analysis.groups
        ]
        parts.append(latex_table("Runs compared, in percent.", ["", "", *measures, "EER"], blank_repeats(body)))
    return "\n".join(parts)


def blank_repeats(rows: list[list[str]]) -> list[list[str]]:
    """Blank the first cells that repeat the one above."""
    return [[("" if n and rows[n - 1][0] == row[0] else row[0]), *row[1:]] for n, row in enumerate(rows)]


def latex_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first two columns are labels."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(caption)}}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        r"\toprule",
        _latex_row(header),
    ]
    for row in rows:
        lines += [r"\midrule"] * bool(row[0]) + [_latex_row(row)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # At the start of a row these would be parsed as options of the `\\` before it.
    "[": "{[}",
    "*": "{*}",
    **dict.fromkeys(map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029]), " "),
}


def latex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def to_json(runs: Sequence[ReportedRun]) -> str:
    """Return the content of a report as JSON, except frames and the points of the map."""
    content = {"format": "dygait-report", "runs": [_plain(run) for run in runs]}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _plain(run: ReportedRun) -> dict[str, Any]:
    analysis = run.analysis
    return {
        "name": run.name,
        "origin": {key: run.origin.get(key) for key in ("checkpoint", "iteration", "dataset", "fingerprint")},
        "seed": SEED,
        "result": to_dict(analysis.result),
        "baseline": None if analysis.baseline is None else to_dict(analysis.baseline),
        "groups": {name: _group(run, group) for name, group in analysis.groups.items()},
    }


def _group(run: ReportedRun, group: GroupAnalysis) -> dict[str, Any]:
    verification = None
    if group.pairs is not None:
        rates = group.pairs.verification
        verification = {
            **{name: getattr(rates, name) for name in ("genuine", "impostor", "auc", "eer")},
            "threshold": group.pairs.threshold,
            "tar_at_far": {f"{far:g}": number_or_none(tar) for far, tar in rates.tar_at_far.items()},
        }
    key = run.analysis.key
    confusions = [
        {**vars(c), "probe": key(c.probe), "nearest": [*map(key, c.nearest)], "match": key(c.match)}
        for c in group.confusions
    ]
    return {
        "probes": group.probes,
        "cmc": [*map(number_or_none, group.cmc.tolist())],
        "verification": verification,
        "confusions": confusions,
        "by_length": [*map(vars, group.by_length)],
        "by_type": [*map(vars, group.by_type)],
    }
