"""The page and its tables: complete, well formed, escaped, self-contained and deterministic."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from dygait.evaluation import literature
from dygait.evaluation.literature import PublishedResult
from dygait.reporting import charts
from dygait.reporting.page import page
from dygait.reporting.provenance import command_line
from dygait.reporting.tables import latex, to_csv, to_json, to_latex
from helpers.page_parser import Page
from helpers.report_runs import EVIL, VIEWS, contrast, make_run


@pytest.fixture(scope="module")
def html() -> str:
    return page([make_run()])


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


def test_sections(html: str, parsed: Page) -> None:
    assert any("Without frames: the data cannot be read here" in text for text in parsed.texts)
    assert page([make_run.__wrapped__()]) == html, "deterministic"
    assert "; ".join(parsed.headings) == (
        "mine-00060; Result; By view; Curves; Distances; Hardest confusions; Embedding map; Length and condition; "
        "Training, data and environment"
    )


def test_names_are_escaped_and_the_page_is_self_contained(html: str, parsed: Page) -> None:
    assert EVIL in "".join(parsed.texts)
    assert "<i>" not in html
    assert "\u202e" not in html
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {name for name, _ in parsed.elements}
    for name, attributes in parsed.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), (name, value)
    assert not re.search(r"@import|url\(|https?://", html)
    assert [a["content"] for a in parsed.all("meta") if a.get("http-equiv")] == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ]


def test_charts_and_tables_are_accessible(parsed: Page) -> None:
    keys = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(keys) == len(set(keys))
    svgs = [a for a in parsed.all("svg") if a.get("aria-hidden") != "true"]
    assert len(svgs) >= 9
    for attributes in svgs:
        assert attributes["role"] == "img"
        assert re.fullmatch(r"\S.*: \S.*", str(attributes["aria-label"]))
    assert all(a.get("aria-label") for _, a in parsed.elements if a.get("role") == "region")
    assert all(a.get("scope") in ("row", "col") for a in parsed.all("th"))
    assert all(a.get("alt") for a in parsed.all("img"))


def test_the_page_shows_the_values_of_the_result(parsed: Page) -> None:
    run = make_run()
    texts = parsed.texts
    for group, values in run.analysis.result.percentages.items():
        for value in (values["rank-1"], *values["per view"].values(), *run.analysis.result.matrices[group].values.flat):
            assert ("100" if value > 99.95 else f"{value:.1f}") in texts
        low, high = run.analysis.result.intervals[group]["rank-1"]
        assert f"95 % interval {low:.1f} to {high:.1f}" in texts
        assert f"GEI baseline {run.analysis.baseline.percentages[group]['rank-1']:.1f}" in texts


def test_confusions_show_frames_and_mark_matches_by_more_than_colour() -> None:
    run = make_run()
    frames = {n: np.full((4, 64, 64), 255 * (n % 2), np.uint8) for n in range(len(run.analysis.ids))}
    parsed = Page(page([replace(run, frames=frames, frames_missing="")]))
    pictures = parsed.all("img")
    assert len(pictures) == sum(1 + len(c.nearest) for g in run.analysis.groups.values() for c in g.confusions)
    right = sum(sum(c.right) for g in run.analysis.groups.values() for c in g.confusions)
    assert right == sum(a.get("class") == "strip right" for a in parsed.all("figure"))
    assert right == sum(text.startswith("✓ ") and text.endswith(".") for text in parsed.texts)
    assert all(str(a["src"]).startswith("data:image/png;base64,iVBOR") for a in pictures)


def test_published_results(monkeypatch: pytest.MonkeyPatch, parsed: Page) -> None:
    heading = "Published results, rank-1 in percent: same protocol, data and input; none measured with this code"
    assert heading not in parsed.texts
    run = make_run()
    run = replace(run, origin={**run.origin, "config": {"data_cfg": {"dataset_name": "CASIA-B"}}})
    published = [PublishedResult("GaitSet", 2019, "paper", percentages={"CASIA-B": {"NM": 95.04, "CL": 70.4}})]
    monkeypatch.setattr(literature, "comparable", lambda *_: published)
    texts = Page(page([run])).texts
    start = texts.index(heading)
    headlines = run.analysis.result.headlines
    assert [text for text in texts[start + 1 :] if text.strip()][:13] == [
        "model", "source", "NM", "CL", "mine-00060", "this test", f"{headlines['NM']:.1f}", f"{headlines['CL']:.1f}",
        "GaitSet (2019)", "paper", "95.0", "70.4", "By view",
    ]  # fmt: skip


def test_training_curves_and_records() -> None:
    scalars = tuple({"iteration": n, "triplet/loss": 1 / n, "lr": 0.1} for n in range(1, 900))
    record = {
        "command": ["/x/dygait/__main__.py", "test", "--cfgs", "a b.yaml"],
        "git": {"commit": "c0ffee"},
        "torch": "2.4",
        "threads": 1,
        "processes": 2,
    }
    parsed = Page(page([replace(make_run(), scalars=scalars, records={"test": record})]))
    assert "triplet/loss" in parsed.texts
    assert "dygait test --cfgs 'a b.yaml'" in parsed.texts
    assert "c0ffee" in parsed.texts
    assert "2 processes, 1 thread" in parsed.texts
    assert command_line(["lib/main.py", "--phase", "test"]) == "python lib/main.py --phase test"


def test_several_runs_are_compared() -> None:
    runs = [replace(make_run(), name="A"), replace(make_run(1, noise=2.0), name="B")]
    parsed = Page(page(runs))
    assert parsed.headings[:4] == ["A · B", "Comparison", "A", "Result"]
    for group in ("NM", "BG", "CL"):
        values = [run.analysis.result.percentages[group]["rank-1"] for run in runs]
        assert f"{values[1] - values[0]:+.1f}".replace("-", "−") in parsed.texts
    targets = {str(a["href"])[1:] for a in parsed.all("a")}
    assert targets == {"comparison", "run1", "run2"} <= {a.get("id") for a in parsed.all("section")}


def test_runs_by_different_protocols() -> None:
    other = replace(make_run(protocol="CASIA-B/cross-view"), name="B")
    parsed = Page(page([make_run(), other]))
    assert any("was tested by another protocol" in text for text in parsed.texts)
    assert not [text for text in parsed.texts if re.fullmatch(r"[+−]\d+\.\d", text)]
    single = Page(page([other]))
    assert "By view" not in single.headings
    assert "mAP" in single.texts


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.037), (12.3, 871.0), (-2, 3), (5, 5), (0, 1e-9)])
def test_axes_contain_their_range(low: float, high: float) -> None:
    axis = charts.linear_axis("x", low, high)
    assert axis.low <= low
    assert axis.high >= high
    assert 2 <= len(axis.ticks) <= 9
    for value, label in axis.ticks:
        assert float(label) == pytest.approx(value, abs=1e-12)
        assert -1e-9 <= axis.share(value) <= 1 + 1e-9
    logarithmic = charts.rate_axis("far", 1e-4)
    assert [logarithmic.share(value) for value, _ in logarithmic.ticks] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert (charts.percent_axis("p", 73.2).low, charts.percent_axis("p", 100).low) == (70, 90)


def test_scatter_charts_keep_proportions() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2)) * (5, 2)
    chart = charts.Scatter("d", points, ["a", "b"], [n % 2 for n in range(30)], ["note"] * 30)
    positions = np.array([chart.position(point) for point in points])
    assert (positions > 0).all()
    assert (positions < (chart.width, chart.height)).all()
    scale = (positions[1:] - positions[0]) / (points[1:] - points[0])
    assert scale == pytest.approx(np.full((29, 2), scale[0, 0]) * (1, -1))  # in SVG, y grows downwards
    assert len({marker.path for marker in chart.markers()}) == 30
    colours = [marker.colour for marker in charts.Scatter("d", points, "abcdefghi", [0], ["note"]).legend_markers()]
    assert len(set(colours)) == 9
    assert None not in colours


def test_lines_skip_values_that_are_not_finite() -> None:
    axis = charts.linear_axis("x", 0, 4)
    line = charts.Series("s", [0, 1, 2, 3], [1, float("nan"), float("inf"), 4], 0)
    chart = charts.LineChart("d", [line], axis, axis)
    assert [point.position for point in chart.points(line)] == [0, 3]
    assert chart.path(line) == "M46.0 161.5L274.0 10.0"


@pytest.mark.parametrize("share", np.linspace(0, 1, 11))
def test_numbers_on_the_heat_map_are_readable(share: float) -> None:
    assert contrast(*charts.heat_colour(float(share))) >= 4.5


def test_csv() -> None:
    run = make_run()
    rows = list(csv.DictReader(io.StringIO(to_csv([run]))))
    values = {(r["method"], r["group"], r["view"], r["measure"]): float(r["percent"]) for r in rows}
    assert len(values) == len(rows)
    result, baseline = run.analysis.result, run.analysis.baseline
    for group, percentages in result.percentages.items():
        assert values["model", group, "mean", "rank-1"] == percentages["rank-1"]
        assert values["GEI", group, "mean", "rank-1"] == baseline.percentages[group]["rank-1"]
        assert values["model", group, "090", "rank-1"] == percentages["per view"]["090"]
        assert values["model", group, "000/090", "rank-1"] == result.matrices[group].values[0, 2]
        assert values["model", group, "mean", "CMC 5"] == run.analysis.groups[group].cmc[4]
        assert values["model", group, "mean", "EER"] == 100 * result.verification[group].eer


def test_latex() -> None:
    run = replace(make_run(), name="50% & a_b")
    source = to_latex([run])
    rows = [line.removesuffix(r" \\").split(" & ") for line in source.splitlines() if line.endswith(r"\\")]
    assert rows[0] == ["", "", *VIEWS, "mean"]
    result = run.analysis.result
    for index, (group, percentages) in enumerate(result.percentages.items()):
        numbers = [*percentages["per view"].values(), percentages["rank-1"]]
        assert rows[1 + 2 * index] == [group, "model", *(f"{n:.1f}" for n in numbers)]
        assert rows[2 + 2 * index][:2] == ["", "GEI"]
    for text in (r"\toprule", r"\midrule", r"\bottomrule", r"50\% \& a\_b"):
        assert text in source
    assert source.count(r"\begin{table}") == source.count(r"\end{table}") == 1
    assert {len(row) for row in rows} == {len(VIEWS) + 3}


def test_latex_of_several_runs() -> None:
    source = to_latex([replace(make_run(), name="A"), replace(make_run(protocol="CASIA-B/cross-view"), name=EVIL)])
    assert source.count(r"\begin{table}") == 3
    assert "NM & A & " in source
    assert " & rank-1 & mAP " in source
    assert "<script>" not in source


@pytest.mark.parametrize("text", ["a_b", "50%", "a&b", "$x$", "#1", "{x}", "\\input{x}", "~", "^", "<>", "a\nb"])
def test_latex_commands_are_escaped(text: str) -> None:
    escaped = latex(text)
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}|\\[&%$#_{}]", "", escaped)
    assert not set(bare) & set("&%$#_{}~^\\<>\n")


def test_json() -> None:
    run = make_run()
    assert "NaN" not in to_json([run])
    (loaded,) = json.loads(to_json([run]))["runs"]
    assert loaded["result"]["matrices"]["NM"]["views"] == list(VIEWS)
    assert loaded["result"]["percentages"] == run.analysis.result.percentages
    actual, expected = loaded["groups"]["CL"], run.analysis.groups["CL"]
    assert actual["cmc"] == expected.cmc.tolist()
    assert actual["verification"]["eer"] == expected.pairs.verification.eer
    assert [c["probe"][0] for c in actual["confusions"]] == [run.analysis.ids[c.probe] for c in expected.confusions]
    assert [s["name"] for s in actual["by_type"]] == ["cl-01", "cl-02"]
