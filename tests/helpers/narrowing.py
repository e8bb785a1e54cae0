"""A configuration at small width on a tiny tree, so that it takes a step in a moment."""

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
from dygait.training.checks import component_problems

TRAIN, TEST = ["001", "002"], ["003"]


def checks() -> list[Any]:
    return [partial(component_problems, phase="test")]


def classes_of(config: Config) -> dict[str, int]:
    """Return the keys of `model_cfg` that hold the number of classes, and their values."""
    keywords = config.model_cfg.keywords
    found = {"class_num": keywords.get("class_num")}
    found["SeparateBNNecks.class_num"] = (keywords.get("SeparateBNNecks") or {}).get("class_num")
    return {key: value for key, value in found.items() if value is not None}


def small(path: Path, folder: Path, size: int | None = None, more: Sequence[str] = ()) -> Config:
    """Load a configuration on a tree of its geometry: two classes, a batch of [2, 2], an eighth of the channels.

    A classification keeps its classes, and they are the tree's types. Files are of as many channels as the model takes.
    Frames are `size` high and wide; absent: 128 where the model's `input_size` is [128, 88], else 64. Where widths are
    multiples of 32, they are a quarter as high, and few.
    """
    whole = load_config(path, more)
    keywords = whole.model_cfg.keywords
    size = size or (128 if whole.model_cfg.input_size == [128, 88] else 64)
    protocol = classification_of(whole)
    types = ["nm-01", "nm-02"] if protocol is None else [p.replace("*", "01") for p in protocol.classes or ()]
    with torch.device("meta"):
        channels = getattr(build_network(whole, torch.device("meta")), "in_channels", 1)
    coarse = "C" in keywords.get("Backbone", {})  # 32 channels at least
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
        *(f"model_cfg.{key}={value}" for key, value in narrow(keywords).items()),
        *(f"model_cfg.{key}={2 if protocol is None else len(types)}" for key in classes_of(whole)),
        *more,
    ]
    return load_config(path, overrides)


def narrow(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a model that hold its widths, and an eighth of their values."""
    found: dict[str, Any] = {}
    width = 0
    for path in ("channels", "in_channels", "backbone_cfg.channels", "Backbone.channels"):
        held: Any = keywords
        for key in path.split("."):
            held = held.get(key, {})
        if isinstance(held, list):
            found[path] = [1 if c == 1 else max(2, c // 8) for c in held]
            width = found[path][-1]
    if "C" in keywords.get("Backbone", {}):
        found |= {"Backbone.C": 1, "Backbone.blocks": [1, 1, 1, 1], "bin_num": [4]}
    if "layers_cfg" in keywords.get("backbone_cfg", {}):
        chain = [layer.split("-") for layer in keywords["backbone_cfg"]["layers_cfg"]]
        chain = [[kind, *(str(max(4, int(c) // 8)) for c in rest[:1]), *rest[1:]] for kind, *rest in chain]
        found["backbone_cfg.layers_cfg"] = f"[{', '.join('-'.join(layer) for layer in chain)}]"
        width = int(chain[-1][1])
    if len(found.get("Backbone.channels", ())) == 2:  # SwinGait
        width = found["Backbone.embed_dim"] = 32
    if "lateral_dim" in keywords:
        width = found["lateral_dim"] = keywords["lateral_dim"] // 8
        found["hidden_dim"] = keywords["hidden_dim"] // 8
    if "SeparateFCs" in keywords:
        found["SeparateFCs.in_channels"] = width
        width = found["SeparateFCs.out_channels"] = max(2, keywords["SeparateFCs"]["out_channels"] // 8)
    if "in_channels" in keywords.get("SeparateBNNecks", {}):
        found["SeparateBNNecks.in_channels"] = width
    return found
