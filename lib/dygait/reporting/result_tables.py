"""The tables of a run's results on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dygait.evaluation.literature import with_published
from dygait.reporting.reported_run import ReportedRun
from dygait.reporting.tables import percent

_LARGEST_TYPE_TABLE = 30


def protocol_descriptions(runs: Sequence[ReportedRun]) -> list[tuple[str, str, str, str | None]]:
    """Return the distinct protocols of runs: name, description, metric, and the feature if it is known."""
    results = [run.analysis.result for run in runs]
    return list(dict.fromkeys((r.protocol, r.description, r.metric, r.feature) for r in results))


def rate_table(run: ReportedRun) -> tuple[list[str], dict[str, list[str]]]:
    """Return the columns of the table of rates, and its cells by group; only rates that are not NaN in any group."""
    result = run.analysis.result
    tars = [g.pairs.verification.tar_at_far for g in run.analysis.groups.values() if g.pairs is not None]
    fars, fpirs = _resolved(tars), _resolved([rates.dir_at_fpir for rates in result.open_set.values()])
    columns = [
        *result.measures, "AUC", "EER", *(f"TAR at\nFAR {far:g}" for far in fars),
        *(f"DIR at\nFPIR {fpir:g}" for fpir in fpirs), "probes", "gallery",
    ]  # fmt: skip
    rows = {}
    for group, values in result.percentages.items():
        pairs, counts = run.analysis.groups[group].pairs, result.counts[group]
        rates = [math.nan] * (2 + len(fars))
        if pairs is not None:
            entry = pairs.verification
            rates = [100 * rate for rate in (entry.auc, entry.eer, *(entry.tar_at_far[far] for far in fars))]
        rates += [100 * result.open_set[group].dir_at_fpir[fpir] for fpir in fpirs]
        shown = [percent(value) for value in (*(values[m] for m in result.measures), *rates)]
        rows[group] = [*shown, f"{counts['probes']:,}", f"{counts['gallery']:,}"]
    return columns, rows


def _resolved(rates: Sequence[Mapping[float, float]]) -> list[float]:
    return [key for key in (rates[0] if rates else {}) if all(not math.isnan(rate[key]) for rate in rates)]


def published_table(run: ReportedRun) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """Return columns, and labels and cells of rows, of the table of published results; empty if none is comparable."""
    groups, rows = with_published(run.analysis.result, run.origin, run.analysis.ids.tolist(), run.name)
    return groups, [([name, source], [percent(value) for value in values]) for name, source, values in rows]


def type_rows(run: ReportedRun) -> list[tuple[list[str], list[str]]]:
    """Return labels and cells of the table by probe type; empty for a single type or too many types."""
    shares = [(name, share) for name, group in run.analysis.groups.items() for share in group.by_type]
    if not 1 < len(shares) <= _LARGEST_TYPE_TABLE:
        return []
    rows = []
    for name, s in shares:
        cells = [str(s.probes), f"{s.median:.0f}", percent(100 - 100 * s.error), f"± {percent(196 * s.spread)}"]
        rows.append(([name, s.name], cells))
    return rows
