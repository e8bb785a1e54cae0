"""`dygait report`, and the report that a test leaves."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dygait import cli
from helpers.experiments import Experiment


def loaded(path: Path) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return runs


def test_a_test_leaves_a_report(tested: Experiment) -> None:
    folder = tested.folder / "report"
    assert {p.name for p in folder.iterdir()} == {f"report.{kind}" for kind in ("html", "csv", "tex", "json")}
    (run,) = loaded(folder / "report.json")
    assert run["name"] == "tiny-00002"
    assert run["result"] == json.loads((tested.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert run["baseline"] == json.loads((tested.checkpoints / "tiny-00002-CASIA-B-gei.json").read_text())
    shown = (folder / "report.html").read_text(encoding="utf-8")
    assert "triplet/loss" in shown
    assert "<dt>test: versions</dt>" in shown
    confused = any(group["confusions"] for group in run["groups"].values())  # type: ignore[attr-defined]
    assert ("data:image/png;base64," in shown) == confused


def test_a_report_of_a_run_is_that_of_its_test(tested: Experiment, tmp_path: Path) -> None:
    before = (tested.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(tested.folder)]) == 0
    assert (tested.folder / "report" / "report.html").read_text(encoding="utf-8") == before
    out = tmp_path / "new" / "x.html"
    features = tested.folder / "features" / "tiny-00002"
    assert cli.main(["report", str(features), "--no-frames", "-o", str(out), "--metric", "cos"]) == 0
    assert "data:image" not in out.read_text(encoding="utf-8")
    assert loaded(out.with_suffix(".json"))[0]["result"]["metric"] == "cos"  # type: ignore[index]
    assert cli.main(["report", str(tested.folder), str(tested.folder), "-o", str(out)]) == 0
    assert [run["name"] for run in loaded(out.with_suffix(".json"))] == ["tiny-00002 (1)", "tiny-00002 (2)"]


def test_what_cannot_be_reported(tested: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_tensorboard_gets_it(tested: Experiment) -> None:
    folder = tested.folder / "summary" / "report"
    events = EventAccumulator(str(folder)).Reload()
    (run,) = loaded(tested.folder / "report" / "report.json")
    groups = run["groups"]
    for group, found in groups.items():
        points = events.Scalars(f"CMC CASIA-B (step: rank)/{group}")
        assert [p.step for p in points] == list(range(1, 21))
        assert [p.value for p in points] == pytest.approx(found["cmc"])
        (eer,) = events.Scalars(f"verification CASIA-B/{group} EER")
        assert eer.value == pytest.approx(100 * found["verification"]["eer"])
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
