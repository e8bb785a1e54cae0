"""A protocol for a new dataset, declared in YAML only: from training to results."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dygait import cli
from dygait.evaluation.features import load_features
from helpers.experiments import REPOSITORY, Experiment, make_experiment
from reference import metrics
from reference.analysis import Comparisons, distances

TYPES = ("day1", "day2", "coat_day2")


def documented_section() -> dict[str, Any]:
    text = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "protocol:" in block)
    section: dict[str, Any] = yaml.safe_load(example)
    return section


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = make_experiment(tmp_path_factory.mktemp("corridor"), types=TYPES, views=("cam1-a", "cam1-b", "cam2"))
    settings = yaml.safe_load(experiment.config.read_text())
    settings["data_cfg"]["dataset_name"] = "Corridor"
    settings["trainer_cfg"].update(total_iter=2, with_test=True)
    settings["evaluator_cfg"].update(documented_section()["evaluator_cfg"], baseline=None, intervals=50)
    experiment.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    assert experiment.run("train") == 0
    return experiment


def checkpoints_of(experiment: Experiment) -> Path:
    return experiment.output / "Corridor" / "DyGait" / "tiny" / "checkpoints"


def test_results_of_a_declared_protocol(tested: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tested.run("test") == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "features"
    run = ["--cfgs", str(tested.config), "--output", str(tested.output)]
    assert cli.main(["extract", *run, "--features", str(folder)]) == 0
    saved = load_features(folder)
    cameras = [view.split("-")[0] for view in saved.views]
    matrix = distances(np.asarray(saved.features))
    result = json.loads((checkpoints_of(tested) / "tiny-00002-Corridor-euc.json").read_text())
    assert result["protocol"] == "Corridor"
    gallery = [n for n, kind in enumerate(saved.types) if kind == "day1"]
    for group, kind in (("plain", "day2"), ("coat", "coat_day2")):
        probes = [n for n, type_ in enumerate(saved.types) if type_ == kind]
        expected = Comparisons(matrix, saved.ids, cameras, probes, gallery, False, "same id in the same view")
        for name in ("rank-1", "rank-5", "mAP"):
            assert result["percentages"][group][name] == pytest.approx(expected.mean(metrics.MEASURES[name]))
        low, high = result["intervals"][group]["rank-1"]
        assert low <= result["percentages"][group]["rank-1"] <= high
        assert 0 <= result["verification"][group]["AUC"] <= 100
        assert result["open_set"][group]["mated"] > 0
        assert group in printed
    for part in ("Corridor:", "95 % intervals over subjects", "AUC", "TAR@FAR=0.1", "DIR@FPIR=0.1", "rank-5"):
        assert part in printed
    with (checkpoints_of(tested) / "tiny-00002-Corridor-euc.csv").open(newline="") as file:
        rows = {(row["group"], row["measure"]) for row in csv.DictReader(file)}
    assert {("plain", "rank-1 low"), ("coat", "EER"), ("coat", "DIR@FPIR=0.1")} <= rows

    # The protocol comes from the features, or from a file.
    from_features, from_file = tmp_path / "from_features.json", tmp_path / "from_file.json"
    evaluate = ["evaluate", str(folder), "--intervals", "50"]
    assert cli.main([*evaluate, "--json", str(from_features)]) == 0
    assert json.loads(from_features.read_text()) == result
    protocol = tmp_path / "protocol.yaml"
    protocol.write_text(yaml.safe_dump(documented_section()["evaluator_cfg"]["protocol"], sort_keys=False))
    assert cli.main([*evaluate, "--protocol", str(protocol), "--json", str(from_file)]) == 0
    assert json.loads(from_file.read_text()) == result


def test_re_ranked_results_have_a_separate_file(tested: Experiment) -> None:
    assert tested.run("test", "evaluator_cfg.re_rank={k1: 4, k2: 2, lambda: 0.5}", "evaluator_cfg.intervals=0") == 0
    result = json.loads((checkpoints_of(tested) / "tiny-00002-Corridor-reranked-euc.json").read_text())
    assert result["words"].endswith("(k1 4, k2 2, lambda 0.5)")
    assert result["intervals"] == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluator_cfg.protocol.gallery.types=day9", "the gallery is empty; it needs type day9"),
        ("evaluator_cfg.eval_func=GREW", "protocol takes the place of eval_func"),
        ("evaluator_cfg.protocol.view_until=m", "has one view only (ca)"),
    ],
)
def test_errors_are_found_before_the_network_runs(
    tested: Experiment, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tested.run("test", override) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "testing iteration" not in printed.out
