"""The six models, each as small as it can be, on silhouettes of 16x12; configurations and batches for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from dygait.config import load_config
from dygait.config.schema import Config
from dygait.data import Batch
from helpers.experiments import tiny_settings

CLASSES = 3
HEIGHT, WIDTH = 16, 12
_SIZE = {"input_size": [HEIGHT, WIDTH]}
_NECKS = {"class_num": CLASSES, "in_channels": 6, "parts_num": 4}

SIX: dict[str, dict[str, Any]] = {
    "GaitSet": {
        "in_channels": [1, 4, 6, 8], "bin_num": [4, 2], **_SIZE,
        "SeparateFCs": {"in_channels": 8, "out_channels": 6, "parts_num": 12},
    },
    "GaitPart": {
        "backbone_cfg": {"type": "Plain", "layers_cfg": ["BC-4", "M", "FC-6-1", "M", "FC-8-2"]}, "bin_num": [4],
        "SeparateFCs": {"in_channels": 8, "out_channels": 6, "parts_num": 4}, **_SIZE,
    },
    "GaitGL": {"channels": [2, 4, 6], "bin_num": [4], "SeparateBNNecks": _NECKS, "variant": "shallow", **_SIZE},
    "GaitBase": {
        "backbone_cfg": {
            "type": "ResNet9", "channels": [2, 3, 4, 8], "layers": [1, 1, 1, 1], "strides": [1, 2, 2, 1],
            "maxpool": False,
        },
        "SeparateFCs": {"in_channels": 8, "out_channels": 6, "parts_num": 4}, "SeparateBNNecks": _NECKS,
        "bin_num": [4], **_SIZE,
    },
    "DeepGaitV2": {
        "Backbone": {"mode": "p3d", "in_channels": 1, "layers": [1, 1, 1, 1], "channels": [2, 3, 6, 8]},
        "SeparateBNNecks": {"class_num": CLASSES}, "bin_num": [4], **_SIZE,
    },
    "DyGait": {
        "variant": "deep", "channels": [2, 3, 4, 6], "norm": "batch", "bin_num": [2, 1, 1], "SeparateBNNecks": _NECKS,
        "checkpointing": True, **_SIZE,
    },
}  # fmt: skip
"""`model_cfg` of each, without `model`."""

LENGTHS = [9, 4, 2, 7]
"""Of the sequences of a batch that are not of equal length."""


def config_of(name: str, folder: Path, *overrides: str) -> Config:
    """Return the configuration of a model's training, for batches that the test makes: there is no data."""
    settings = copy.deepcopy(tiny_settings(folder, folder / "partition.json"))
    settings["model_cfg"] = {"model": name, **SIX[name]}
    if name in ("GaitSet", "GaitPart"):  # which have no class head
        settings["loss_cfg"] = settings["loss_cfg"][:1]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return load_config(path, overrides)


def batch_of(lengths: Sequence[int] | None = None, count: int = 4, seed: int = 0) -> Batch:
    """Random silhouettes of two people, nine frames of each sequence or as many as given; zero in padding."""
    generator = torch.Generator().manual_seed(seed)
    silhouettes = (torch.rand(count, 9, HEIGHT, WIDTH, generator=generator) > 0.5).to(torch.uint8) * 255
    for row, length in zip(silhouettes, lengths or (), strict=False):
        row[length:] = 0
    labels = torch.arange(count) % 2
    return Batch(silhouettes, None if lengths is None else torch.tensor(lengths), labels, torch.arange(count))
