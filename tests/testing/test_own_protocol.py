"""A protocol for an invented dataset, declared in YAML only: from training to the table."""

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


def documented() -> dict[str, Any]:
    text = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "protocol:" in block)
    section: dict[str, Any] = yaml.safe_load(example)
    return section


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    made = make_experiment(tmp_path_factory.mktemp("own"), types=TYPES, views=("cam1-a", "cam1-b", "cam2"))
    settings = yaml.safe_load(made.config.read_text())
    settings["data_cfg"]["dataset_name"] = "Corridor"
    settings["trainer_cfg"].update(total_iter=2, with_test=True)
    settings["evaluator_cfg"].update(documented()["evaluator_cfg"], baseline=None, intervals=50)
    made.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    assert made.run("train") == 0
    return made


def of_run(made: Experiment) -> Path:
    return made.output / "Corridor" / "DyGait" / "tiny" / "checkpoints"


def test_from_training_to_the_table(tested: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tested.run("test") == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "features"
    run = ["--cfgs", str(tested.config), "--output", str(tested.output)]
    assert cli.main(["extract", *run, "--features", str(folder)]) == 0
    saved = load_features(folder)
    cameras = [view.split("-")[0] for view in saved.views]
    matrix = distances(np.asarray(saved.features))
    written = json.loads((of_run(tested) / "tiny-00002-Corridor-euc.json").read_text())
    assert written["protocol"] == "Corridor"
    gallery = [n for n, kind in enumerate(saved.types) if kind == "day1"]
    for group, kind in (("plain", "day2"), ("coat", "coat_day2")):
        probes = [n for n, own in enumerate(saved.types) if own == kind]
        expected = Comparisons(matrix, saved.ids, cameras, probes, gallery, False, "same id in the same view")
        for name in ("rank-1", "rank-5", "mAP"):
            assert written["percentages"][group][name] == pytest.approx(expected.mean(metrics.MEASURES[name]))
        low, high = written["intervals"][group]["rank-1"]
        assert low <= written["percentages"][group]["rank-1"] <= high
        assert 0 <= written["verification"][group]["AUC"] <= 100
        assert written["open_set"][group]["mated"] > 0
        assert group in printed
    for part in ("Corridor:", "95 % intervals over subjects", "AUC", "TAR@FAR=0.1", "DIR@FPIR=0.1", "rank-5"):
        assert part in printed
    with (of_run(tested) / "tiny-00002-Corridor-euc.csv").open(newline="") as file:
        rows = {(row["group"], row["measure"]) for row in csv.DictReader(file)}
    assert {("plain", "rank-1 low"), ("coat", "EER"), ("coat", "DIR@FPIR=0.1")} <= rows

    # The protocol comes from the features, or from a file.
    again, other = tmp_path / "again.json", tmp_path / "other.json"
    assert cli.main(["evaluate", str(folder), "--intervals", "50", "--json", str(again)]) == 0
    assert json.loads(again.read_text()) == written
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(documented()["evaluator_cfg"]["protocol"], sort_keys=False))
    assert cli.main(["evaluate", str(folder), "--protocol", str(mine), "--intervals", "50", "--json", str(other)]) == 0
    assert json.loads(other.read_text()) == written


def test_re_ranked_results_have_a_file_of_their_own(tested: Experiment) -> None:
    assert tested.run("test", "evaluator_cfg.re_rank={k1: 4, k2: 2, lambda: 0.5}", "evaluator_cfg.intervals=0") == 0
    written = json.loads((of_run(tested) / "tiny-00002-Corridor-reranked-euc.json").read_text())
    assert written["words"].endswith("(k1 4, k2 2, lambda 0.5)")
    assert written["intervals"] == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluator_cfg.protocol.gallery.types=day9", "the gallery is empty; it needs type day9"),
        ("evaluator_cfg.eval_func=GREW", "protocol takes the place of eval_func"),
        ("evaluator_cfg.protocol.view_until=m", "has one view only (ca)"),
    ],
)
def test_mistakes_are_found_before_the_network_runs(
    tested: Experiment, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tested.run("test", override) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "testing iteration" not in printed.out
