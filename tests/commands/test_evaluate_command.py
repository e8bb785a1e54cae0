"""`dygait extract` and `dygait evaluate`: the numbers of a test run, without the network."""

import json
from pathlib import Path
from typing import Any

import pytest

from dygait import cli
from dygait.evaluation.features import load_features
from helpers.experiments import Experiment


@pytest.fixture(scope="module")
def features(tested: Experiment) -> Path:
    folder = tested.output / "features"
    assert cli.main(["extract", *run_arguments(tested), "--features", str(folder)]) == 0
    return folder


def run_arguments(made: Experiment) -> list[str]:
    return ["--cfgs", str(made.config), "--output", str(made.output)]


def result_of(made: Experiment) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    return found


def test_the_same_numbers_as_the_test(tested: Experiment, features: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.json"
    assert cli.main(["evaluate", str(features), "--json", str(out), "--csv", str(tmp_path / "result.csv")]) == 0
    assert json.loads(out.read_text()) == result_of(tested)
    assert (tmp_path / "result.csv").read_text() == (tested.checkpoints / "tiny-00002-CASIA-B-euc.csv").read_text()


def test_another_protocol_metric_and_gallery(
    tested: Experiment, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half, out = tmp_path / "half", tmp_path / "r.json"
    assert cli.main(["extract", *run_arguments(tested), "--features", str(half), "--half"]) == 0
    assert load_features(half).features.dtype == "float16"
    options = ["--protocol", "CASIA-B", "--metric", "cos", "--gallery", str(half), "--json", str(out)]
    assert cli.main(["evaluate", str(features), *options]) == 0
    found = json.loads(out.read_text())
    assert found["metric"] == "cos"
    assert found["counts"]["NM"]["gallery"] == 2 * result_of(tested)["counts"]["NM"]["gallery"]
    assert "distance cos" in capsys.readouterr().out
    for arguments, message in (([features, "--protocol", "Casia"], "unknown 'Casia'"), ([tmp_path], "has no features")):
        assert cli.main(["evaluate", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_a_folder_that_is_taken(tested: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract", *run_arguments(tested), "--features", str(tested.root)]) == 2
    assert "other files" in capsys.readouterr().err
