"""The page: everything in one file, without a script, and with nothing from elsewhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dygait.engine.run import write_atomically
from dygait.errors import UserError
from dygait.evaluation.analysis import GroupAnalysis, Share, tar_at
from dygait.evaluation.comparisons import Confusion
from dygait.evaluation.ranking import ByView
from dygait.reporting import charts
from dygait.reporting.charts import Axis, Series
from dygait.reporting.markup import Html, join, tag
from dygait.reporting.provenance import provenance
from dygait.reporting.runs import FRAMES, Run, named_apart
from dygait.reporting.style import style
from dygait.reporting.tables import comparable, differences, headline, interval, to_csv, to_json, to_latex, view_rows

_SHOWN_VIEWS = 40
_SHOWN_TYPES = 30
_CUT = 44
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FARS = np.geomspace(1e-5, 1, 160)


def write_report(runs: Sequence[Run], target: Path) -> None:
    """Write a report of some runs: the page, and its numbers as CSV, LaTeX and JSON of the same name beside it.

    Raises:
        UserError: it cannot be written.
    """
    runs = named_apart(runs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, page(runs))
        for suffix, table_of in ((".csv", to_csv), (".tex", to_latex), (".json", to_json)):
            write_atomically(target.with_suffix(suffix), table_of(runs))
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}; choose another file with --output") from None


def page(runs: Sequence[Run]) -> str:
    """Return the report of some runs as HTML."""
    names = [run.name for run in runs]
    title = " · ".join(names) if len(runs) < 4 else f"{len(runs)} runs"
    body = [
        tag(
            "header",
            tag("p", "Gait recognition report", class_="kicker"),
            tag("h1", title),
            _protocols(runs),
        )
    ]
    if len(runs) > 1:
        links = [tag("li", tag("a", run.name, href=f"#run{n}")) for n, run in enumerate(runs, 1)]
        body.append(
            tag("nav", tag("ul", tag("li", tag("a", "Comparison", href="#comparison")), *links), aria_label="Runs")
        )
        body.append(_comparison(runs))
    for number, run in enumerate(runs, 1):
        parts = _sections(run, f"r{number}")
        if len(runs) > 1:
            body.append(tag("section", tag("h2", run.name), _protocols([run]), *parts, class_="run", id=f"run{number}"))
        else:
            body.extend(parts)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title}: gait recognition report"),
        tag("style", Html(style())),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"


def _protocols(runs: Sequence[Run]) -> Html:
    said = dict.fromkeys((r.analysis.result.protocol, r.analysis.result.words, r.analysis.result.metric) for r in runs)
    metrics = {"euc": "mean over parts of the Euclidean distance", "cos": "mean over parts of the cosine distance"}
    return join(
        *(
            tag("p", tag("strong", protocol), f": {words}. Distance: {metrics[metric]}.")
            for protocol, words, metric in said
        )
    )


def _sections(run: Run, key: str) -> list[Html]:
    sections = [
        _headline(run),
        _views(run),
        _curves(run, key),
        _distances(run, key),
        _confusions(run),
        _map(run, key),
        _errors(run, key),
        provenance(run, key),
    ]
    return [section for section in sections if section is not None]


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(
    caption: str,
    header: Sequence[object],
    parts: Sequence[Sequence[Sequence[object]]],
    left: int = 1,
    total: int | None = None,
) -> Html:
    """Return a table in a box that scrolls: parts of rows, of which the first cells are words."""

    def row(cells: Sequence[object]) -> Html:
        labels = [tag("th", cell, scope="row") for cell in cells[:left]]
        numbers = [
            tag("td", cell, class_="total" if total is not None and n == total else None)
            for n, cell in enumerate(cells[left:], left)
        ]
        return tag("tr", *labels, *numbers)

    head = tag(
        "thead",
        tag(
            "tr", *(tag("th", name, scope="col", class_="left" if n < left else None) for n, name in enumerate(header))
        ),
    )
    bodies = [tag("tbody", *(row(cells) for cells in rows), class_="part") for rows in parts]
    # The words stand outside of what scrolls, so that they are read on a phone too.
    return join(
        tag("p", caption, class_="caption"),
        tag(
            "div",
            tag("table", head, *bodies, aria_label=caption),
            class_="box",
            tabindex="0",
            role="region",
            aria_label=caption,
        ),
    )


def _headline(run: Run) -> Html:
    result, baseline = run.analysis.result, run.analysis.baseline
    measure = result.measures[0]
    tiles = []
    for group in result.percentages:
        said = []
        bounds = interval(result, group)
        if bounds is not None:
            said.append(f"95 % interval {_percent(bounds[0])} to {_percent(bounds[1])}")
        if baseline is not None and group in baseline.percentages:
            said.append(f"GEI baseline {_percent(baseline.percentages[group][measure])}")
        said.append(f"chance {_percent(result.chance[group])}")
        tiles.append(
            tag(
                "div",
                tag("div", f"{group}", class_="name"),
                tag("div", _percent(headline(result, group)), tag("small", f" % {measure}"), class_="number"),
                *(tag("p", words) for words in said),
                class_="tile",
            )
        )
    fars, fpirs = _shown_fars(run), _shown_fpirs(run)
    header: list[object] = [
        "group",
        *result.measures,
        "AUC",
        "EER",
        *(join("TAR at", tag("br"), f"FAR {far:g}") for far in fars),
        *(join("DIR at", tag("br"), f"FPIR {fpir:g}") for fpir in fpirs),
        "probes",
        "gallery",
    ]
    rows = []
    for group, values in result.percentages.items():
        pairs, counts = run.analysis.groups[group].pairs, result.counts[group]
        rates = [math.nan] * (2 + len(fars))
        if pairs is not None:
            found = pairs.verification
            rates = [100 * rate for rate in (found.auc, found.eer, *(found.tar_at_far[far] for far in fars))]
        rates += [100 * result.open_set[group].dir_at_fpir[fpir] for fpir in fpirs]
        shown = [_percent(value) for value in (*(values[m] for m in result.measures), *rates)]
        rows.append([group, *shown, f"{counts['probes']:,}", f"{counts['gallery']:,}"])
    notes = [*result.notes]
    return tag(
        "section",
        tag("h2", "Result"),
        tag("div", *tiles, class_="tiles"),
        table(
            "Identification, verification of pairs, and open-set identification, percent; probe and gallery sequences",
            header,
            [rows],
        ),
        _intervals_in_words(run),
        tag("ul", *(tag("li", f"{note}.") for note in notes), class_="note-list") if notes else None,
    )


def _intervals_in_words(run: Run) -> Html | None:
    if all(interval(run.analysis.result, group) is None for group in run.analysis.groups):
        return None
    return tag(
        "p",
        "Intervals: 95 %, by the bootstrap over subjects. They say what other people of the same kind would change, "
        "not what another training would.",
        class_="soft",
    )


def _shown_fars(run: Run) -> list[float]:
    """Return the false accept rates that the pairs of every group resolve."""
    found = [g.pairs.verification.tar_at_far for g in run.analysis.groups.values() if g.pairs is not None]
    return [far for far in (found[0] if found else {}) if all(not math.isnan(rates[far]) for rates in found)]


def _shown_fpirs(run: Run) -> list[float]:
    """Return the false positive identification rates that the searches of every group resolve."""
    found = [searches.dir_at_fpir for searches in run.analysis.result.open_set.values()]
    return [fpir for fpir in (found[0] if found else {}) if all(not math.isnan(rates[fpir]) for rates in found)]


def _views(run: Run) -> Html | None:
    result = run.analysis.result
    views, rows = view_rows({"model": result, **({"GEI": run.analysis.baseline} if run.analysis.baseline else {})})
    if not views:
        return None
    two = run.analysis.baseline is not None
    parts: list[list[list[object]]] = []
    for group, method, values, mean, chance in rows:
        cells: list[object] = [
            *([group, method] if two else [group]),
            *map(_percent, values),
            _percent(mean),
            _percent(chance),
        ]
        if method == "model":
            parts.append([])
        parts[-1].append(cells)
    left = 2 if two else 1
    header = ["group", *(["method"] if two else []), *views, "mean", "chance"]
    heats: list[Html] = []
    shown = {g: m for g, m in result.matrices.items() if len(m.views) <= _SHOWN_VIEWS}
    if shown:
        lowest = min(float(np.nanmin(m.values)) for m in shown.values())
        floor = min(90.0, math.floor(lowest / 10) * 10)
        heats = [_heat(group, matrix, floor, result.measures[0]) for group, matrix in shown.items()]
    return tag(
        "section",
        tag("h2", "By view"),
        table(
            f"{result.measures[0]} in percent by probe view, the mean over gallery views",
            header,
            parts,
            left,
            left + len(views),
        ),
        tag("div", *heats, class_="figures views") if heats else None,
    )


def _heat(group: str, matrix: ByView, floor: float, measure: str) -> Html:
    head = tag(
        "tr",
        tag("th", "probe", scope="col", class_="left"),
        *(tag("th", v, scope="col") for v in matrix.views),
    )
    rows = []
    for view, values in zip(matrix.views, matrix.values, strict=True):
        if np.isnan(values).all():
            continue
        cells = [_cell(float(v), floor, view == other) for v, other in zip(values, matrix.views, strict=True)]
        rows.append(tag("tr", tag("th", view, scope="row"), *cells))
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", f"{group}: probe view by gallery view"),
            f"{measure} in percent. Rows: probe view; columns: gallery view. Colour from {floor:.0f} (light) to 100 "
            "(dark); dotted: identical view.",
        ),
        tag(
            "div",
            tag("table", tag("thead", head), tag("tbody", *rows), class_="heat"),
            class_="box",
            tabindex="0",
            role="region",
            aria_label=f"{group}: probe view by gallery view",
        ),
    )


def _cell(value: float, floor: float, own: bool) -> Html:
    if math.isnan(value):
        return tag("td", "–", class_="own" if own else None)
    colour, ink = charts.heat_colour((value - floor) / (100 - floor))
    return tag(
        "td",
        f"{value:.1f}" if value < 99.95 else "100",
        style=f"background:{colour};color:{ink}",
        class_="own" if own else None,
    )


def _figure(title: str, words: str, *content: object) -> Html:
    return tag("figure", tag("figcaption", tag("strong", title), words), *content)


def _cmc_chart(key: str, title: str, lines: Mapping[str, np.ndarray]) -> Html:
    lowest = min((float(np.nanmin(v)) for v in lines.values() if not np.isnan(v).all()), default=0.0)
    count = max(len(v) for v in lines.values())
    series = [
        Series(
            name,
            range(1, len(v) + 1),
            v,
            n % charts.STYLES,
            notes=[f"{name}, rank {k}: {y:.1f} %" for k, y in enumerate(v, 1)],
        )
        for n, (name, v) in enumerate(lines.items())
    ]
    ticks = tuple((float(k), str(k)) for k in (1, *range(5, count + 1, 5)))
    said = "; ".join(
        f"{name}: {v[0]:.1f} % at rank 1, {v[min(4, len(v) - 1)]:.1f} % at rank 5" for name, v in lines.items()
    )
    return charts.line_chart(
        key,
        title,
        said,
        series,
        Axis("rank", 1.0, float(count), ticks),
        charts.percent_axis("identified within rank, %", lowest),
    )


def _roc_chart(key: str, title: str, lines: Mapping[str, GroupAnalysis]) -> Html:
    floors = [g.pairs.verification.impostor for g in lines.values() if g.pairs is not None]
    low = max(1e-5, 10.0 ** math.floor(math.log10(max(1 / max(floors), 1e-5)) + 1))
    low = min(low, 1e-1)
    series, said = [], []
    for n, (name, group) in enumerate(lines.items()):
        if group.pairs is None:
            continue
        found = group.pairs.verification
        fars = _FARS[(low <= _FARS) & (_FARS * found.impostor >= 1)]
        series.append(Series(name, fars, 100 * tar_at(group.pairs, fars), n % charts.STYLES))
        said.append(f"{name}: AUC {100 * found.auc:.2f} %, EER {100 * found.eer:.2f} %")
    lowest = min((float(np.min(s.y)) for s in series), default=0.0)
    return charts.line_chart(
        key,
        title,
        "; ".join(said),
        series,
        charts.rate_axis("false accept rate", low),
        charts.percent_axis("true accept rate, %", lowest),
    )


def _curves(run: Run, key: str) -> Html:
    groups = run.analysis.groups
    names = list(groups)
    figures = [
        _figure(
            "Cumulative match characteristic",
            "Probes whose subject is among the k nearest, averaged as the headline is.",
            charts.legend(names),
            _cmc_chart(f"{key}-cmc", "Cumulative match characteristic", {n: g.cmc for n, g in groups.items()}),
        )
    ]
    verified = {n: g for n, g in groups.items() if g.pairs is not None}
    if verified:
        figures.append(
            _figure(
                "Receiver operating characteristic",
                "Pairs of one subject accepted, against pairs of two subjects accepted.",
                charts.legend(
                    [n for n in names if n in verified], styles=[names.index(n) for n in names if n in verified]
                ),
                _roc_chart(f"{key}-roc", "Receiver operating characteristic", groups),
            )
        )
    return tag("section", tag("h2", "Curves"), tag("div", *figures, class_="figures"))


def _distances(run: Run, key: str) -> Html | None:
    figures = []
    for number, (name, group) in enumerate(run.analysis.groups.items()):
        if group.pairs is None:
            continue
        pairs, rates = group.pairs, group.pairs.verification
        middles = (pairs.edges[1:] + pairs.edges[:-1]) / 2
        series = [
            Series("genuine", middles, 100 * pairs.genuine, 0, area=True),
            Series("impostor", middles, 100 * pairs.impostor, 1, area=True),
        ]
        highest = 100 * max(float(pairs.genuine.max()), float(pairs.impostor.max()))
        figures.append(
            _figure(
                name,
                f"{rates.genuine:,} genuine and {rates.impostor:,} impostor pairs; equal "
                f"error rate {100 * rates.eer:.2f} % at distance {pairs.threshold:.3g}.",
                charts.legend(["genuine: one subject", "impostor: two subjects"]),
                charts.line_chart(
                    f"{key}-distances{number}",
                    f"Distances of genuine and impostor pairs, {name}",
                    f"Equal error rate {100 * rates.eer:.2f} % at distance {pairs.threshold:.3g}",
                    series,
                    charts.linear_axis("distance", float(pairs.edges[0]), float(pairs.edges[-1])),
                    charts.linear_axis("share of pairs, %", 0, highest),
                    [(pairs.threshold, "equal errors")],
                ),
            )
        )
    if not figures:
        return None
    return tag("section", tag("h2", "Distances"), tag("div", *figures, class_="figures"))


def _confusions(run: Run) -> Html:
    shown = [(name, c) for name, g in run.analysis.groups.items() for c in g.confusions]
    if not shown:
        return tag(
            "section",
            tag("h2", "Hardest confusions"),
            tag("p", "Rank-1 was right in every comparison."),
        )
    parts: list[Html] = []
    if run.frames_missing:
        parts.append(tag("p", f"Without frames: {run.frames_missing}.", class_="soft"))
    for name, group in run.analysis.groups.items():
        if group.confusions:
            parts.append(tag("h3", name))
        parts += [_confusion(run, confusion) for confusion in group.confusions]
    return tag(
        "section",
        tag("h2", "Hardest confusions"),
        tag(
            "p",
            "The probes whose true match is farthest behind somebody else, one for each subject, and what is nearest "
            "to them. Solid border and ✓: the same person. Dashed border and ✗: somebody else.",
        ),
        *parts,
    )


def _confusion(run: Run, found: Confusion) -> Html:
    analysis = run.analysis

    def named(position: int) -> str:
        return f"{analysis.ids[position]} {analysis.types[position]} {analysis.views[position]}"

    match = (
        f"The nearest true match, {named(found.match)}, is at rank {found.rank}, distance {found.match_distance:#.3g}."
    )
    cards = [_card(run, found.probe, "probe", "Probe", named(found.probe), "")]
    for place, (position, right, distance) in enumerate(
        zip(found.nearest, found.right, found.distances, strict=True), 1
    ):
        sign = "✓" if right else "✗"
        cards.append(
            _card(
                run, position, "right" if right else "wrong", f"{sign} {place}.", named(position), f", {distance:#.3g}"
            )
        )
    return tag("div", tag("p", match, class_="soft"), tag("div", *cards, class_="strips"), class_="confusion")


def _card(run: Run, position: int, kind: str, sign: str, name: str, distance: str) -> Html:
    said = {"probe": "probe", "right": "the same person", "wrong": "somebody else"}[kind]
    picture = None
    if position in run.frames:
        picture = tag(
            "img", src=_picture(run.frames[position]), alt=f"Silhouettes of {name}: {said}", width=184, height=67
        )
    return tag("figure", picture, tag("figcaption", tag("b", sign), f" {name}{distance}"), class_=f"strip {kind}")


def _picture(frames: np.ndarray) -> Html:
    """Return a row of frames as a PNG in a URI."""
    height = frames.shape[1]
    width = min(frames.shape[2], round(_CUT * height / 64))
    left = (frames.shape[2] - width) // 2
    row = np.full((height, FRAMES * (width + 1) - 1), 90, np.uint8)
    for place, frame in enumerate(frames[:FRAMES]):
        row[:, place * (width + 1) : place * (width + 1) + width] = frame[:, left : left + width]
    if height > 64:
        row = cv2.resize(row, (round(row.shape[1] * 64 / height), 64), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".png", row, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return Html("data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode())


def _map(run: Run, key: str) -> Html:
    analysis = run.analysis
    rows, points = analysis.map.sequences, analysis.map.points
    ids = [str(i) for i in analysis.ids[rows]]
    notes = [f"{i} {t} {v}" for i, t, v in zip(ids, analysis.types[rows], analysis.views[rows], strict=True)]
    subjects = sorted(set(ids))
    middles = [(*_densest(points[[i == s for i in ids]]), s) for s in subjects]
    words = {
        "t-SNE": "t-SNE of the distances: near is alike; far apart and the axes say nothing.",
        "PCA": "The first two principal components: too few sequences for t-SNE.",
    }[analysis.map.method]
    figures = [
        _figure(
            "By subject",
            f"{len(rows)} sequences of {len(subjects)} subjects. {words}",
            charts.legend(subjects, points=True),
            charts.scatter(
                f"{key}-map0",
                "Embedding map by subject",
                words,
                points,
                [subjects.index(i) for i in ids],
                notes,
                middles,
            ),
        )
    ]
    for number, (title, names) in enumerate(
        (("By condition", _conditions(analysis.types[rows])), ("By view", analysis.views[rows])), 1
    ):
        kinds = sorted(set(map(str, names)))
        if not 1 < len(kinds) <= 16:
            continue
        # More kinds than styles: they are views, whose order is shown by a ramp of colours.
        ramp = len(kinds) > charts.STYLES
        figures.append(
            _figure(
                title,
                "The same points.",
                charts.legend(kinds, points=True, ramp=ramp),
                charts.scatter(
                    f"{key}-map{number}",
                    f"Embedding map: {title.lower()}",
                    "The same points",
                    points,
                    [kinds.index(str(n)) for n in names],
                    notes,
                    ramp=len(kinds) if ramp else 0,
                ),
            )
        )
    return tag("section", tag("h2", "Embedding map"), tag("div", *figures, class_="figures"))


def _densest(points: np.ndarray) -> tuple[float, float]:
    """Return the point that has its fifth neighbour nearest: a name at the mean could lie among other people's."""
    apart = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), 1)
    x, y = points[apart[:, min(5, len(points) - 1)].argmin()].tolist()
    return x, y


def _conditions(types: np.ndarray) -> list[str]:
    """Return the part of a type before its number, ``nm`` of ``nm-05``: what is worn or carried."""
    return [str(kind).rpartition("-")[0] or str(kind) for kind in types]


def _errors(run: Run, key: str) -> Html | None:
    groups = run.analysis.groups
    parts: list[Html] = []
    known = {name: g.by_length for name, g in groups.items() if g.by_length}
    if known:
        parts.append(tag("div", _length_figure(known, list(groups), key), class_="figures"))
    kinds: list[tuple[str, Share]] = [(name, s) for name, g in groups.items() for s in g.by_type]
    if 1 < len(kinds) <= _SHOWN_TYPES:
        rows = [
            [
                name,
                s.name,
                s.probes,
                f"{s.median:.0f}" if s.high else "–",
                _percent(100 - 100 * s.error),
                f"± {_percent(196 * s.spread)}",
            ]
            for name, s in kinds
        ]
        parts.append(
            table(
                "Rank-1 by type of the probe, percent, mean over probes; ± 1.96 standard errors over probes",
                ["group", "type", "probes", "median frames", "rank-1", ""],
                [rows],
                2,
            )
        )
    if not parts:
        return None
    return tag("section", tag("h2", "Length and condition" if known else "Condition"), *parts)


def _length_figure(known: Mapping[str, Sequence[Share]], names: list[str], key: str) -> Html:
    series = [
        Series(
            name,
            [s.median for s in shares],
            [100 * s.error for s in shares],
            names.index(name) % charts.STYLES,
            [196 * s.spread for s in shares],
            [f"{name}, {s.low} to {s.high} frames, {s.probes} probes: {100 * s.error:.1f} % wrong" for s in shares],
        )
        for name, shares in known.items()
    ]
    medians = [s.median for shares in known.values() for s in shares]
    highest = max(100 * s.error + 196 * s.spread for shares in known.values() for s in shares)
    x, y = (
        charts.linear_axis("frames of the probe (median of its class)", min(medians), max(medians)),
        charts.linear_axis("rank-1 wrong, %", 0, max(highest, 1)),
    )
    said = "; ".join(
        f"{n}: {100 * s[0].error:.1f} % of the shortest, {100 * s[-1].error:.1f} % of the longest"
        for n, s in known.items()
    )
    return _figure(
        "Length against error",
        "Classes of about equally many probes. Bars: ± 1.96 standard errors over probes.",
        charts.legend(list(known), styles=[names.index(n) for n in known]),
        charts.line_chart(f"{key}-length", "Length against error", said, series, x, y),
    )


def _comparison(runs: Sequence[Run]) -> Html:
    first = runs[0]
    warnings = comparable(runs)
    groups = list(dict.fromkeys(g for run in runs for g in run.analysis.groups))
    header = [
        "group",
        "run",
        *(h for m in first.analysis.result.measures for h in (m, "difference")),
        "EER",
        "difference",
    ]
    parts = []
    for group in groups:
        rows: list[list[object]] = []
        for run in runs:
            if group not in run.analysis.groups:
                continue
            rows.append([group if not rows else "", run.name, *differences(run, first, group)])
        parts.append(rows)
    numbered = {
        group: {f"{n}. {r.name}": r.analysis.groups[group] for n, r in enumerate(runs, 1) if group in r.analysis.groups}
        for group in groups
    }
    figures = []
    for number, (group, having) in enumerate(numbered.items()):
        lines = {name: one.cmc for name, one in having.items()}
        chart = _cmc_chart(f"all-cmc{number}", f"Cumulative match characteristics, {group}", lines)
        figures.append(_figure(f"{group}: cumulative match characteristic", "", _runs_legend(having), chart))
    for number, (group, having) in enumerate(numbered.items()):
        if any(one.pairs is not None for one in having.values()):
            chart = _roc_chart(f"all-roc{number}", f"Receiver operating characteristics, {group}", having)
            figures.append(_figure(f"{group}: receiver operating characteristic", "", _runs_legend(having), chart))
    return tag(
        "section",
        tag("h2", "Comparison"),
        tag("ul", *(tag("li", f"{w}.") for w in warnings), class_="note-list") if warnings else None,
        table(f"Percent; differences in points to the first run, {first.name}", header, parts, 2),
        tag("div", *figures, class_="figures"),
        id="comparison",
    )


def _runs_legend(having: Mapping[str, GroupAnalysis]) -> Html:
    return charts.legend(list(having), styles=[n % charts.STYLES for n in range(len(having))])
