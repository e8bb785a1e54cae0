"""The comparison of models: figures of each model, and training for equal times."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait import machine
from dygait.config import load_config
from helpers.experiments import REPOSITORY, make_experiment
from helpers.scripts import load_script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    return load_script("compare_models")


def test_all_models_with_a_syngait_configuration_are_compared(script: Any) -> None:
    configurations = script.configurations([])
    assert {"GaitSet", "GaitPart", "GaitGL", "GaitBase", "DeepGaitV2", "DyGait"} <= configurations.keys()
    assert {"GaitSSB_Pretrain", "GaitSSB_Finetune"} <= configurations.keys()
    others = {*(REPOSITORY / "configs").glob("*_SynGait.yaml")} - {*configurations.values()}
    assert all(load_config(path).evaluator_cfg.protocol is not None for path in others)


def test_comparison(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network trained with labels, and one trained without."""
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    models = ("GaitSet", "GaitSSB_Pretrain")
    arguments = [f"{name}={REPOSITORY / 'configs' / f'{name}_SynGait.yaml'}" for name in models]
    options = ["--quick", "--repeats", "1", "--json", str(figures), "--markdown", str(table)]
    assert script.main([*options, *arguments]) == 0
    result = json.loads(figures.read_text())
    assert result.keys() == {"models", "environment"}
    assert list(result["models"]) == list(models)
    for name, row in result["models"].items():
        assert row.keys() == {"NM", "BG", "CL", "iterations", "training", "test", "parameters", "multiply_adds"}
        assert all(0 <= row[group] <= 100 for group in ("NM", "BG", "CL"))
        assert min(row["training"], row["test"], row["parameters"]) > 0
        assert row["iterations"] == 2
        assert row["multiply_adds"] > 1e7, name
    assert table.read_text() in capsys.readouterr().out
    assert len(table.read_text().splitlines()) == 4


def test_training_for_equal_times(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan once, train each model separately, resume, and test them together."""
    experiment = make_experiment(tmp_path)
    output = tmp_path / "compared"
    configurations = [f"{name}={experiment.config}" for name in ("Fast", "Slow")]
    # A step of Fast takes half a second, a step of Slow one second.
    steps = iter([9.0, 9.0, *[0.5, 1.0] * 3])
    monkeypatch.setattr(script, "timed", lambda work, *_: work() or next(steps))
    arguments = ["--minutes", "0.05", "--repeats", "3", "--threads", "1", "--output", str(output)]
    assert script.main([*arguments, "--plan", *configurations]) == 0
    plans = {name: load_config(output / f"{name}.yaml") for name in ("Fast", "Slow")}
    assert {name: plan.trainer_cfg.total_iter for name, plan in plans.items()} == {"Fast": 6, "Slow": 3}
    assert plans["Fast"].scheduler_cfg.keywords["milestones"] == [8]  # 5 in the configuration of 4 iterations
    assert {plan.trainer_cfg.enable_float16 for plan in plans.values()} == {False}
    assert not (output / "CASIA-B").exists()

    assert script.main([*arguments, "--only", "Fast", *configurations]) == 0
    fast_checkpoints = output / "CASIA-B" / "DyGait" / "Fast" / "checkpoints"
    modified = (fast_checkpoints / "Fast-00006.pt").stat().st_mtime_ns
    assert not (output / "CASIA-B" / "DyGait" / "Slow").exists()
    monkeypatch.undo()
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    capsys.readouterr()
    figures = tmp_path / "figures.json"
    assert script.main([*arguments, "--json", str(figures), *configurations]) == 0
    rows = json.loads(figures.read_text())["models"]
    assert {name: row["iterations"] for name, row in rows.items()} == {"Fast": 6, "Slow": 3}
    assert (fast_checkpoints / "Fast-00006.pt").stat().st_mtime_ns == modified, "a trained model is not trained again"
    assert re.search(r"^\| Slow +\| ", capsys.readouterr().out, re.MULTILINE)


def test_schedules_are_scaled(script: Any) -> None:
    config = load_config(REPOSITORY / "configs" / "Dygait_GREW.yaml")
    assert script.with_iterations(config, 1000) == [
        "trainer_cfg.total_iter=1000", "trainer_cfg.save_iter=100", "scheduler_cfg.milestones=[250, 500, 750]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "1"], "need --output"),
        (["--only", "GaitSet"], "need --output"),
        (["--plan"], "--plan needs --minutes"),
        (["--only", "Gait", "--output", "x"], "no configuration has this name"),
    ],
)
def test_options_that_exclude_each_other(
    script: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        script.main(arguments)
    assert message in capsys.readouterr().err


def test_a_missing_configuration(script: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match=r"compare_models.py: no such configuration file"):
        script.main([f"Mine={tmp_path / 'mine.yaml'}", "--threads", str(threads)])
