"""Configurations with fewer channels and a tiny dataset, so that a training step takes a moment."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from conftest import make_tree
from dygait.config import Config, load_config
from dygait.evaluation import classification_of
from dygait.runs.networks import build_network
from dygait.runs.precision import speed_on_cpu
from dygait.training.checks import component_problems

TRAIN, TEST = ["001", "002"], ["003"]


def checks() -> list[Any]:
    return [partial(component_problems, phase="test")]


def bfloat16_is_emulated() -> bool:
    """Return whether this CPU has no instructions for bfloat16, and PyTorch only slow code."""
    return speed_on_cpu(torch.bfloat16) < 0.25


def classes_of(config: Config) -> dict[str, int]:
    """Return the numbers of classes that `model_cfg` sets, by key."""
    keywords = config.model_cfg.keywords
    counts = {"class_num": keywords.get("class_num")}
    counts["SeparateBNNecks.class_num"] = (keywords.get("SeparateBNNecks") or {}).get("class_num")
    return {key: value for key, value in counts.items() if value is not None}


def narrow_config(path: Path, folder: Path, size: int | None = None, more: Sequence[str] = ()) -> Config:
    """Load a configuration with an eighth of the channels, two classes and batches of [2, 2], and write a tree for it.

    A classification keeps its classes, which are the types of the tree. Files have as many channels as the model takes.
    Where bfloat16 has no instructions, the precision is float32. Frames are `size` high and wide, by default 128 where
    the model's `input_size` is [128, 88], else 64; they are fewer and a quarter as high for models whose widths are
    multiples of 32.
    """
    full = load_config(path, more)
    keywords = full.model_cfg.keywords
    size = size or (128 if full.model_cfg.input_size == [128, 88] else 64)
    protocol = classification_of(full)
    types = ["nm-01", "nm-02"] if protocol is None else [p.replace("*", "01") for p in protocol.classes or ()]
    with torch.device("meta"):
        channels = getattr(build_network(full, torch.device("meta")), "in_channels", 1)
    coarse = "C" in keywords.get("Backbone", {})  # at least 32 channels
    height = size // 4 if coarse else size
    tree = {"ids": TRAIN + TEST, "types": types, "frames": (6, 8), "size": (height, size), "channels": channels}
    root = make_tree(folder / "data", **tree)
    partition = folder / "partition.json"
    partition.write_text(json.dumps({"TRAIN_SET": TRAIN, "TEST_SET": TEST, "PROBE_SET": ["003-nm-01-000"]}))
    overrides = [
        f"data_cfg.dataset_root={root}",
        f"data_cfg.dataset_partition={partition}",
        "data_cfg.num_workers=0",
        "data_cfg.data_in_use=null",  # the tree has one file for each sequence, of all channels
        "data_cfg.syngait=null",
        "trainer_cfg.sampler.batch_size=[2,2]",
        f"trainer_cfg.sampler.frames_num_fixed={3 if coarse else 9}",
        "trainer_cfg.sampler.frames_num_min=7",
        "trainer_cfg.sampler.frames_num_max=9",
        *(f"model_cfg.{key}={value}" for key, value in narrow_keywords(keywords).items()),
        *(f"model_cfg.{key}={2 if protocol is None else len(types)}" for key in classes_of(full)),
        *more,
    ]
    if bfloat16_is_emulated():  # two minutes for a step of 128 x 88
        overrides += ["trainer_cfg.enable_float16=false", "evaluator_cfg.enable_float16=false"]
    return load_config(path, overrides)


def narrow_keywords(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return an eighth of the widths that a model's keywords set, by key."""
    narrowed: dict[str, Any] = {}
    width = 0
    for path in ("channels", "in_channels", "backbone_cfg.channels", "Backbone.channels"):
        value: Any = keywords
        for key in path.split("."):
            value = value.get(key, {})
        if isinstance(value, list):
            narrowed[path] = [1 if c == 1 else max(2, c // 8) for c in value]
            width = narrowed[path][-1]
    if "C" in keywords.get("Backbone", {}):
        narrowed |= {"Backbone.C": 1, "Backbone.blocks": [1, 1, 1, 1], "bin_num": [4]}
    if "layers_cfg" in keywords.get("backbone_cfg", {}):
        chain = [layer.split("-") for layer in keywords["backbone_cfg"]["layers_cfg"]]
        chain = [[kind, *(str(max(4, int(c) // 8)) for c in rest[:1]), *rest[1:]] for kind, *rest in chain]
        narrowed["backbone_cfg.layers_cfg"] = f"[{', '.join('-'.join(layer) for layer in chain)}]"
        width = int(chain[-1][1])
    if len(narrowed.get("Backbone.channels", ())) == 2:  # SwinGait
        width = narrowed["Backbone.embed_dim"] = 32
    if "lateral_dim" in keywords:
        width = narrowed["lateral_dim"] = keywords["lateral_dim"] // 8
        narrowed["hidden_dim"] = keywords["hidden_dim"] // 8
    if "SeparateFCs" in keywords:
        narrowed["SeparateFCs.in_channels"] = width
        width = narrowed["SeparateFCs.out_channels"] = max(2, keywords["SeparateFCs"]["out_channels"] // 8)
    if "in_channels" in keywords.get("SeparateBNNecks", {}):
        narrowed["SeparateBNNecks.in_channels"] = width
    return narrowed
