"""Charts and tables of an explanation.

P parts of the body, the last of which is the area outside of the silhouette; K phases of the cycle.
"""

from __future__ import annotations

from collections.abc import Callable

from dygait.reporting.charts import LineChart, Series, linear_axis
from dygait.reporting.explanation import SHOWN_BRANCHES, BranchResponse, Explanation
from dygait.reporting.figures import Figure

CYCLES = {
    "gait cycle": "gait cycle, % (0: the left heel strikes)",
    "step": "step, % (0: the legs are furthest apart)",
}


def cycle_figures(explanation: Explanation, dam: str) -> list[Figure]:
    """Return a chart of the energy by part over the cycle, of the dynamic and of the spatial branch of a DAM."""
    figures = []
    for branch in SHOWN_BRANCHES:
        response = explanation.dams[dam].get(branch)
        if response is None or response.cycle is None or explanation.cycle is None:
            continue
        x = [100 * phase for phase in explanation.phases]
        series = [
            Series(part, x, [100 * value for value in values], n)
            for n, (part, values) in enumerate(zip(explanation.parts, response.cycle, strict=True))
        ]
        highest = max(100 * max(values) for values in response.cycle)
        axes = linear_axis(CYCLES[explanation.cycle], 0, 100), linear_axis("energy, % of the mean", 0, highest)
        description = "; ".join(
            f"{part} {100 * share:.0f} %" for part, share in zip(explanation.parts, response.shares, strict=True)
        )
        chart = LineChart(f"share of the energy over the cycle: {description}", series, *axes)
        caption = f"Energy of each part; 100 % is the branch's whole energy, averaged over the {explanation.cycle}."
        figures.append(Figure(f"{dam}, {branch} branch", caption, chart))
    return figures


def share_table(explanation: Explanation) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """Return columns, and labels and cells of each branch: its strength, and the shares of the parts."""
    columns = ["of the DAM", *explanation.parts]
    return columns, _rows(explanation, lambda r: [f"{100 * value:.1f}" for value in (r.strength, *r.shares)])


def density_table(explanation: Explanation) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """Return columns, and labels and cells of each branch: the energy per pixel, relative to the body's mean."""
    return explanation.parts, _rows(explanation, lambda r: [f"{value:.2f}" for value in r.densities])


def _rows(explanation: Explanation, cells: Callable[[BranchResponse], list[str]]) -> list[tuple[list[str], list[str]]]:
    return [
        ([dam, branch], cells(response))
        for dam, branches in explanation.dams.items()
        for branch, response in branches.items()
    ]
