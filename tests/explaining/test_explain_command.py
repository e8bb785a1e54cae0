"""The command `dygait explain`: with a run and its data, with SynGait, in the report; and its errors."""

import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from dygait import cli
from dygait.explaining.explain import choose, load, look_at
from dygait.reporting.explanation import load_explanation
from helpers.experiments import Experiment

SYNTHETIC = "syngait://quick?frames=12&train_ids=1&test_ids=2"


def explain(folder: Path, *arguments: object) -> Path:
    assert cli.main(["explain", *map(str, arguments), "--output", str(folder)]) == 0
    return folder


def test_explanation_of_a_run_and_in_its_report(tested: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(tested.folder), "--sequences", "*/nm-05/*", "--pictures", "1"]) == 0
    printed = capsys.readouterr().out
    folder = tested.folder / "explain"
    assert {path.name for path in folder.iterdir()} == {"explain.html", "explain.json", "sheet.png", "strip.png"}
    explanation = load_explanation(folder / "explain.json")
    assert {key[1] for key in explanation.sequences} == {"nm-05"}
    assert (explanation.known, explanation.iteration, explanation.dynamic) == (False, 2, True)
    assert list(explanation.dams) == ["dam0", "dam1", "dam2"]
    for branches in explanation.dams.values():
        assert list(branches) == ["global", "dynamic", "spatial"]
        assert sum(branch.strength for branch in branches.values()) == pytest.approx(1)
        assert all(sum(branch.shares) == pytest.approx(1) for branch in branches.values())
    assert re.search(r"dam2 +spatial", printed)
    page = (folder / "explain.html").read_text()
    assert page.count("<img ") == 1
    assert cv2.imread(str(folder / "sheet.png")).shape[0] > 8 * 128

    for arguments, pictures in (([], True), (["--no-frames"], False)):
        assert cli.main(["report", str(tested.folder), *arguments]) == 0
        report = (tested.folder / "report" / "report.html").read_text()
        assert "Where the branches respond" in report
        assert ("response of the branches" in report) is pictures
    (folder / "explain.json").write_text('{"format": "dygait-explain"}')
    assert cli.main(["report", str(tested.folder)]) == 2
    assert "run `dygait explain` again" in capsys.readouterr().err


def test_synthetic_walkers_have_known_parts(trained: Experiment, tmp_path: Path) -> None:
    transform = ["evaluator_cfg.transform=[{type: BaseSilCuttingTransform}, {type: Resize, size: [32, 22]}]"]
    assert trained.at(tmp_path / "run").run("train", "trainer_cfg.total_iter=2", *transform) == 0
    run = tmp_path / "run" / "CASIA-B" / "DyGait" / "tiny"
    folder = explain(tmp_path / "out", run, "--data", SYNTHETIC, "--count", 3, "--pictures", 2)
    explanation = json.loads((folder / "explain.json").read_text())
    assert explanation["known"] is True
    assert explanation["parts"][:6] == ["head", "trunk", "arms", "thighs", "shanks", "feet"]
    assert explanation["parts"][-1] == "beyond"
    assert explanation["cycle"] == "gait cycle"
    assert {key[0] for key in explanation["sequences"]} <= {"002", "003"}
    assert len(explanation["sequences"]) == 3
    page = (folder / "explain.html").read_text()
    assert page.count('class="film"') == page.count("<img ") == 2
    assert page.count("<svg viewBox") == 2 * 3  # two branches of three DAMs
    assert "the left heel strikes" in page
    without_pictures = explain(tmp_path / "out", run, "--data", SYNTHETIC, "--count", 1, "--pictures", 0)
    assert {path.name for path in without_pictures.iterdir()} == {"explain.html", "explain.json"}


def test_the_network_gets_the_weights_and_frames_of_a_test(trained: Experiment) -> None:
    model = load(str(trained.folder))
    assert not model.network.training
    saved = trained.checkpoint(2)["model"]
    actual = {name: value for name, value in model.network.state_dict().items() if not name.startswith("necks")}
    assert all(torch.equal(saved[name], value) for name, value in actual.items())
    store, (index,) = choose(model, None, ["005/nm-01/*"], 1)
    sequence = look_at(store, index)
    assert sequence.key[:2] == ("005", "nm-01")
    assert np.array_equal(sequence.frames, np.asarray(store.read(index)))


def test_evenly_spaced_test_ids_are_the_default(trained: Experiment) -> None:
    store, indices = choose(load(str(trained.folder)), None, [], 3)
    keys = [store.table.key(index) for index in indices]
    assert keys[0][0] == "005"
    assert keys[-1][0] == "006"
    assert len(keys) == 3


def test_errors(trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    without_config = tmp_path / "without_config.pt"
    torch.save({"model": trained.checkpoint(2)["model"]}, without_config)
    run = str(trained.folder)
    for arguments, message in (
        ([tmp_path / "empty"], "no folder of a run"),
        ([tmp_path / "nothing.pt"], "no such checkpoint"),
        ([without_config], "does not say which network"),
        ([run, "--sequences", "007/*/*"], "--sequences 007/*/*"),
        ([run, "--data", tmp_path / "empty"], "empty"),
        ([run, "--data", "syngait://quick?frames=4", "--count", "1"], "give sequences of 6 or more"),
        ([run, "--data", "syngait://quick?frames=12", "--count", "1"], "the network takes 32x22"),
        ([run, "--count", "0"], "--count must be at least 1"),
    ):
        assert cli.main(["explain", *map(str, arguments), "-o", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_network_without_dams(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(experiment.config.read_text())
    settings["model_cfg"] = {"model": "GaitSet", "in_channels": [1, 4, 4, 4], "bin_num": [4]}
    settings["loss_cfg"] = [{"type": "TripletLoss"}]
    config = tmp_path / "set.yaml"
    config.write_text(yaml.safe_dump(settings))
    assert dataclasses.replace(experiment, config=config).run("train", "trainer_cfg.total_iter=2") == 0
    (checkpoint,) = experiment.output.rglob("*.pt")
    assert cli.main(["explain", str(checkpoint)]) == 2
    assert "GaitSet has no Dynamic Augmentation Module" in capsys.readouterr().err
