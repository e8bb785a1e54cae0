"""The mean of the weights of several trainings."""

from pathlib import Path

import pytest
import torch

import dygait
from dygait.deployment.pretrained import find_weights
from dygait.runs import published
from dygait.runs.checkpoint_files import read_checkpoint
from helpers.experiments import Experiment
from helpers.scripts import load_script

SCRIPT = load_script("average_weights")


def scaled(path: Path, factor: float, record: dict[str, object]) -> dict[str, torch.Tensor]:
    """Write the smaller weights that ship, multiplied by a factor, and return them."""
    state = read_checkpoint(find_weights("syngait/small"))
    weights = {name: factor * w.float() if w.is_floating_point() else w for name, w in state.pop("model").items()}
    published.write(path, weights, {**state, **record})
    return weights


def test_the_mean_of_two(tmp_path: Path) -> None:
    first, second, target = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "mean"))
    scaled(first, 1.0, {"data": ["syngait://?seed=1", "syngait://?seed=2"]})
    weights = scaled(second, 3.0, {"data": ["syngait://?seed=2", "syngait://?seed=3"]})
    assert SCRIPT.main([str(first), str(second), str(target), "--shares", "0.25", "0.75"]) == 0
    model = dygait.load_pretrained(target)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(model.network.state_dict()[name], tensor * 2.5 / 3)
    assert model.info.training["data"] == [f"syngait://?seed={seed}" for seed in (1, 2, 3)]
    assert model.info.training["soup"] == [
        {"weights": "first.safetensors", "share": 0.25},
        {"weights": "second.safetensors", "share": 0.75},
    ]
    assert model.info.feature == dygait.load_pretrained("syngait").info.feature
    parts = [*range(1, 17)]
    assert SCRIPT.main([str(first), str(target), "--part-weights", *map(str, parts)]) == 0
    model = dygait.load_pretrained(target)
    assert (model.info.feature, model.info.model_cfg["SeparateBNNecks"]["part_weights"]) == ("after_neck", parts)


def test_errors(trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "mean.safetensors")
    for arguments, message in (
        (["syngait", "syngait", str(tmp_path / "mean.pt")], "written to a file *.safetensors"),
        (["no-such-weights", target], "no-such-weights"),
        (["syngait", "syngait", target, "--shares", "1"], "--shares: give 2 numbers"),
        (["syngait", "syngait", target, "--shares", "0.3", "0.3"], "add up to 1"),
        (["syngait", str(trained.folder), target], "of different networks"),
    ):
        assert SCRIPT.main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
