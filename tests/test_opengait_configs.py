"""Every configuration file of OpenGait's for the models that are here is accepted, builds, and takes a step.

`assets/opengait` has the keys of each: data, model, losses, optimiser, schedule, samplers, transforms.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from dygait.config import load_config
from dygait.runs import networks, sources
from dygait.training.checks import component_problems
from dygait.training.trainer import build_trainer
from helpers.narrowing import small

CPU = torch.device("cpu")
FOLDER = Path(__file__).parent / "assets" / "opengait"
NAMES = [
    "gaitset", "gaitset_GREW", "gaitset_OUMVLP", "gaitset_casiae", "gaitset_gait3d_parsing",
    "gaitpart", "gaitpart_GREW", "gaitpart_OUMVLP", "gaitpart_casiae", "gaitpart_gait3d_parsing",
    "gaitgl", "gaitgl_GREW", "gaitgl_GREW_BNNeck", "gaitgl_OUMVLP", "gaitgl_gait3d_parsing",
    "gaitbase_casiae", "gaitbase_ccpg", "gaitbase_da_casiab", "gaitbase_da_gait3d", "gaitbase_da_grew",
    "gaitbase_gait3d_parsing_btz32x2_fixed", "gaitbase_hid", "gaitbase_oumvlp",
    "DeepGaitV2_casiab", "DeepGaitV2_ccpg", "DeepGaitV2_gait3d", "DeepGaitV2_grew", "DeepGaitV2_oumvlp",
    "DeepGaitV2_sustech1k",
]  # fmt: skip

# Millions of parameters at full width, with OpenGait's own modules.
PARAMETERS = {"gaitset": 2.594592, "gaitpart": 1.204, "gaitgl": 3.096673, "gaitbase_da_casiab": 7.305408,
              "gaitbase_hid": 12.730432, "DeepGaitV2_casiab": 8.339392, "DeepGaitV2_gait3d": 25.49216}  # fmt: skip


def test_each_has_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_accepted_and_builds(name: str) -> None:
    phase = "train" if name.endswith("casiae") else "test"  # CASIA-E has no protocol here
    said: list[str] = []
    checks = [partial(component_problems, phase=phase)]
    config = load_config(FOLDER / f"{name}.yaml", checks=checks, warn=said.append)
    with torch.device("meta"):
        model = networks.build_network(config, torch.device("meta"))
    if name in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == round(PARAMETERS[name] * 1e6)
    harmless = (
        "batch_shuffle has no effect",
        "momentum has no effect with Adam",
        "img_w has no effect",
        "rerank is read",
    )
    assert all(any(reason in line for reason in harmless) for line in said), said


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_a_step(name: str, tmp_path: Path) -> None:
    # A tree of silhouettes, one file for each sequence, stands in for every dataset.
    more = ["data_cfg.dataset_name=CASIA-B", "data_cfg.test_dataset_name=CASIA-B"]
    more += ["evaluator_cfg.eval_func=null"]
    if "parsing" in name:
        more += [f"{s}_cfg.transform={{type: BaseSilCuttingTransform}}" for s in ("trainer", "evaluator")]
    if name != "gaitgl" and name.startswith("gaitgl") and "parsing" not in name:
        more.append("model_cfg.variant=deep")  # else chosen by the dataset's name
    config = small(FOLDER / f"{name}.yaml", tmp_path, 128 if name == "gaitbase_hid" else None, more)
    data = sources.open_data(config)
    trainer = build_trainer(config, CPU)
    source = sources.build_training_source(config, data, CPU, 0)
    trainer.training_mode()
    before = {key: p.detach().clone() for key, p in trainer.network.named_parameters()}
    statistics = trainer.step(next(iter(source.loader)))
    assert trainer.iteration == 1
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in statistics.values())
    assert any(not torch.equal(p, before[key]) for key, p in trainer.network.named_parameters())
