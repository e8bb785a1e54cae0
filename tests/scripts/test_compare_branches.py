"""The comparison of branches: finished cells are not run again, and intervals are Student's."""

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
    return load_script("compare_branches")


def test_finished_cells_are_reused(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--output", str(tmp_path), "--threads", str(torch.get_num_threads()), "--cells"]
    assert script.main([*arguments, "gait/DyGait/0", "body/GaitSet/0"]) == 0
    files = sorted((tmp_path / "cells").iterdir())
    assert [path.name for path in files] == ["body_GaitSet_0.json", "gait_DyGait_0.json"]
    modified = [path.stat().st_mtime_ns for path in files]
    figures = json.loads(files[1].read_text())
    assert 0 <= figures["across views"] <= 100
    assert 0 <= figures["same view"] <= 100
    assert figures["chance"] == 50.0
    config = load_config(tmp_path / "configs" / "gait_DyGait_0.yaml")
    assert "people.differ=gait" in str(config.data_cfg.dataset_root)
    assert "GaitSet" in capsys.readouterr().out

    assert script.main([*arguments, "gait/DyGait/0"]) == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cells").iterdir())] == modified
    assert script.main(arguments) == 0, "tables only"
    rows = json.loads((tmp_path / "branches.json").read_text())["rows"]
    assert [(row["split"], row["model"]) for row in rows] == [
        ("gait", "DyGait"), ("body", "GaitSet"), ("gait", "GEI"), ("body", "GEI"),
    ]  # fmt: skip
    assert (tmp_path / "branches.md").read_text().count("\n| ") == 4
    with pytest.raises(SystemExit, match="other settings"):
        script.main(["--output", str(tmp_path), "--cells"])


@pytest.mark.parametrize("model", ["DyGait", "no-subtraction", "no-spatial", "GaitGL", "GaitBase", "GaitSet"])
@pytest.mark.parametrize("settings", ["FULL", "QUICK"])
def test_configurations_of_cells_are_valid(script: Any, model: str, settings: str, tmp_path: Path) -> None:
    cell = script.Cell("both", model, 2)
    path = tmp_path / "cell.yaml"
    path.write_text(json.dumps(script.configuration(cell, getattr(script, settings))))
    config = load_config(path, checks=script.cells.CHECKS)
    assert (config.trainer_cfg.seed, config.model_cfg.input_size) == (2, [32, 22])


def figures_of(split: str, model: str, seed: int, rank: float) -> dict[str, Any]:
    return {"split": split, "model": model, "seed": seed, "across views": rank, "same view": rank + 10,
            "interval": [rank - 1, rank + 1], "GEI": 5.0 + seed}  # fmt: skip


def test_means_and_intervals(script: Any) -> None:
    ranks = {("DyGait", 0): 60.0, ("DyGait", 1): 64.0, ("DyGait", 2): 62.0, ("GaitSet", 0): 50.0, ("GaitSet", 1): 52.0}
    cells = {script.Cell("gait", *key): figures_of("gait", *key, rank) for key, rank in ranks.items()}
    cells[script.Cell("body", "GaitSet", 1)] = figures_of("body", "GaitSet", 1, 30.0)
    first, second, third, *images = script.summarise(cells)
    # The standard deviation of 60, 64, 62 is 2, t(0.975, 2) = 4.3027.
    assert first["across views"] == pytest.approx([62, 62 - 4.3027 * 2 / 3**0.5, 62 + 4.3027 * 2 / 3**0.5], abs=1e-3)
    assert "difference" not in first
    # Differences of seeds 0 and 1: -10 and -12; t(0.975, 1) = 12.706.
    assert second["difference"] == pytest.approx([-11, -11 - 12.7062, -11 + 12.7062], abs=1e-3)
    assert third["across views"] == [30.0, 29.0, 31.0]
    assert "difference" not in third
    assert [(row["split"], len(row["seeds"])) for row in images] == [("gait", 3), ("body", 1)]
    table = script.markdown([first, second, third, *images])
    assert "62.0 (57.0 to 67.0)" in table
    assert "-11.0 (-23.7 to +1.7)" in table


def test_unknown_and_unfinished_cells(script: Any, tmp_path: Path) -> None:
    for cells, message in ((["gait/GaitNet/0"], "there is no such cell"), ([], "has no finished cell")):
        with pytest.raises(SystemExit, match=message):
            script.main(["--quick", "--output", str(tmp_path), "--cells", *cells])
