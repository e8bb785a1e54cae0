"""Every configuration that is shipped is valid, builds its model, takes an optimiser step, and extracts features."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_tree
from dygait.config import Config, load_config
from dygait.engine import build
from dygait.engine.build import component_problems
from dygait.engine.extract import extract
from dygait.engine.train import build_trainer
from experiments import REPOSITORY

SHIPPED = sorted(p for p in (REPOSITORY / "configs").glob("*.yaml") if p.name != "default.yaml")
CPU = torch.device("cpu")
DATASETS = ("CASIA-B", "OUMVLP", "GREW", "Gait3D", "SynGait")
TRAIN, TEST = ["001", "002"], ["003"]


def checks() -> list[Any]:
    return [partial(component_problems, phase=phase) for phase in ("train", "test")]


def classes_of(config: Config) -> dict[str, int]:
    """Return the keys of `model_cfg` that hold the number of classes, and their values."""
    keywords = config.model_cfg.keywords
    found = {"class_num": keywords.get("class_num")}
    found["SeparateBNNecks.class_num"] = (keywords.get("SeparateBNNecks") or {}).get("class_num")
    return {key: value for key, value in found.items() if value is not None}


def small(path: Path, folder: Path) -> Config:
    """Load a configuration on a tree of its geometry: two classes, a batch of [2, 2], an eighth of the channels."""
    whole = load_config(path, checks=checks())
    keywords = whole.model_cfg.keywords
    size = 128 if keywords.get("input_size") == [128, 88] else 64
    root = make_tree(folder / "data", ids=TRAIN + TEST, frames=(6, 8), size=(size, size))
    partition = folder / "partition.json"
    partition.write_text(json.dumps({"TRAIN_SET": TRAIN, "TEST_SET": TEST, "PROBE_SET": ["003-nm-01-000"]}))
    overrides = [
        f"data_cfg.dataset_root={root}",
        f"data_cfg.dataset_partition={partition}",
        "data_cfg.num_workers=0",
        "trainer_cfg.sampler.batch_size=[2,2]",
        "trainer_cfg.sampler.frames_num_fixed=9",
        *(f"model_cfg.{key}={value}" for key, value in narrow(keywords).items()),
        *(f"model_cfg.{key}=2" for key in classes_of(whole)),
    ]
    return load_config(path, overrides, checks())


def narrow(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a model that hold its widths, and an eighth of their values."""
    found: dict[str, Any] = {}
    for key in ("channels", "in_channels"):
        if key in keywords:
            found[key] = [1 if c == 1 else max(2, c // 8) for c in keywords[key]]
            width = found[key][-1]
    if "layers_cfg" in keywords.get("backbone_cfg", {}):
        chain = [layer.split("-") for layer in keywords["backbone_cfg"]["layers_cfg"]]
        chain = [[kind, *(str(max(4, int(c) // 8)) for c in rest[:1]), *rest[1:]] for kind, *rest in chain]
        found["backbone_cfg.layers_cfg"] = f"[{', '.join('-'.join(layer) for layer in chain)}]"
        width = int(chain[-1][1])
    for layer in ("SeparateFCs", "SeparateBNNecks"):
        if layer in keywords:
            found[f"{layer}.in_channels"] = width
    return found


def test_something_is_shipped() -> None:
    assert {
        "Dygait_GREW", "Dygait_Gait3D", "Dygait_Gait3D_64x44", "Dygait_OUMVLP", "Dygait_CASIA-B", "Dygait_SynGait",
        "Dygait_CASIA-B_cpu", "GaitGL_GREW_BNNeck",
        *(f"{m}_{d}" for m in ("GaitSet", "GaitPart", "GaitGL") for d in DATASETS),
    } <= {path.stem for path in SHIPPED}  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_whole_model_builds(path: Path) -> None:
    """As it is, with all its classes; on the meta device, which needs no memory."""
    config = load_config(path, checks=checks())
    with torch.device("meta"):
        model = build.build_network(config, torch.device("meta"))
    compares = all(term.type == "TripletLoss" for term in config.loss_cfg)
    assert classes_of(config) or compares, "a shipped configuration names its classes, if a loss asks for them"
    assert sum(p.numel() for p in model.parameters()) > 100_000
    assert config.trainer_cfg.save_name == config.evaluator_cfg.save_name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_one_step_and_features(path: Path, tmp_path: Path) -> None:
    config = small(path, tmp_path)
    data = build.open_data(config)
    trainer = build_trainer(config, CPU)
    build.check_classes(trainer.network, data)
    source = build.training_source(config, data, CPU, 0)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.training_mode()
    batch = next(iter(source.loader))
    statistics = trainer.step(batch, source.divisors)
    assert batch.silhouettes.shape[:2] == (4, 9)
    assert trainer.iteration == 1
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in statistics.values())
    moved = [name for name, p in trainer.network.named_parameters() if not torch.equal(p, before[name])]
    assert moved == list(before), "every parameter learns"

    tests = build.test_source(config, data, CPU)
    saved = extract(config, data, tests, trainer.network, CPU, tmp_path / "features", {})
    assert saved is not None
    assert saved.features.shape[0] == len(tests.dataset) == 4
    assert np.isfinite(saved.features).all()
