"""The HTML page: one self-contained file without scripts or external resources."""

from __future__ import annotations

import base64
import functools
import inspect
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dygait.evaluation import EvaluationResult
from dygait.evaluation.ranking import ByView
from dygait.files import write_atomically, write_errors
from dygait.reporting import figures, provenance, responses, result_tables, tables
from dygait.reporting.charts import heat_colour
from dygait.reporting.reported_run import FRAMES, ReportedRun, with_unique_names

_MOST_VIEWS = 40
_SILHOUETTE_WIDTH = 44
"""Columns shown of a silhouette 64 high, as networks see it."""
# Control characters, and bidirectional controls, which make a name look like another.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def write_report(runs: Sequence[ReportedRun], target: Path) -> None:
    """Write the page of runs, and its numbers as CSV, LaTeX and JSON under the same name; UserError if that fails."""
    runs = with_unique_names(runs)
    with write_errors(target, "free disk space, or choose another file with --output"):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, page(runs))
        for suffix, numbers in ((".csv", tables.to_csv), (".tex", tables.to_latex), (".json", tables.to_json)):
            write_atomically(target.with_suffix(suffix), numbers(runs))


def page(runs: Sequence[ReportedRun]) -> str:
    """Return the report of runs as HTML."""
    title = " · ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs"
    return environment().get_template("page.html").render(runs=runs, title=title)


@functools.cache
def environment() -> Environment:
    """Return the template environment, with the functions of the report's modules; values are escaped."""
    templates = Environment(
        loader=PackageLoader("dygait.reporting"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["percent"] = tables.percent
    for module in (tables, figures, responses, result_tables, provenance):
        templates.globals.update({name: f for name, f in vars(module).items() if inspect.isfunction(f)})
    templates.globals.update(heat_maps=heat_maps, heat_rows=heat_rows, picture=picture, data_uri=data_uri)
    return templates


def _finalize(value: object) -> str:
    """Format a value: floats with at most two decimals, unprintable characters replaced."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    kind = Markup if isinstance(value, Markup) else str
    return kind(_UNPRINTABLE.sub("\ufffd", text))


def heat_maps(result: EvaluationResult) -> tuple[int, dict[str, ByView]]:
    """Return the percentage of the lightest colour, and the matrices with at most `_MOST_VIEWS` views by group."""
    shown = {g: m for g, m in result.matrices.items() if len(m.views) <= _MOST_VIEWS}
    lowest = min((float(np.nanmin(m.values)) for m in shown.values()), default=100.0)
    return min(90, math.floor(lowest / 10) * 10), shown


def heat_rows(matrix: ByView, floor: int) -> Iterator[tuple[str, list[tuple[str, str, str, bool]]]]:
    """Yield each probe view and its cells: text, background, foreground, whether it is the identical view."""
    for view, values in zip(matrix.views, matrix.values, strict=True):
        if not np.isnan(values).all():
            yield view, [(*heat_cell(float(v), floor), view == o) for v, o in zip(values, matrix.views, strict=True)]


def heat_cell(value: float, floor: int) -> tuple[str, str, str]:
    """Return text, background and foreground of a percentage; `floor` has the lightest colour."""
    if math.isnan(value):
        return "–", "", ""
    return f"{value:.1f}" if value < 99.95 else "100", *heat_colour((value - floor) / (100 - floor))


def picture(frames: np.ndarray) -> str:
    """Return a row of frames as the data URI of a PNG."""
    height = frames.shape[1]
    width = min(frames.shape[2], round(_SILHOUETTE_WIDTH * height / 64))
    left = (frames.shape[2] - width) // 2
    row = np.full((height, FRAMES * (width + 1) - 1), 90, np.uint8)
    for index, frame in enumerate(frames[:FRAMES]):
        row[:, index * (width + 1) : index * (width + 1) + width] = frame[:, left : left + width]
    if height > 64:
        row = cv2.resize(row, (round(row.shape[1] * 64 / height), 64), interpolation=cv2.INTER_AREA)
    return data_uri(cv2.imencode(".png", row, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
