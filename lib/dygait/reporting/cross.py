"""Cross-dataset tests: table and heat map of all pairs of run and dataset, as a page, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dygait.evaluation import EvaluationResult
from dygait.evaluation.tables import csv_text
from dygait.files import write_atomically, write_errors
from dygait.reporting.page import environment, heat_cell
from dygait.reporting.tables import blank_repeats, latex_table, percent


@dataclass(frozen=True)
class CrossTest:
    """The test of a run on a dataset."""

    run: str  # its name in the table
    trained: str  # the dataset that it was trained on
    tested: str
    root: str  # where the tested dataset is: a path or an address
    frames: str  # how frame size and frame rate were fitted to the training
    result: EvaluationResult

    def value(self, group: str) -> float:
        """Return the headline of a group in percent, NaN without the group."""
        return self.result.headlines.get(group, math.nan)


def columns(tests: Sequence[CrossTest]) -> dict[str, list[str]]:
    """Return dataset -> its groups, in the order of the tests."""
    group_names: dict[str, dict[str, None]] = {}
    for test in tests:
        group_names.setdefault(test.tested, {}).update(dict.fromkeys(test.result.percentages))
    return {dataset: list(names) for dataset, names in group_names.items()}


def rows(tests: Sequence[CrossTest]) -> list[tuple[str, str, list[tuple[float, bool]]]]:
    """Return run, training dataset, and for each column the headline, and whether it is of the training dataset."""
    table = []
    for run, trained in dict.fromkeys((test.run, test.trained) for test in tests):
        by_dataset = {test.tested: test for test in tests if test.run == run}
        cells = [
            (by_dataset[dataset].value(group) if dataset in by_dataset else math.nan, dataset == trained)
            for dataset, groups in columns(tests).items()
            for group in groups
        ]
        table.append((run, trained, cells))
    return table


def write_cross(tests: Sequence[CrossTest], target: Path) -> None:
    """Write the page, and its numbers as CSV and LaTeX under the same name; UserError if that fails."""
    datasets = {test.tested: f"{test.root}; {test.result.protocol}: {test.result.description}" for test in tests}
    variables = {"tests": tests, "columns": columns(tests), "rows": rows(tests), "datasets": datasets}
    template = environment().get_template("cross.html")
    page = template.render(**variables, headlines=_headlines(tests), cells=_cells, heat_cell=heat_cell)
    with write_errors(target, "free disk space, or choose another file with --page"):
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((target.suffix, page), (".csv", to_csv(tests)), (".tex", to_latex(tests))):
            write_atomically(target.with_suffix(suffix), text)


def _headlines(tests: Sequence[CrossTest]) -> list[str]:
    """Return the dataset and measure of the columns of the heat map."""
    return list(dict.fromkeys(f"{test.tested}, {test.result.measures[0]}" for test in tests))


def _cells(test: CrossTest, group: str) -> list[str]:
    """Return the measures of a group, the interval of the headline, and the chance level."""
    result = test.result
    limits = result.intervals.get(group, {}).get(result.measures[0])
    interval = " to ".join(map(percent, limits)) if limits else "–"
    values = [percent(float(result.percentages[group][measure])) for measure in result.measures]
    return [*values, interval, percent(result.chance[group])]


def to_csv(tests: Sequence[CrossTest]) -> str:
    """Return CSV with a line for each pair, group and measure, in full precision; also ``chance``."""
    labels = ("run", "trained on", "tested on", "protocol", "distance", "feature", "frames", "group", "measure")
    lines: list[tuple[str | float, ...]] = []
    for test in tests:
        result = test.result
        pair = (test.run, test.trained, test.tested, result.protocol, result.metric, result.feature or "", test.frames)
        for group, values in result.percentages.items():
            numbers = {**{m: float(values[m]) for m in result.measures}, "chance": result.chance[group]}
            lines += [(*pair, group, measure, value) for measure, value in numbers.items()]
    return csv_text((*labels, "percent"), lines)


def to_latex(tests: Sequence[CrossTest]) -> str:
    r"""Return a LaTeX table that needs ``booktabs``, a row for each run, a column for each group of each dataset."""
    header = ["", "trained on", *(f"{name} {group}" for name, groups in columns(tests).items() for group in groups)]
    body = [[run, trained, *(percent(value) for value, _ in cells)] for run, trained, cells in rows(tests)]
    caption = f"Trained on one dataset, tested on another, in percent: {'; '.join(_headlines(tests))}."
    return "\n".join(["% \\usepackage{booktabs}", latex_table(caption, header, blank_repeats(body))])
