"""The command `dygait report`, and the report that a test writes."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dygait import cli
from helpers.experiments import Experiment


def load_runs(path: Path) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return runs


def test_a_test_writes_a_report(tested: Experiment) -> None:
    folder = tested.folder / "report"
    assert {p.name for p in folder.iterdir()} == {f"report.{kind}" for kind in ("html", "csv", "tex", "json")}
    (run,) = load_runs(folder / "report.json")
    assert run["name"] == "tiny-00002"
    assert run["result"] == json.loads((tested.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert run["baseline"] == json.loads((tested.checkpoints / "tiny-00002-CASIA-B-gei.json").read_text())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "triplet/loss" in page
    assert "<dt>test: versions</dt>" in page
    confused = any(group["confusions"] for group in run["groups"].values())  # type: ignore[attr-defined]
    assert ("data:image/png;base64," in page) == confused


def test_reports_of_a_run_and_of_features(tested: Experiment, tmp_path: Path) -> None:
    before = (tested.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(tested.folder)]) == 0
    assert (tested.folder / "report" / "report.html").read_text(encoding="utf-8") == before
    out = tmp_path / "new" / "x.html"
    features = tested.folder / "features" / "tiny-00002"
    assert cli.main(["report", str(features), "--no-frames", "-o", str(out), "--metric", "cos"]) == 0
    assert "data:image" not in out.read_text(encoding="utf-8")
    assert load_runs(out.with_suffix(".json"))[0]["result"]["metric"] == "cos"  # type: ignore[index]
    assert cli.main(["report", str(tested.folder), str(tested.folder), "-o", str(out)]) == 0
    assert [run["name"] for run in load_runs(out.with_suffix(".json"))] == ["tiny-00002 (1)", "tiny-00002 (2)"]


def test_errors(tested: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "empty" / "features").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([tmp_path / "run"], "this run has no features"),
        ([tmp_path / "empty"], "has no features; run `dygait test`"),
        ([tmp_path], "has no features"),
        ([tested.folder, "-o", tmp_path / "file" / "x.html"], "cannot be written"),
        ([tested.folder, "-o", tmp_path / "x.csv"], ".html file"),
        ([tested.folder, "--protocol", "Casia"], "unknown 'Casia'"),
    ):
        assert cli.main(["report", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_tensorboard(tested: Experiment) -> None:
    folder = tested.folder / "summary" / "report"
    events = EventAccumulator(str(folder)).Reload()
    (run,) = load_runs(tested.folder / "report" / "report.json")
    groups = run["groups"]
    for group, values in groups.items():
        points = events.Scalars(f"CMC CASIA-B (step: rank)/{group}")
        assert [p.step for p in points] == list(range(1, 21))
        assert [p.value for p in points] == pytest.approx(values["cmc"])
        (eer,) = events.Scalars(f"verification CASIA-B/{group} EER")
        assert eer.value == pytest.approx(100 * values["verification"]["eer"])
        assert (eer.step, len(events.Images(f"probe view by gallery view/{group}"))) == (2, 1)
    tags = events.Tags()["tensors"]
    assert {"pairs CASIA-B/NM", "results CASIA-B/text_summary"} <= set(tags)
    table = events.Tensors("results CASIA-B/text_summary")[0].tensor_proto.string_val[0].decode()
    nm = run["result"]["percentages"]["NM"]["rank-1"]  # type: ignore[index]
    assert f" {nm:.1f} |" in table
    lines = (folder / "00002" / "features" / "metadata.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["id", "type", "view"]
    assert len(lines) == 17
    assert "metadata.tsv" in (folder / "projector_config.pbtxt").read_text()
