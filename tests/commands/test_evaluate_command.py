"""The commands `dygait extract` and `dygait evaluate`: the result of a test run from saved features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait import cli
from dygait.evaluation.features import load_features
from helpers.experiments import Experiment, save_features


@pytest.fixture(scope="module")
def features(tested: Experiment) -> Path:
    folder = tested.output / "features"
    assert cli.main(["extract", *run_arguments(tested), "--features", str(folder)]) == 0
    return folder


def run_arguments(experiment: Experiment) -> list[str]:
    return ["--cfgs", str(experiment.config), "--output", str(experiment.output)]


def result_of(experiment: Experiment) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((experiment.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    return result


def test_evaluate_gives_the_result_of_the_test_run(tested: Experiment, features: Path, tmp_path: Path) -> None:
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
    saved = load_features(half)
    gallery, names = tmp_path / "gallery", (saved.types, saved.views, saved.lengths)
    save_features(gallery, np.array(saved.features), [f"{i}x" for i in saved.ids], *names, gei=np.array(saved.gei))
    options = ["--protocol", "CASIA-B", "--metric", "cos", "--gallery", str(gallery), "--json", str(out)]
    assert cli.main(["evaluate", str(features), *options]) == 0
    result = json.loads(out.read_text())
    assert result["metric"] == "cos"
    assert result["counts"]["NM"]["gallery"] == 2 * result_of(tested)["counts"]["NM"]["gallery"]
    printed = capsys.readouterr().out
    assert "distance cos" in printed
    assert "GEI nearest neighbour" in printed
    assert cli.main(["evaluate", str(features), "--gallery", str(half)]) == 2
    assert "16 sequences are in" in capsys.readouterr().err
    for arguments, message in (([features, "--protocol", "Casia"], "unknown 'Casia'"), ([tmp_path], "has no features")):
        assert cli.main(["evaluate", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_extract_refuses_a_folder_of_other_files(tested: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract", *run_arguments(tested), "--features", str(tested.root)]) == 2
    assert "other files" in capsys.readouterr().err


def test_gait_energy_images_are_optional(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(features)]) == 0
    assert "GEI nearest neighbour" in capsys.readouterr().out
    saved = load_features(features)
    columns = saved.ids, saved.types, saved.views, saved.lengths
    without_gei = save_features(tmp_path / "without_gei", np.array(saved.features), *columns, origin=saved.origin)
    assert cli.main(["evaluate", str(without_gei)]) == 0
    assert "GEI" not in capsys.readouterr().out


def test_probes_never_match_themselves(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all.yaml").write_text("{name: All, gallery: {}, groups: {all: {probes: {}}}}")
    assert cli.main(["evaluate", str(features), "--protocol", str(tmp_path / "all.yaml")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "all: 16 of 16 probes are in the gallery too; none is compared with itself" in printed
