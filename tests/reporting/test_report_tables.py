"""The tables: every number comes back, and LaTeX gets nothing that it would take for a command."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from dygait.reporting.tables import latex, to_csv, to_json, to_latex
from helpers.report_runs import EVIL, VIEWS, make_run


def test_csv_comes_back() -> None:
    run = make_run()
    rows = list(csv.DictReader(io.StringIO(to_csv([run]))))
    values = {(r["method"], r["group"], r["view"], r["measure"]): float(r["percent"]) for r in rows}
    assert len(values) == len(rows)
    result, baseline = run.analysis.result, run.analysis.baseline
    assert baseline is not None
    for group, found in result.percentages.items():
        assert values["model", group, "mean", "rank-1"] == found["rank-1"]
        assert values["GEI", group, "mean", "rank-1"] == baseline.percentages[group]["rank-1"]
        assert values["model", group, "090", "rank-1"] == found["per view"]["090"]
        assert values["model", group, "000/090", "rank-1"] == result.matrices[group].values[0, 2]
        assert values["model", group, "mean", "CMC 5"] == run.analysis.groups[group].cmc[4]
        assert values["model", group, "mean", "EER"] == 100 * result.verification[group].eer


def test_latex_comes_back() -> None:
    run = replace(make_run(), name="50% & a_b")
    source = to_latex([run])
    rows = [line.removesuffix(r" \\").split(" & ") for line in source.splitlines() if line.endswith(r"\\")]
    assert rows[0] == ["", "", *VIEWS, "mean"]
    result = run.analysis.result
    for index, (group, found) in enumerate(result.percentages.items()):
        numbers = [*found["per view"].values(), found["rank-1"]]
        assert rows[1 + 2 * index] == [group, "model", *(f"{n:.1f}" for n in numbers)]
        assert rows[2 + 2 * index][:2] == ["", "GEI"]
    for text in (r"\toprule", r"\midrule", r"\bottomrule", r"50\% \& a\_b"):
        assert text in source
    assert source.count(r"\begin{table}") == source.count(r"\end{table}") == 1
    assert {len(row) for row in rows} == {len(VIEWS) + 3}


def test_several_runs_have_a_table_of_all_and_whole_galleries_measures() -> None:
    source = to_latex([replace(make_run(), name="A"), replace(make_run(protocol="CASIA-B/cross-view"), name=EVIL)])
    assert source.count(r"\begin{table}") == 3
    assert "NM & A & " in source
    assert " & rank-1 & mAP " in source
    assert "<script>" not in source


@pytest.mark.parametrize("text", ["a_b", "50%", "a&b", "$x$", "#1", "{x}", "\\input{x}", "~", "^", "<>", "a\nb"])
def test_latex_commands_are_escaped(text: str) -> None:
    made = latex(text)
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}|\\[&%$#_{}]", "", made)
    assert not set(bare) & set("&%$#_{}~^\\<>\n")


def test_json_has_what_is_drawn() -> None:
    run = make_run()
    assert "NaN" not in to_json([run])
    (loaded,) = json.loads(to_json([run]))["runs"]
    assert loaded["result"]["matrices"]["NM"]["views"] == list(VIEWS)
    assert loaded["result"]["percentages"] == run.analysis.result.percentages
    one, found = loaded["groups"]["CL"], run.analysis.groups["CL"]
    assert one["cmc"] == found.cmc.tolist()
    assert found.pairs is not None
    assert one["verification"]["eer"] == found.pairs.verification.eer
    assert [c["probe"][0] for c in one["confusions"]] == [run.analysis.ids[c.probe] for c in found.confusions]
    assert [s["name"] for s in one["by_type"]] == ["cl-01", "cl-02"]
