"""Exported networks give the features of the PyTorch network in every format; a file that does not is not written."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dygait
from dygait import cli
from dygait.deployment import PretrainedModel, exporting
from dygait.deployment.exporting import TOLERANCE, export, largest_difference
from dygait.errors import UserError
from dygait.runs import published
from helpers.faulting import LONG
from helpers.networks import CHANNELS, SMALL, network


def weights(name: str, folder: Path, **more: Any) -> Path:
    """Write the weights of a small network as published weights."""
    model = network(name, **more)
    head = getattr(model, "class_head", ())
    config = {"model_cfg": SMALL[name] | more, "evaluator_cfg": {"transform": {"type": "BaseSilTransform"}}}
    path = folder / f"{name}.safetensors"
    published.write(path, {n: w for n, w in model.state_dict().items() if n not in head}, {"config": config})
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> torch.export.ExportedProgram:
    return exporting._trace(dygait.load_pretrained(weights("GaitSet", tmp_path_factory.mktemp("weights"))))


@pytest.fixture
def model(program: torch.export.ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretrainedModel:
    """A GaitSet whose export reuses the traced program."""
    monkeypatch.setattr(exporting, "_trace", lambda model: program)
    return dygait.load_pretrained(weights("GaitSet", tmp_path))


def walks(lengths: list[int], name: str = "GaitSet") -> list[np.ndarray]:
    rng, size = np.random.default_rng(0), (*filter(None, [CHANNELS.get(name)]), 16, 12)
    return [(rng.random((length, *size)) > 0.5).astype(np.uint8) * np.uint8(255) for length in lengths]


needs_onnx = pytest.mark.skipif(not exporting.writes_onnx(), reason="this PyTorch is too old to write ONNX")
MODELS = {cfg["model"]: name for name, cfg in SMALL.items()}
CASES = [(name, format) for name in MODELS.values() for format in exporting.FORMATS]
"""Every model in every format: minutes, only with DYGAIT_FAULTS=long; else one network of sets, one of sequences."""


@pytest.mark.parametrize(("name", "format"), CASES if LONG else [("GaitSet", "exported"), ("GaitGL necks", "onnx")])
def test_every_network(name: str, format: str, tmp_path: Path) -> None:
    if format == "onnx" and not exporting.writes_onnx():
        pytest.skip("this PyTorch is too old to write ONNX")
    model = dygait.load_pretrained(weights(name, tmp_path))
    target = tmp_path / f"exported{exporting.FORMATS[format]}"
    assert export(model, target, format) <= TOLERANCE
    loaded = dygait.load_exported(target)
    assert dataclasses.asdict(loaded.info) == json.loads(json.dumps(dataclasses.asdict(model.info)))
    for lengths in ([1], [2], [3], [200], [30, 30], [1, 2, 3, 4, 5, 6, 30, 57]):
        expected, actual = (dygait.embed(network, walks(lengths, name)) for network in (model, loaded))
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_a_difference_is_measured(model: PretrainedModel, tmp_path: Path) -> None:
    export(model, tmp_path / "exported.pt2", "exported")
    loaded = dygait.load_exported(tmp_path / "exported.pt2")
    with torch.no_grad():
        next(model.network.parameters()).mul_(1.01)
    assert largest_difference(model, loaded) > TOLERANCE


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_a_file_whose_features_differ_is_not_written(
    error: float, model: PretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrongModel:
        def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            features = model.features(silhouettes, lengths)
            return features + error * features.abs().max()

    monkeypatch.setattr(exporting, "load_exported", lambda path: WrongModel())
    target = tmp_path / "exported.pt2"
    target.write_bytes(b"before")
    with pytest.raises(UserError, match=r"exported.pt2 is not written: its features differ"):
        export(model, target, "exported")
    assert target.read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"exported.pt2", "GaitSet.safetensors"}


@needs_onnx
def test_the_command_and_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of DyGait's weights are computed: small ones are folded into constants on export, larger ones are not."""
    source, target = weights("DyGait", tmp_path, channels=[8, 16, 32]), tmp_path / "small.onnx"
    model = dygait.load_pretrained(source)
    assert cli.main(["export", str(source), str(target), "--to", "onnx", "--int8"]) == 0
    assert "small.onnx" in capsys.readouterr().out
    loaded = dygait.load_exported(target)
    assert loaded.info.identity != model.info.identity
    assert loaded.info.model_cfg == model.info.model_cfg
    expected, actual = (dygait.embed(network, walks([30, 9])) for network in (model, loaded))
    assert 1e-4 < np.abs(actual - expected).max() / np.abs(expected).max() < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exported.onnx", "--to", "exported"], "a file of --to exported is called *.pt2"),
        (["exported.pt2", "--to", "exported", "--int8"], "--int8 is for --to onnx"),
        (["none/exported.pt2", "--to", "exported"], "there is no folder none"),
    ],
)
def test_errors_of_the_command(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    source = weights("GaitSet", tmp_path)
    assert cli.main(["export", str(source), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_errors_of_load_exported(model: PretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content, message in (
        ("a.pt", b"", "is no exported model"),
        ("a.pt2", b"nothing", "is no program of torch.export"),
        ("a.onnx", b"nothing", r"is no ONNX file that onnxruntime can run|onnxruntime is not installed"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            dygait.load_exported(tmp_path / name)
    with pytest.raises(UserError, match="no such exported model"):
        dygait.load_exported(tmp_path / "none.onnx")
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(2),))
    torch.export.save(program, tmp_path / "theirs.pt2")
    with pytest.raises(UserError, match=r"theirs.pt2 was not written by `dygait export`"):
        dygait.load_exported(tmp_path / "theirs.pt2")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed: pip install 'dygait\[export\]'"):
        dygait.load_exported(tmp_path / "a.onnx")
