"""Weights under OpenGait's names: recognised, renamed in both directions, and errors where they do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import dygait
from dygait.cli import main
from dygait.errors import UserError
from dygait.modeling import build_model
from dygait.modeling.opengait_names import in_opengait_names, in_our_names, opengait_names
from dygait.runs.checkpoint_files import load_state, load_weights, read_checkpoint, save_checkpoint
from helpers.networks import SMALL

# Some of the names in OpenGait's checkpoints (for DyGait, its authors' release), for every kind of layer of a model.
THEIRS: dict[str, set[str]] = {
    "GaitBase": {
        "Backbone.forward_block.conv1.conv.weight", "Backbone.forward_block.bn1.running_mean",
        "Backbone.forward_block.layer2.1.conv2.weight", "Backbone.forward_block.layer4.0.downsample.1.bias",
        "FCs.fc_bin", "BNNecks.fc_bin", "BNNecks.bn1d.weight",
    },
    "ScoNet": {"Backbone.forward_block.conv1.conv.weight", "FCs.fc_bin", "BNNecks.fc_bin", "BNNecks.bn1d.weight"},
    "GLN phase 2": {
        "Head.fc_bin", "encoder_bn.running_mean", "reduce_fc.weight", "reduce_bn.weight", "reduce_cls.weight",
        "lateral_layer1.weight", "smooth_layer3.weight",
        "sil_stage_0.forward_block.2.conv.weight", "sil_stage_1.forward_block.0.conv.weight",
        "set_stage_2.0.conv.weight",
    },
    "SwinGait": {
        "layer0.forward_block.0.weight", "layer1.forward_block.0.bn2.bias", "layer2.0.conv1.forward_block.0.weight",
        "layer2.0.shortcut3d.weight", "layer2.0.sbn.weight", "layer2.0.downsample.1.weight", "FCs.fc_bin",
        "transformer.patch_embed.proj.bias", "transformer.patch_embed.norm.weight", "transformer.norm.bias",
        *(f"transformer.layers.{s}.blocks.1.{n}" for s in (0, 1) for n in (
            "norm1.weight", "norm2.bias", "attn.relative_position_bias_table", "attn.relative_position_index",
            "attn.qkv.bias", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.bias",
        )),
        "transformer.layers.0.downsample.0.weight", "transformer.layers.0.downsample.1.weight", "BNNecks.bn1d.weight",
    },
    "GaitBase plain": {"Backbone.forward_block.feature.0.conv.weight", "Backbone.forward_block.feature.3.conv.weight"},
    "DeepGaitV2 2d": {
        "layer0.forward_block.0.weight", "layer1.forward_block.0.bn2.bias", "layer2.forward_block.1.conv1.weight",
        "layer4.forward_block.0.downsample.0.weight", "FCs.fc_bin", "BNNecks.fc_bin",
    },
    "DeepGaitV2 p3d": {
        "layer0.forward_block.1.weight", "layer1.forward_block.0.conv1.weight", "layer2.0.conv1.forward_block.0.weight",
        "layer2.0.conv2.forward_block.1.running_var", "layer3.0.shortcut3d.weight", "layer3.0.sbn.weight",
        "layer4.0.downsample.1.weight",
    },
    "DeepGaitV2 3d": {"layer2.0.conv1.weight", "layer2.1.bn2.bias", "layer3.0.downsample.0.weight"},
    "LidarGait": {"Backbone.forward_block.conv1.conv.weight", "FCs.fc_bin", "BNNecks.fc_bin"},
    "SkeletonGait": {"layer0.forward_block.0.weight", "layer2.0.conv1.forward_block.0.weight", "layer4.0.sbn.weight"},
    "SkeletonGaitPP": {
        "map_layer0.forward_block.0.weight", "sil_layer1.forward_block.0.bn1.weight", "layer2.0.downsample.0.weight",
        "fusion.conv.forward_block.3.weight", "layer4.0.conv2.forward_block.1.running_mean",
    },
    "MultiGaitpp": {
        "part1_layer0.forward_block.0.weight", "part2_layer1.forward_block.0.conv1.weight", "FCs.fc_bin",
        "csquare.conv1.forward_block.6.weight", "csquare.conv2.forward_block.1.weight", "layer3.0.shortcut3d.weight",
        "part2_layer3.0.conv1.forward_block.0.weight", "fusion.conv.forward_block.0.weight",
    },
    "DyGait deep": {
        "conv3d0.conv1g.weight", "conv3d1.conv1d.weight", "conv3d4.conv2s.weight", "LTA.0.conv3d.weight", "HPP.p",
        "Head0.fc_bin", "Bn.weight", "Bn.running_var", "Head1.fc_bin",
    },
    "DyGait necks": {
        "conv3d.0.conv3d.weight", "LTA.0.conv3d.weight", "GLConvA0.conv1g.weight", "GLConvA1.conv2d.weight",
        "GLConvB2.conv1s.weight", "HPP.p", "Head0.fc_bin", "BNNecks.fc_bin", "BNNecks.bn1d.num_batches_tracked",
    },
    "GaitSSB_Pretrain": {
        "Backbone.forward_block.conv1.conv.weight", "Backbone.forward_block.layer2.0.downsample.1.bias",
        "projector.0.fc_bin", "projector.1.bn1d.weight", "projector.4.bn1d.running_mean", "predictor.3.fc_bin",
    },
    "GaitSSB_Finetune": {"Backbone.forward_block.layer4.0.bn2.weight", "projector.3.fc_bin", "head0.fc_bin"},
    "GaitSet": {
        "Head.fc_bin",
        *(f"set_block{b}.forward_block.{i}.conv.weight" for b in (1, 2, 3) for i in (0, 2)),
        *(f"gl_block{b}.{i}.conv.weight" for b in (2, 3) for i in (0, 2)),
    },
    "GaitPart": {
        "Head.fc_bin",
        *(f"Backbone.forward_block.feature.{i}.conv.weight" for i in (0, 3, 6)),
        *(f"TFA.pooling_func.conv1d{k}.{p}.{i}.conv.weight" for k in ("3x1", "3x3") for p in range(4) for i in (0, 2)),
    },
    "GaitGL": {
        "conv3d.0.conv3d.weight", "LTA.0.conv3d.weight", "HPP.p", "Head0.fc_bin", "Head1.fc_bin",
        *(f"{b}.{c}_conv3d.conv3d.weight" for b in ("GLConvA0", "GLConvA1", "GLConvB2") for c in ("global", "local")),
        *(f"Bn.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    },
    "GaitGL deep necks": {
        "conv3d.0.conv3d.weight", "conv3d.2.conv3d.weight", "LTA.0.conv3d.weight", "HPP.p", "Head0.fc_bin",
        "GLConvA0.0.global_conv3d.conv3d.weight", "GLConvA1.1.local_conv3d.conv3d.weight",
        "GLConvB2.1.global_conv3d.conv3d.weight", "BNNecks.fc_bin", "BNNecks.bn1d.weight",
    },
}  # fmt: skip


def make_model(name: str, seed: int = 0, **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_model({**SMALL[name], **more})


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("name", THEIRS)
def test_names_are_converted_in_both_directions(name: str) -> None:
    model = make_model(name)
    ours = model.state_dict()
    theirs = in_opengait_names(model, ours)
    assert THEIRS[name] <= theirs.keys()
    assert THEIRS[name] == theirs.keys() or name not in ("GaitSet", "GaitPart", "GaitGL"), "all are listed above"
    restored, opengait = in_our_names(model, theirs)
    assert opengait
    assert_same(restored, dict(ours))
    assert in_our_names(model, ours)[1] is False


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_a_checkpoint_of_theirs_loads(name: str, prefix: str, tmp_path: Path) -> None:
    source, target = make_model(name, seed=1), make_model(name, seed=2)
    weights = {prefix + n: t for n, t in in_opengait_names(source, source.state_dict()).items()}
    torch.save({"model": weights, "iteration": 3}, tmp_path / "theirs.pt")
    report = dygait.load_weights(target, tmp_path / "theirs.pt")
    assert report.complete
    assert report.opengait
    assert "under OpenGait's names" in str(report)
    assert_same(dict(target.state_dict()), dict(source.state_dict()))


def test_problems_use_the_names_of_the_file() -> None:
    model = make_model("DyGait necks")
    weights = in_opengait_names(model, model.state_dict())
    weights["Bn.weight"] = torch.zeros(6)
    weights["Head0.fc_bin"] = torch.zeros(8, 6, 7)
    del weights["HPP.p"]
    report = load_state(model, weights, "x.pt", strict=False)
    assert report.unexpected == ["Bn.weight"]
    assert report.misshapen == {"fcs.fc_bin": ((8, 6, 7), (8, 6, 6))}
    assert report.missing == ["pooling.p"]
    with pytest.raises(UserError, match=r"Bn\.weight"):
        load_state(model, weights, "x.pt")


@pytest.mark.parametrize("names", ["ours", "theirs"])
def test_a_class_head_that_does_not_fit_can_be_kept(names: str) -> None:
    model = make_model("DyGait necks", SeparateBNNecks={"class_num": 3})
    other = make_model("DyGait necks", seed=1)
    weights = dict(other.state_dict()) if names == "ours" else in_opengait_names(other, other.state_dict())
    with pytest.raises(UserError, match=r"necks\.fc_bin: file \[8, 6, 5\], model \[8, 6, 3\]"):
        load_state(model, weights, "x.pt")
    before: torch.Tensor = model.state_dict()["necks.fc_bin"].clone()
    report = load_state(model, weights, "x.pt", reset_head=True)
    assert report.complete
    assert report.reset == ["necks.fc_bin"]
    assert "the class head keeps its initial values" in str(report)
    assert torch.equal(model.state_dict()["necks.fc_bin"], before)
    assert torch.equal(model.state_dict()["fcs.fc_bin"], other.state_dict()["fcs.fc_bin"])


def test_a_head_that_fits_is_loaded() -> None:
    model, other = make_model("DyGait necks"), make_model("DyGait necks", seed=1)
    assert load_state(model, other.state_dict(), "x.pt", reset_head=True).reset == []
    assert_same(dict(model.state_dict()), dict(other.state_dict()))


def test_a_model_that_opengait_lacks_has_no_such_names() -> None:
    plain = nn.Linear(2, 3)
    assert opengait_names(plain) == {}
    assert in_our_names(plain, plain.state_dict())[1] is False


class TestConvert:
    @pytest.fixture
    def cfgs(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.yaml"
        content = {"data_cfg": {"dataset_name": "CASIA-B", "dataset_root": "."}, "model_cfg": SMALL["DyGait necks"]}
        path.write_text(yaml.safe_dump(content))
        return path

    def convert(self, cfgs: Path, source: Path, target: Path, to: str, *more: str) -> int:
        return main(["convert", str(source), str(target), "--cfgs", str(cfgs), "--to", to, *more])

    def test_both_directions(self, cfgs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        ours, theirs, back = (tmp_path / f"{n}.pt" for n in ("ours", "theirs", "back"))
        model = make_model("DyGait necks", seed=1)
        save_checkpoint(ours, {"model": model.state_dict(), "iteration": 7, "optimizer": {}})
        assert self.convert(cfgs, ours, theirs, "opengait") == 0
        assert f"tensors to {theirs}, under OpenGait's names" in capsys.readouterr().out
        state = read_checkpoint(theirs)
        assert state["iteration"] == 7
        assert THEIRS["DyGait necks"] <= state["model"].keys()
        assert self.convert(cfgs, theirs, back, "dygait") == 0
        assert_same(read_checkpoint(back)["model"], dict(model.state_dict()))
        assert load_weights(make_model("DyGait necks"), theirs).complete

    def test_conversion_errors(self, cfgs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        ours, theirs = tmp_path / "ours.pt", tmp_path / "theirs.pt"
        save_checkpoint(ours, {"model": make_model("DyGait necks").state_dict()})
        other_classes = "--set", "model_cfg.SeparateBNNecks.class_num=9"
        assert self.convert(cfgs, ours, theirs, "opengait", *other_classes) == 2
        assert "necks.fc_bin: file [8, 6, 5], model [8, 6, 9]" in capsys.readouterr().err
        assert not theirs.exists()
        theirs.write_text("mine")
        assert self.convert(cfgs, ours, theirs, "opengait") == 2
        assert f"{theirs} exists" in capsys.readouterr().err
        assert theirs.read_text() == "mine"
