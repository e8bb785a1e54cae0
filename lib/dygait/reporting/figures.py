"""The figures of a run, and of several runs together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dygait.data.sequences import condition_of
from dygait.evaluation.analysis import GroupAnalysis, tar_at
from dygait.reporting.charts import STYLES, Axis, LineChart, Scatter, Series, linear_axis, percent_axis, rate_axis
from dygait.reporting.reported_run import ReportedRun

_FARS = np.geomspace(1e-5, 1, 160)
_LARGEST_LEGEND = 16
_TRAINING_POINTS = 240
_TRAINING_CURVES = 6
_METHODS = {
    "t-SNE": "t-SNE of the distances: short distances are meaningful, long distances and the axes are not.",
    "PCA": "The first two principal components: too few sequences for t-SNE.",
}


class Figure(NamedTuple):
    """A chart under its title and caption."""

    title: str
    caption: str
    chart: LineChart | Scatter


def curve_figures(run: ReportedRun) -> list[Figure]:
    """Return cumulative match characteristic and ROC of a run, with a line for each group."""
    groups = run.analysis.groups
    caption = "Probes whose subject is among the k nearest, averaged as the headline is."
    figures = [Figure("Cumulative match characteristic", caption, _cmc_chart(groups))]
    if _has_pairs(groups):
        caption = "Pairs of one subject accepted, against pairs of two subjects accepted."
        figures.append(Figure("Receiver operating characteristic", caption, _roc_chart(groups)))
    return figures


def comparison_figures(runs: Sequence[ReportedRun]) -> list[Figure]:
    """Return the cumulative match characteristics of each group, with a line for each run, then the ROCs."""
    groups = {
        group: {f"{n}. {r.name}": r.analysis.groups[group] for n, r in enumerate(runs, 1) if group in r.analysis.groups}
        for group in dict.fromkeys(g for run in runs for g in run.analysis.groups)
    }
    curves = [Figure(f"{g}: cumulative match characteristic", "", _cmc_chart(lines)) for g, lines in groups.items()]
    rates = [
        Figure(f"{group}: receiver operating characteristic", "", _roc_chart(lines))
        for group, lines in groups.items()
        if _has_pairs(lines)
    ]
    return curves + rates


def _has_pairs(groups: Mapping[str, GroupAnalysis]) -> bool:
    return any(group.pairs is not None for group in groups.values())


def _cmc_chart(lines: Mapping[str, GroupAnalysis]) -> LineChart:
    curves = {name: group.cmc for name, group in lines.items()}
    lowest = min((float(np.nanmin(v)) for v in curves.values() if not np.isnan(v).all()), default=0.0)
    count = max(len(v) for v in curves.values())
    series = []
    for n, (name, v) in enumerate(curves.items()):
        notes = [f"{name}, rank {k}: {y:.1f} %" for k, y in enumerate(v, 1)]
        series.append(Series(name, range(1, len(v) + 1), v, n % STYLES, notes=notes))
    ticks = tuple((float(k), str(k)) for k in (1, *range(5, count + 1, 5)))
    description = "; ".join(
        f"{name}: {v[0]:.1f} % at rank 1, {v[min(4, len(v) - 1)]:.1f} % at rank 5" for name, v in curves.items()
    )
    x = Axis("rank", 1.0, float(count), ticks)
    return LineChart(description, series, x, percent_axis("identified within rank, %", lowest))


def _roc_chart(lines: Mapping[str, GroupAnalysis]) -> LineChart:
    pairs = {name: group.pairs for name, group in lines.items() if group.pairs is not None}
    styles = {name: n % STYLES for n, name in enumerate(lines)}
    largest = max(p.verification.impostor for p in pairs.values())
    low = min(max(1e-5, 10.0 ** math.floor(math.log10(max(1 / largest, 1e-5)) + 1)), 1e-1)
    series, descriptions = [], []
    for name, group_pairs in pairs.items():
        rates = group_pairs.verification
        fars = _FARS[(low <= _FARS) & (_FARS * rates.impostor >= 1)]
        series.append(Series(name, fars, 100 * tar_at(group_pairs, fars), styles[name]))
        descriptions.append(f"{name}: AUC {100 * rates.auc:.2f} %, EER {100 * rates.eer:.2f} %")
    lowest = min(float(np.min(s.y)) for s in series)
    x, y = rate_axis("false accept rate", low), percent_axis("true accept rate, %", lowest)
    return LineChart("; ".join(descriptions), series, x, y)


def distance_figures(run: ReportedRun) -> list[Figure]:
    """Return a histogram of genuine and impostor pairs of each group that has both."""
    figures = []
    for name, group in run.analysis.groups.items():
        pairs = group.pairs
        if pairs is None:
            continue
        middles = (pairs.edges[1:] + pairs.edges[:-1]) / 2
        series = [
            Series("genuine: one subject", middles, 100 * pairs.genuine, 0, area=True),
            Series("impostor: two subjects", middles, 100 * pairs.impostor, 1, area=True),
        ]
        highest = 100 * max(float(pairs.genuine.max()), float(pairs.impostor.max()))
        rates = pairs.verification
        equal = f"equal error rate {100 * rates.eer:.2f} % at distance {pairs.threshold:.3g}"
        x = linear_axis("distance", float(pairs.edges[0]), float(pairs.edges[-1]))
        y = linear_axis("share of pairs, %", 0, highest)
        chart = LineChart(equal, series, x, y, [(pairs.threshold, "equal errors")])
        counts = f"{rates.genuine:,} genuine and {rates.impostor:,} impostor pairs"
        figures.append(Figure(f"{name}: genuine and impostor pairs", f"{counts}; {equal}.", chart))
    return figures


def map_figures(run: ReportedRun) -> list[Figure]:
    """Return the embedding map coloured by subject, condition and view; the latter two only with few values."""
    analysis = run.analysis
    rows, points = analysis.map.sequences, analysis.map.points
    columns = [[str(name) for name in names[rows]] for names in (analysis.ids, analysis.types, analysis.views)]
    ids, types, views = columns
    notes = [" ".join(names) for names in zip(*columns, strict=True)]
    method = _METHODS[analysis.map.method]
    caption = f"{len(rows)} sequences of {len(set(ids))} subjects. {method}"
    labels = [(*_densest(points[[i == subject for i in ids]]), subject) for subject in sorted(set(ids))]
    figures = []
    for title, names in (("By subject", ids), ("By condition", [*map(condition_of, types)]), ("By view", views)):
        kinds = sorted(set(names))
        if names is ids or 1 < len(kinds) <= _LARGEST_LEGEND:
            indices = [kinds.index(name) for name in names]
            chart = Scatter(method, points, kinds, indices, notes, labels if names is ids else ())
            figures.append(Figure(title, caption if names is ids else "The same points.", chart))
    return figures


def _densest(points: np.ndarray) -> tuple[float, float]:
    """Return the point with the nearest fifth neighbour; the mean of the points could lie in another cluster."""
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), 1)
    x, y = points[distances[:, min(5, len(points) - 1)].argmin()].tolist()
    return x, y


def length_figures(run: ReportedRun) -> list[Figure]:
    """Return the rank-1 error against the number of frames."""
    by_length = {name: g.by_length for name, g in run.analysis.groups.items() if g.by_length}
    if not by_length:
        return []
    styles = {name: n % STYLES for n, name in enumerate(run.analysis.groups)}
    series = []
    for name, shares in by_length.items():
        x, y = [s.median for s in shares], [100 * s.error for s in shares]
        notes = [f"{name}, {s.low} to {s.high} frames, {s.probes} probes: {100 * s.error:.1f} % wrong" for s in shares]
        series.append(Series(name, x, y, styles[name], [196 * s.spread for s in shares], notes))
    medians = [s.median for shares in by_length.values() for s in shares]
    highest = max(100 * s.error + 196 * s.spread for shares in by_length.values() for s in shares)
    description = "; ".join(
        f"{name}: {100 * s[0].error:.1f} % of the shortest, {100 * s[-1].error:.1f} % of the longest"
        for name, s in by_length.items()
    )
    frames = linear_axis("frames of the probe (median of its class)", min(medians), max(medians))
    wrong = linear_axis("rank-1 wrong, %", 0, max(highest, 1))
    caption = "Classes of about equally many probes. Bars: ± 1.96 standard errors over probes."
    return [Figure("Length against error", caption, LineChart(description, series, frames, wrong))]


def training_figures(run: ReportedRun) -> list[Figure]:
    """Return a chart of each loss and accuracy; many iterations are averaged to `_TRAINING_POINTS` points."""
    names = dict.fromkeys(n for entry in run.scalars for n in entry if n.endswith(("loss", "accuracy")))
    figures = []
    for name in [n for n in names if not n.endswith("hard_loss")][:_TRAINING_CURVES]:
        points = [
            (float(entry["iteration"]), float(entry[name]))
            for entry in run.scalars
            if isinstance(entry.get(name), (int, float)) and np.isfinite(entry[name])
        ]
        if len(points) < 2:
            continue
        x, y = (
            np.array([part.mean() for part in np.array_split(np.array(c), min(len(c), _TRAINING_POINTS))])
            for c in zip(*points, strict=True)
        )
        (first, start), (last, end) = points[0], points[-1]
        axes = linear_axis("iteration", 0, float(x[-1])), linear_axis(name, min(0.0, float(y.min())), float(y.max()))
        chart = LineChart(f"from {start:.3g} to {end:.3g}", [Series(name, x, y, 0)], *axes, legend=False)
        figures.append(Figure(name, f"{start:.3g} at iteration {first:.0f}, {end:.3g} at {last:.0f}.", chart))
    return figures
