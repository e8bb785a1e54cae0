"""`dygait extract` and `dygait evaluate`: the numbers of a test run, without the network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dygait import cli
from dygait.evaluation.features import load_features
from helpers.experiments import Experiment, command, free_port, make_experiment


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run of two iterations that has been tested."""
    made = make_experiment(tmp_path_factory.mktemp("score"))
    made.train("trainer_cfg.total_iter=2")
    assert made.run("test") == 0
    return made


@pytest.fixture(scope="module")
def features(tested: Experiment) -> Path:
    folder = tested.output / "features"
    assert cli.main(["extract", *run_arguments(tested), "--features", str(folder)]) == 0
    return folder


def run_arguments(made: Experiment) -> list[str]:
    return ["--cfgs", str(made.config), "--output", str(made.output)]


def result_of(made: Experiment) -> dict[str, object]:
    found: dict[str, object] = json.loads((made.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    return found


def test_the_same_numbers_as_the_test(tested: Experiment, features: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.json"
    assert cli.main(["evaluate", str(features), "--json", str(out), "--csv", str(tmp_path / "result.csv")]) == 0
    assert json.loads(out.read_text()) == result_of(tested)
    assert (tmp_path / "result.csv").read_text() == (tested.checkpoints / "tiny-00002-CASIA-B-euc.csv").read_text()


def test_another_protocol_and_metric(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.json"
    arguments = ["evaluate", str(features), "--protocol", "CASIA-B", "--metric", "cos", "--json", str(out)]
    assert cli.main(arguments) == 0
    assert json.loads(out.read_text())["metric"] == "cos"
    assert "distance cos" in capsys.readouterr().out
    assert cli.main(["evaluate", str(features), "--protocol", "Casia"]) == 2
    assert "unknown 'Casia'" in capsys.readouterr().err


def test_a_gallery_of_its_own(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, twice = tmp_path / "r.json", tmp_path / "twice.json"
    assert cli.main(["evaluate", str(features), "--json", str(out)]) == 0
    assert cli.main(["evaluate", str(features), "--gallery", str(features), "--json", str(twice)]) == 0
    one, two = (json.loads(path.read_text())["counts"]["NM"]["gallery"] for path in (out, twice))
    assert two == 2 * one
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "has no features" in capsys.readouterr().err


def test_half_precision(tested: Experiment, tmp_path: Path) -> None:
    target = tmp_path / "half"
    assert cli.main(["extract", *run_arguments(tested), "--features", str(target), "--half"]) == 0
    assert load_features(target).features.dtype == "float16"
    assert cli.main(["evaluate", str(target)]) == 0


def test_two_processes_write_what_one_does(tested: Experiment, features: Path, tmp_path: Path) -> None:
    target = tmp_path / "two"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "-m", "dygait"]
    done = command(*launcher, "extract", *run_arguments(tested), "--features", str(target))
    assert done.returncode == 0, done.stderr
    one, two = load_features(features), load_features(target)
    assert (one.ids, one.types, one.views) == (two.ids, two.types, two.views)
    assert abs(one.features - two.features).max() < 1e-5
    assert one.origin["fingerprint"] == two.origin["fingerprint"]


def test_a_folder_that_is_taken(tested: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract", *run_arguments(tested), "--features", str(tested.root)]) == 2
    assert "other files" in capsys.readouterr().err
