import csv
import io
import json

import numpy as np
import pytest

from dygait.evaluation import EvaluationResult, Options, evaluate_detailed, to_csv, to_dict, to_json, to_text

VIEWS = [f"{v:03d}" for v in range(0, 181, 18)]


def make_result(
    protocol: str = "CASIA-B", seed: int = 0, views: list[str] = VIEWS, groups: str = "nbc"
) -> EvaluationResult:
    rng = np.random.default_rng(seed)
    kinds = ["nm-01", "nm-02", *(k for k in ("nm-05", "bg-01", "bg-02", "cl-01", "cl-02") if k[0] in groups)]
    rows = [(f"{i:03d}", kind, view) for i in range(5) for kind in kinds for view in views]
    ids, types, angles = (list(column) for column in zip(*rows, strict=True))
    return evaluate_detailed(rng.normal(size=(len(ids), 4, 2)), ids, types, angles, protocol)


def test_a_table_by_view() -> None:
    result = make_result()
    assert json.loads(to_json(result)) == to_dict(result)
    lines = to_text(result).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith("CASIA-B: gallery nm-01..04")
    assert lines[1] == "rank-1 in percent by probe view, distance euc"
    assert lines[2].split() == [*VIEWS, "mean", "chance"]
    assert set(lines[3]) == {"-"}
    for group, line in zip(("NM", "BG", "CL"), lines[4:7], strict=True):
        values = result.percentages[group]
        numbers = [values["per view"][v] for v in VIEWS] + [values["rank-1"], 20.0]
        assert line.split() == [group, *(f"{x:.1f}" for x in numbers)]
    assert lines[7] == "Probe sequences: NM 55, BG 110, CL 110. Gallery sequences: 110."
    assert len({len(line) for line in lines[2:7]}) == 1  # columns are aligned


def test_baselines_are_below_each_group() -> None:
    result, baseline = make_result(), make_result(seed=1, groups="nb")
    lines = to_text(result, baseline, name="DyGait").splitlines()
    assert max(map(len, lines)) <= 120
    assert "Note: CL: no probe sequences of type cl-01, cl-02" in to_text(baseline)
    labels = [line[:27].split() for line in lines[4:9]]
    gei = ["GEI", "nearest", "neighbour"]
    assert labels == [["NM", "DyGait"], gei, ["BG", "DyGait"], gei, ["CL", "DyGait"]]
    assert lines[5].split()[-2:] == [f"{baseline.percentages['NM']['rank-1']:.1f}", "20.0"]


@pytest.mark.parametrize("width", [30, 80])
def test_views_that_do_not_fit_wrap_to_a_second_table(width: int) -> None:
    result = make_result()
    lines = to_text(result, width=width).splitlines()
    assert max(map(len, lines)) <= width
    headers = [line.split() for line in lines if line.strip() and set(line.split()) <= {*VIEWS, "mean", "chance"}]
    assert [view for header in headers for view in header] == [*VIEWS, "mean", "chance"]
    assert to_text(make_result(views=["0", "18", "90", "108"])).splitlines()[2].split()[:4] == ["0", "18", "90", "108"]


def test_a_table_without_views() -> None:
    result = make_result("CASIA-B/cross-view")
    lines = to_text(result).splitlines()
    assert lines[1] == "percent, distance euc"
    assert lines[2].split() == ["rank-1", "mAP", "chance"]
    values = result.percentages["BG"]
    assert lines[5].split() == ["BG", *(f"{x:.1f}" for x in (values["rank-1"], values["mAP"], result.chance["BG"]))]


def test_json_has_no_nan() -> None:
    rows = [("A", "nm-01", "000"), ("B", "nm-01", "000"), ("A", "nm-05", "018"), ("A", "bg-01", "018")]
    ids, types, views = (list(column) for column in zip(*rows, strict=True))
    result = evaluate_detailed(np.zeros((4, 1, 1)), ids, types, views)
    assert json.loads(to_json(result))["matrices"]["NM"]["values"] == [[None, None], [100.0, None]]
    assert "NaN" not in to_json(result)


def test_tables_of_intervals_verification_and_open_set() -> None:
    ids, types = ["a", "b", "c"] * 2, ["01"] * 3 + ["02"] * 3
    features = np.array([0.0, 1, 2, 0.1, 1.6, 2.1])[:, None, None]
    options = Options(intervals=100, verification=True, open_set=True)
    result = evaluate_detailed(features, ids, types, ["x"] * 6, "GREW", options=options)
    lines = to_text(result, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    start = lines.index("95 % intervals over subjects, in percent")
    low, high = result.intervals["probe"]["rank-1"]
    assert lines[start + 1].split() == ["rank-1", "rank-5", "rank-10", "rank-20"]
    assert lines[start + 3].split()[:2] == ["probe", f"{low:.1f}..{high:.1f}"]
    start = lines.index("verification of pairs, in percent")
    assert lines[start + 1].split()[:3] == ["AUC", "EER", "TAR@FAR=0.1"]
    pairs = result.verification["probe"]
    assert lines[start + 3].split() == ["probe", f"{100 * pairs.auc:.1f}", f"{100 * pairs.eer:.1f}", *"----"]
    start = lines.index("open-set identification, in percent")
    assert lines[start + 3].split() == ["probe", "-", "-"]
    parsed = json.loads(to_json(result))
    assert parsed["intervals"]["probe"]["rank-1"] == [low, high]
    assert parsed["verification"]["probe"]["AUC"] == 100 * pairs.auc
    assert parsed["verification"]["probe"]["TAR@FAR=0.1"] is None
    assert (parsed["open_set"]["probe"]["mated"], parsed["open_set"]["probe"]["DIR@FPIR=0.1"]) == (3, None)
    rows = {(r["group"], r["measure"]): r["percent"] for r in csv.DictReader(io.StringIO(to_csv(result)))}
    assert float(rows["probe", "rank-1 low"]) == low
    assert float(rows["probe", "EER"]) == 100 * pairs.eer
    assert rows["probe", "TAR@FAR=0.1"] == "nan"
