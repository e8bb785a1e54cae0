"""The comparison with OpenGait, with a small copy of its layout: equal networks pass, differences are reported."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dygait
from helpers.scripts import load_script

CFG = {
    "model": "Baseline",
    "backbone_cfg": {"type": "Plain", "in_channels": 1, "layers_cfg": ["BC-3", "M", "BC-4", "M"]},
    "bin_num": [4],
    "SeparateFCs": {"in_channels": 4, "out_channels": 5, "parts_num": 4},
    "SeparateBNNecks": {"class_num": 3, "in_channels": 5, "parts_num": 4},
}
# OpenGait's layout, imports and names of tensors, for GaitBase with a Plain backbone.
FILES = {
    "utils/__init__.py": "",
    "modeling/backbones/__init__.py": "raise ImportError('other backbones need more than is installed')\n",
    "modeling/models/__init__.py": "raise ImportError('other models need more than is installed')\n",
    "modeling/base_model.py": """
import data.sampler as Samplers
import matplotlib.pyplot as plt
import utils
from torch import nn
from data.transform import get_transform
from evaluation import evaluator
from . import backbones
from .loss_aggregator import LossAggregator

class BaseModel(nn.Module):
    def __init__(self, cfgs, training):
        get_transform(cfgs)

    def init_parameters(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
""",
    "modeling/backbones/plain.py": """
from torch import nn

class Conv(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.conv = nn.Conv2d(*sizes, bias=False)

    def forward(self, x):
        return self.conv(x)

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        first, second = Conv(1, 3, 5, 1, 2), Conv(3, 4, 3, 1, 1)
        self.feature = nn.Sequential(
            first, nn.LeakyReLU(SLOPE), nn.MaxPool2d(2), second, nn.LeakyReLU(), nn.MaxPool2d(2))

    def forward(self, x):
        return self.feature(x)
""",
    "modeling/models/baseline.py": """
import torch
from torch import nn
from ..base_model import BaseModel, backbones

class Block(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.forward_block = block

class Head(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.fc_bin = nn.Parameter(torch.randn(4, c_in, c_out))

class Baseline(BaseModel):
    def build_network(self, cfg):
        assert self.cfgs["data_cfg"]["dataset_name"] == "CASIA-B"
        self.Backbone = Block(backbones.Plain())
        self.FCs, self.BNNecks = Head(4, 5), Head(5, 3)
        self.BNNecks.bn1d = nn.BatchNorm1d(20, momentum=MOMENTUM)

    def forward(self, inputs):
        (sils,), labels, _, _, lengths = inputs
        assert len(labels) == len(sils)
        sets = torch.stack([self.Backbone.forward_block(s[:, None]).max(0)[0] for s in sils])
        strips = sets.flatten(2).unflatten(2, (4, -1))
        parts = strips.mean(3) + strips.max(3)[0]
        embeddings = torch.stack([parts[:, :, p] @ self.FCs.fc_bin[p] for p in range(4)], 2)
        normed = self.BNNecks.bn1d(embeddings.flatten(1)).view_as(embeddings)
        weights = self.BNNecks.fc_bin
        logits = torch.stack([
            (normed[:, :, p] / normed[:, :, p].norm(dim=1, keepdim=True)) @ (weights[p] / weights[p].norm(dim=0))
            for p in range(4)], 2)
        CHANGE
        return {
            "training_feat": {"triplet": {"embeddings": embeddings}, "softmax": {"logits": logits}},
            "inference_feat": {"embeddings": embeddings},
        }
""",
}


@pytest.fixture
def script() -> Iterator[Any]:
    """The script as a module; its changes to this process are undone."""
    path, modules, threads = list(sys.path), dict(sys.modules), torch.get_num_threads()
    module = load_script("compare_with_opengait")
    yield module
    torch.set_num_threads(threads)
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name.partition(".")[0] in ("data", "evaluation", "matplotlib", "modeling", "utils"):
            del sys.modules[name]
    sys.modules.update(modules)


def run(script: Any, folder: Path, slope: str = "0.01", momentum: str = "0.1", change: str = "pass") -> int:
    for name, text in FILES.items():
        file = folder / "opengait" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("SLOPE", slope).replace("MOMENTUM", momentum).replace("CHANGE", change))
    script.networks = lambda: {"tiny": script.Network(CFG, shape=(4, 3))}
    code: int = script.main([str(folder), "--json", str(folder / "figures.json")])
    return code


def test_equal_networks_are_within_the_limits(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(script, tmp_path) == 0
    out = capsys.readouterr().out
    assert "within the limits" in out
    assert sum(line.startswith("| tiny ") for line in out.splitlines()) == 2
    figures = json.loads((tmp_path / "figures.json").read_text())["networks"]["tiny"]
    assert list(figures["training"]) == ["embeddings", "logits", "statistics", "gradients"]
    assert list(figures["evaluation"]) == ["embeddings", "logits"]
    for mode, kinds in figures.items():
        for kind, row in kinds.items():
            assert row["largest"] > 1e-3, (mode, kind)
            assert 0 < row["difference"] <= row["ours"] + row["opengait"] + row["float64"], (mode, kind)
            assert row["difference"] == max(row["difference_1"], row["difference_2"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slope": "0.0101"}, {"training, embeddings", "evaluation, embeddings"}),
        ({"momentum": "0.1001"}, {"training, statistics"}),
        ({"change": "logits = logits * 1.001"}, {"training, logits", "evaluation, logits"}),
        ({"change": "if not self.training: embeddings = embeddings + 1e-4"}, {"evaluation, embeddings"}),
        ({"change": "embeddings = embeddings.detach() + (embeddings - embeddings.detach()) * 1.0001"},
         {"training, gradients"}),
        ({"change": "logits = logits * float('nan')"}, {"training, logits", "evaluation, logits"}),
    ],
)  # fmt: skip
def test_differences_are_reported(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], expected: set[str]
) -> None:
    script.THREADS = (1,)
    assert run(script, tmp_path, **change) == 1
    out = capsys.readouterr().out
    assert "within the limits" not in out
    reported = {", ".join(line.split(", ")[:2]) for line in out.splitlines() if line.startswith("tiny: ")}
    assert {f"tiny: {name}" for name in expected} <= reported
    if "slope" not in change and "nan" not in change.get("change", ""):  # these change later results too
        assert reported == {f"tiny: {name}" for name in expected} | ({"tiny: training, gradients"} & reported)


def test_hand_calculated_differences(script: Any) -> None:
    a = {"embeddings": {"": torch.tensor([1.0, -5.0])}, "gradients": {"x": torch.tensor([2.0]), "y": torch.zeros(2)}}
    b = {"embeddings": {"": torch.tensor([1.5, -4.0])}, "gradients": {"x": torch.tensor([2.5]), "y": torch.zeros(2)}}
    assert script.differences(a, b) == {"embeddings": 1.0, "gradients": pytest.approx(0.2)}
    assert script.largest_values(b) == {"embeddings": 4.0, "gradients": 2.5}


def test_replaced_functions_raise(script: Any, tmp_path: Path) -> None:
    script.THREADS = (1,)
    assert run(script, tmp_path) == 0
    model = importlib.import_module("modeling.models.baseline").Baseline
    with pytest.raises(RuntimeError, match="get_transform"):
        model({}, training=True)


def test_no_checkout(script: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no checkout"):
        script.main([str(tmp_path)])


def test_every_network_can_be_built(script: Any) -> None:
    with torch.device("meta"):
        for network in script.networks().values():
            dygait.build_model(network.model_cfg, network.dataset)
