"""The comparison of modalities: the data of each cell, and differences between cells of the same seed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait import machine
from dygait.config import load_config
from helpers.scripts import load_script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    return load_script("compare_modalities")


def test_training_on_both_modalities(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = str(torch.get_num_threads())
    options = ["--quick", "--output", str(tmp_path), "--threads", threads, "--cells", "SkeletonGaitPP/0"]
    assert script.main(options) == 0
    figures = json.loads((tmp_path / "cells" / "SkeletonGaitPP_0.json").read_text())
    assert all(0 <= figures[group] <= 100 for group in ("NM", "BG", "CL"))
    assert figures["environment"]["half_precision"] in (True, False)
    assert (tmp_path / "modalities.md").read_text() in capsys.readouterr().out
    assert script.main(["--quick", "--output", str(tmp_path), "--cells"]) == 0, "tables only"
    (row,) = json.loads((tmp_path / "modalities.json").read_text())["rows"]
    assert (row["row"], row["seeds"]) == ("SkeletonGaitPP", [0])


@pytest.mark.parametrize("settings", ["FULL", "QUICK"])
@pytest.mark.parametrize("model", ["SkeletonGait", "DeepGaitV2", "SkeletonGaitPP"])
def test_configurations_of_cells_are_valid(script: Any, model: str, settings: str, tmp_path: Path) -> None:
    path = tmp_path / "cell.yaml"
    path.write_text(json.dumps(script.configuration(script.Cell(model, 2), getattr(script, settings))))
    config = load_config(path, checks=script.cells.CHECKS)
    assert (config.trainer_cfg.seed, config.data_cfg.data_in_use) == (2, script.IN_USE[model])


def test_differences_are_of_the_same_seed(script: Any) -> None:
    ranks = {("SkeletonGait", 0): 60.0, ("SkeletonGait", 1): 64.0, ("SkeletonGait", 2): 90.0, ("DeepGaitV2", 2): 70.0,
             ("SkeletonGaitPP", 0): 72.0, ("SkeletonGaitPP", 1): 74.0}  # fmt: skip
    common = {"BG": 30.0, "CL": 20.0, "intervals": {group: [1, 99] for group in script.GROUPS}}
    finished = {script.Cell(*names): {"NM": rank, **common} for names, rank in ranks.items()}
    rows = {row["row"]: row for row in script.summarise(finished)}
    assert list(rows) == ["SkeletonGait", "DeepGaitV2", "SkeletonGaitPP", "SkeletonGaitPP - SkeletonGait"]
    assert rows["DeepGaitV2"]["NM"] == [70, 1, 99]
    # 12 and 10: the standard deviation is the root of 2, t(0.975, 1) = 12.706.
    assert rows["SkeletonGaitPP - SkeletonGait"]["NM"] == pytest.approx([11, 11 - 12.706, 11 + 12.706], abs=1e-3)
    assert "+11.0 (-1.7 to +23.7)" in script.markdown(list(rows.values()))
