"""The comparison of models: it runs them, its figures have fixed names, and it can give each the same time."""

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


def test_every_model_for_syngait_is_compared(script: Any) -> None:
    found = script.configurations([])
    assert {"GaitSet", "GaitPart", "GaitGL", "GaitBase", "DeepGaitV2", "DyGait"} <= found.keys()
    assert {"GaitSSB_Pretrain", "GaitSSB_Finetune"} <= found.keys()
    left_out = {*(REPOSITORY / "configs").glob("*_SynGait.yaml")} - {*found.values()}
    assert all(load_config(path).evaluator_cfg.protocol is not None for path in left_out)


def test_it_compares(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier of people, and a network that is trained without labels."""
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    models = ("GaitSet", "GaitSSB_Pretrain")
    named = [f"{name}={REPOSITORY / 'configs' / f'{name}_SynGait.yaml'}" for name in models]
    options = ["--quick", "--repeats", "1", "--json", str(figures), "--markdown", str(table)]
    assert script.main([*options, *named]) == 0
    found = json.loads(figures.read_text())
    assert found.keys() == {"models", "environment"}
    assert list(found["models"]) == list(models)
    for name, row in found["models"].items():
        assert row.keys() == {"NM", "BG", "CL", "iterations", "training", "test", "parameters", "multiply_adds"}
        assert all(0 <= row[group] <= 100 for group in ("NM", "BG", "CL"))
        assert min(row["training"], row["test"], row["parameters"]) > 0
        assert row["iterations"] == 2
        assert row["multiply_adds"] > 1e7, name
    assert table.read_text() in capsys.readouterr().out
    assert len(table.read_text().splitlines()) == 4


def test_the_same_time_for_each(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Planned once, each trained separately, resumed, and tested together."""
    experiment = make_experiment(tmp_path)
    output = tmp_path / "compared"
    named = [f"{name}={experiment.config}" for name in ("Fast", "Slow")]
    # A step of the first takes half a second, of the second a whole one.
    steps = iter([9.0, 9.0, *[0.5, 1.0] * 3])
    monkeypatch.setattr(script, "timed", lambda work, *_: work() or next(steps))
    arguments = ["--minutes", "0.05", "--repeats", "3", "--threads", "1", "--output", str(output)]
    assert script.main([*arguments, "--plan", *named]) == 0
    plans = {name: load_config(output / f"{name}.yaml") for name in ("Fast", "Slow")}
    assert {name: plan.trainer_cfg.total_iter for name, plan in plans.items()} == {"Fast": 6, "Slow": 3}
    assert plans["Fast"].scheduler_cfg.keywords["milestones"] == [8]  # of 4 iterations it was 5
    assert {plan.trainer_cfg.enable_float16 for plan in plans.values()} == {False}
    assert not (output / "CASIA-B").exists()

    assert script.main([*arguments, "--only", "Fast", *named]) == 0
    of_fast = output / "CASIA-B" / "DyGait" / "Fast" / "checkpoints"
    written = (of_fast / "Fast-00006.pt").stat().st_mtime_ns
    assert not (output / "CASIA-B" / "DyGait" / "Slow").exists()
    monkeypatch.undo()
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    capsys.readouterr()
    figures = tmp_path / "figures.json"
    assert script.main([*arguments, "--json", str(figures), *named]) == 0
    rows = json.loads(figures.read_text())["models"]
    assert {name: row["iterations"] for name, row in rows.items()} == {"Fast": 6, "Slow": 3}
    assert (of_fast / "Fast-00006.pt").stat().st_mtime_ns == written, "what is trained is not trained again"
    assert re.search(r"^\| Slow +\| ", capsys.readouterr().out, re.MULTILINE)


def test_schedules_in_proportion(script: Any) -> None:
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
def test_what_does_not_go_together(
    script: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        script.main(arguments)
    assert message in capsys.readouterr().err


def test_a_mistake_ends_in_a_line(script: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match=r"compare_models.py: no such configuration file"):
        script.main([f"Mine={tmp_path / 'mine.yaml'}", "--threads", str(threads)])
