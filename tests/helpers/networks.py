"""Small networks of every model, for 16x12 silhouettes; configurations and batches for six of them."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch import nn

from dygait.config import load_config
from dygait.config.schema import Config
from dygait.data.collate import Batch
from dygait.modeling import build_model
from helpers.experiments import tiny_settings

Module = TypeVar("Module", bound=nn.Module)
CLASSES = 5
HEIGHT, WIDTH = 16, 12


def _necks(parts: int) -> dict[str, Any]:
    return {"SeparateBNNecks": {"class_num": CLASSES, "in_channels": 6, "parts_num": parts}}


def _fcs(parts: int) -> dict[str, Any]:
    return {"SeparateFCs": {"in_channels": 8, "out_channels": 6, "parts_num": parts}}


def _model(model: str, bin_num: list[int], **more: Any) -> dict[str, Any]:
    return {"model": model, "bin_num": bin_num, "input_size": [HEIGHT, WIDTH], **more}


def _deepgaitv2(mode: str, layers: list[int], channels: int = 1, **more: Any) -> dict[str, Any]:
    sizes = {"mode": mode, "in_channels": channels, "layers": layers, "channels": [2, 3, 6, 8]}
    return _model("DeepGaitV2", [4], Backbone=sizes, SeparateBNNecks={"class_num": CLASSES}, **more)


_CLASSES = {"class_num": CLASSES}
_BLOCKS: dict[str, Any] = {"blocks": [1, 1, 1, 1], "C": 1}
_SHALLOW = {"variant": "shallow", "channels": [2, 3, 6]}
_DEEP = {"variant": "deep", "channels": [2, 3, 4, 6]}
_PLAIN = {"type": "Plain", "layers_cfg": ["BC-4", "M", "FC-6-1", "M", "FC-8-2"]}
_RESNET = {
    "type": "ResNet9", "block": "BasicBlock", "channels": [2, 3, 4, 8], "layers": [1, 2, 1, 1],
    "strides": [1, 2, 2, 1], "maxpool": False,
}  # fmt: skip
_NARROW = {**_RESNET, "channels": [2, 3, 4, 6]}

_GLN = {
    "in_channels": [1, 4, 6, 8], "lateral_dim": 5, "hidden_dim": 6,
    "SeparateFCs": {"in_channels": 5, "out_channels": 6, "parts_num": 21},
}  # fmt: skip
_SWIN = {
    "Backbone": {"mode": "p3d", "in_channels": 1, "layers": [1, 2, 2, 2], "channels": [2, 3], "embed_dim": 16},
    "SeparateBNNecks": {"class_num": CLASSES, "in_channels": 16, "parts_num": 6},
}

SMALL: dict[str, dict[str, Any]] = {
    "GaitSet": _model("GaitSet", [4, 2, 1], in_channels=[1, 4, 6, 8], **_fcs(14)),
    "GaitPart": _model("GaitPart", [4], backbone_cfg=_PLAIN, **_fcs(4)),
    "GaitGL": _model("GaitGL", [8], **_SHALLOW, **_CLASSES),
    "GaitGL necks": _model("GaitGL", [8], **_SHALLOW, **_necks(8)),
    "GaitGL deep": _model("GaitGL", [8], **_DEEP, **_CLASSES),
    "GaitGL deep necks": _model("GaitGL", [8], **_DEEP, **_necks(8)),
    "GaitBase": _model("GaitBase", [4], backbone_cfg=_RESNET, **_fcs(4), **_necks(4)),
    "GaitBase plain": _model("Baseline", [2, 1, 1], backbone_cfg=_PLAIN, **_fcs(4), **_necks(4)),
    "LidarGait": _model("Baseline", [4], backbone_cfg={**_RESNET, "in_channel": 3}, **_fcs(4), **_necks(4)),
    "ScoNet": _model("ScoNet", [4], backbone_cfg=_RESNET, **_fcs(4), **_necks(4)),
    "GLN": _model("GLN", [4, 2, 1], **_GLN, Lateral_pretraining=True),
    "GLN phase 2": _model("GLN", [4, 2, 1], **_GLN, Lateral_pretraining=False, dropout=0.2, class_num=CLASSES),
    "SwinGait": _model("SwinGait", [5], **_SWIN),
    "DeepGaitV2 2d": _deepgaitv2("2d", [1, 2, 1, 1]),
    "DeepGaitV2 p3d": _deepgaitv2("p3d", [1, 1, 1, 1], use_emb2=True),
    "DeepGaitV2 3d": _deepgaitv2("3d", [1, 2, 1, 1]),
    "SkeletonGait": _deepgaitv2("p3d", [1, 1, 1, 1], 2, use_emb2=True),
    "SkeletonGaitPP": _model("SkeletonGaitPP", [4], Backbone=_BLOCKS, SeparateBNNecks=_CLASSES),
    "MultiGaitpp": _model(
        "MultiGaitpp", [4], Backbone={**_BLOCKS, "part1_channel": 1, "part2_channel": 2}, SeparateBNNecks=_CLASSES
    ),
    "GaitSSB_Pretrain": _model("GaitSSB_Pretrain", [4, 2, 1], backbone_cfg=_NARROW),
    "GaitSSB_Finetune": _model(
        "GaitSSB_Finetune", [4, 2, 1], backbone_cfg=_NARROW, backbone_lr=[0.0, 0.1, 0.2, 0.3], projector_lr=0.4
    ),
    "DyGait": _model("DyGait", [8], **_SHALLOW, **_CLASSES, norm="batch"),
    "DyGait necks": _model("DyGait", [8], **_SHALLOW, **_necks(8)),
    "DyGait deep": _model("DyGait", [4, 2, 1], **_DEEP, **_CLASSES),
    "DyGait deep necks": _model("DyGait", [2, 1, 1], **_DEEP, **_necks(4), norm="batch", checkpointing=True),
}
"""`model_cfg` by name."""

CHANNELS = {"LidarGait": 3, "SkeletonGait": 2, "SkeletonGaitPP": 3, "MultiGaitpp": 3}
"""Channels of the frames, for networks that take several."""

SIX = {
    "GaitSet": "GaitSet", "GaitPart": "GaitPart", "GaitGL": "GaitGL necks", "GaitBase": "GaitBase",
    "DeepGaitV2": "DeepGaitV2 p3d", "DyGait": "DyGait deep necks",
}  # fmt: skip
"""A network of `SMALL` for each of six models."""

LENGTHS = [9, 4, 2, 7]
"""Lengths of the sequences of a batch, for tests of padding."""


def config_of(name: str, folder: Path, *overrides: str) -> Config:
    """Return a configuration of training a network, without data: tests make the batches."""
    settings = copy.deepcopy(tiny_settings(folder, folder / "partition.json"))
    settings["model_cfg"] = SMALL[SIX.get(name, name)]
    if name in ("GaitSet", "GaitPart", "GaitSSB_Finetune"):  # no class head
        settings["loss_cfg"] = settings["loss_cfg"][:1]
    if name == "GaitSSB_Pretrain":  # the classes are the sequences of a batch
        settings["loss_cfg"] = settings["loss_cfg"][1:]
        settings["trainer_cfg"]["sampler"]["type"] = "BilateralSampler"
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return load_config(path, overrides)


def batch_of(lengths: Sequence[int] | None = None, count: int = 4, seed: int = 0) -> Batch:
    """Return random silhouettes of two subjects, nine frames of each sequence or `lengths`, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    silhouettes = (torch.rand(count, 9, HEIGHT, WIDTH, generator=generator) > 0.5).to(torch.uint8) * 255
    for row, length in zip(silhouettes, lengths or (), strict=False):
        row[length:] = 0
    labels = torch.arange(count) % 2
    return Batch(silhouettes, None if lengths is None else torch.tensor(lengths), labels, torch.arange(count))


def network(name: str, seed: int = 1, **more: Any) -> nn.Module:
    """Return a network of `SMALL` in evaluation mode, with random running statistics and no tiny embeddings."""
    torch.manual_seed(seed)
    model = build_model({**SMALL[name], **more})
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d) and name.startswith("GaitGL"):
            layer.weight.data *= 1.25
    return randomise_statistics(model, 0.1, 1.5).eval()


def randomise_statistics(model: Module, std: float = 1.0, largest: float = 2.0) -> Module:
    """Draw running means from N(0, std) and running variances from U(0.5, largest), and return the model."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, std)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, largest)
    return model


def silhouettes(n: int, s: int, seed: int = 0, name: str = "") -> torch.Tensor:
    """Return N sequences of S frames of 0 and 1, with the channels that a network of `SMALL` takes."""
    size = (n, s, *filter(None, [CHANNELS.get(name)]), HEIGHT, WIDTH)
    return (torch.rand(size, generator=torch.Generator().manual_seed(seed)) > 0.5).float()
