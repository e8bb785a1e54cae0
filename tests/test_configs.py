"""Every shipped configuration is valid, builds its model, trains a step and extracts features."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dygait.config import Config, load_config
from dygait.modeling.opengait_names import opengait_names
from dygait.runs import networks, sources
from dygait.testing.extraction import extract
from dygait.training.checks import component_problems
from dygait.training.optimizers import build_optimizer
from dygait.training.trainer import Trainer, build_trainer
from helpers.experiments import REPOSITORY
from helpers.narrowing import checks, classes_of, narrow_config

SHIPPED = sorted(p for p in (REPOSITORY / "configs").glob("*.yaml") if p.name != "default.yaml")
COMPARED = [
    ("Dygait_CASIA-B_cpu", "Dygait_CASIA-B_cpu_static", "GaitGL_CASIA-B_cpu"),
    ("Dygait_walkers", "Dygait_walkers_static", "GaitGL_walkers", "GaitBase_walkers"),
]
CPU = torch.device("cpu")
DATASETS = ("CASIA-B", "OUMVLP", "GREW", "Gait3D", "SynGait")


NO_PARSING = [f"{s}_cfg.transform={{type: BaseSilCuttingTransform}}" for s in ("trainer", "evaluator")]


def test_expected_configurations_are_shipped() -> None:
    assert {
        "Dygait_GREW", "Dygait_Gait3D", "Dygait_Gait3D_64x44", "Dygait_OUMVLP", "Dygait_CASIA-B", "Dygait_SynGait",
        *itertools.chain(*COMPARED),
        "ScoNet_Scoliosis1K", "ScoNet_SynGait",
        *(f"GLN_{dataset}{phase}" for dataset in ("CASIA-B", "Gait3D-Parsing", "SynGait") for phase in ("", "_phase2")),
        *(f"SwinGait_{dataset}" for dataset in ("Gait3D", "GREW", "CCPG", "SUSTech1K", "SynGait")),
        "GaitSSB_Pretrain_GaitLU-1M", "GaitSSB_Pretrain_SynGait", *(f"GaitSSB_Finetune_{d}" for d in DATASETS),
        "GaitGL_GREW_BNNeck", "GaitBase_CCPG", "DeepGaitV2_CCPG", "DeepGaitV2_SUSTech1K",
        "LidarGait_SUSTech1K", "SkeletonGait_OUMVLP",
        *(f"{m}_{d}" for m in ("SkeletonGait", "SkeletonGaitPP", "MultiGaitpp")
          for d in ("Gait3D", "GREW", "CCPG", "SUSTech1K", "SynGait")),
        *(f"{m}_{d}" for m in ("GaitSet", "GaitPart", "GaitGL", "GaitBase", "DeepGaitV2") for d in DATASETS),
    } <= {path.stem for path in SHIPPED}  # fmt: skip


@pytest.mark.parametrize("names", COMPARED, ids=" ".join)
def test_compared_configurations_differ_in_the_network_only(names: tuple[str, ...]) -> None:
    sections = []
    for name in names:
        config = load_config(REPOSITORY / "configs" / f"{name}.yaml").as_dict()
        network = config.pop("model_cfg")
        channels = network.get("channels", network.get("backbone_cfg", {}).get("channels"))
        for section in ("trainer_cfg", "evaluator_cfg"):
            assert config[section].pop("save_name") == name
        sections.append((config, channels[:3], network["input_size"], network["SeparateBNNecks"]["class_num"]))
    assert all(other == sections[0] for other in sections)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_whole_model_builds(path: Path) -> None:
    """At full width, with all classes; on the meta device, which needs no memory."""
    config = load_config(path, checks=checks())
    with torch.device("meta"):
        model = networks.build_network(config, torch.device("meta"))
    triplets_only = all(term.type == "TripletLoss" for term in config.loss_cfg) or hasattr(model, "views")
    assert classes_of(config) or triplets_only, "a shipped configuration sets the number of classes if a loss needs it"
    assert sum(p.numel() for p in model.parameters()) > 100_000
    assert config.trainer_cfg.save_name == config.evaluator_cfg.save_name == path.stem


def take_a_step(config: Config) -> tuple[Trainer, sources.Data, set[str]]:
    """Train one step on the CPU, check it, and return the trainer, its data and the names of the changed weights."""
    data = sources.open_data(config)
    trainer = build_trainer(config, CPU)
    networks.check_classes(trainer.network, data)
    source = sources.build_training_source(config, data, CPU, 0)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.training_mode()
    statistics = trainer.step(next(iter(source.loader)))
    assert trainer.iteration == 1
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in statistics.values())
    return trainer, data, {name for name, p in trainer.network.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_one_step_and_features(path: Path, tmp_path: Path) -> None:
    config = narrow_config(path, tmp_path, more=NO_PARSING if "Parsing" in path.stem else ())
    trainer, data, changed = take_a_step(config)
    trainable = {name for name, p in trainer.network.named_parameters() if p.requires_grad}
    assert changed == trainable, "every parameter learns"

    test_source = sources.build_test_source(config, data, CPU)
    saved = extract(config, data, test_source, trainer.network, CPU, tmp_path / "features", {})
    assert saved is not None
    assert saved.features.shape[0] == len(test_source.dataset) == (6 if path.stem.startswith("ScoNet") else 4)
    assert np.isfinite(saved.features).all()


# The keys of every configuration file of OpenGait for the models that are here: data, model, losses, optimiser,
# scheduler, samplers and transforms.
OPENGAIT = sorted((REPOSITORY / "tests" / "assets" / "opengait").glob("*.yaml"))
PARAMETERS = {"gaitset": 2.594592, "gaitpart": 1.204, "gaitgl": 3.096673, "gaitbase_da_casiab": 7.305408,
              "gaitbase_hid": 12.730432, "DeepGaitV2_casiab": 8.339392, "DeepGaitV2_gait3d": 25.49216,
              "gaitssb_pretrain": 37.498048, "gaitssb_finetune_gait3d": 29.33984,
              "sconet_scoliosis1k": 7.014592, "gln_phase1": 8.541984, "gln_phase2": 14.703904,
              "gln_phase2_gait3d_parsing": 15.45296, "swingait3D_B1122C2_CCPG": 11.03952,
              "swingait3D_B1442C2_Gait3D": 25.539136}  # fmt: skip
"""Millions of parameters of OpenGait's models at full width."""
HARMLESS = (
    "batch_shuffle has no effect",
    "momentum has no effect with Adam",
    "img_w has no effect",
    "rerank is read",
    "T_max_iter is read",
    "fix_layers has no effect",
    "enable_distributed has no effect",
    "loss_term_weights has no effect",
)


def test_opengaits_configurations_are_present() -> None:
    assert len(OPENGAIT) == 61
    assert PARAMETERS.keys() <= {path.stem for path in OPENGAIT}


@pytest.mark.parametrize("path", OPENGAIT, ids=lambda path: path.stem)
def test_opengaits_is_accepted_and_builds(path: Path) -> None:
    phase = "train" if path.stem == "gaitssb_pretrain" else "test"  # GaitLU-1M has no ids
    warnings: list[str] = []
    config = load_config(path, checks=[partial(component_problems, phase=phase)], warn=warnings.append)
    with torch.device("meta"):
        model = networks.build_network(config, torch.device("meta"))
    if path.stem in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == round(PARAMETERS[path.stem] * 1e6)
    assert all(any(reason in line for reason in HARMLESS) for line in warnings), warnings


@pytest.mark.parametrize("path", OPENGAIT, ids=lambda path: path.stem)
def test_opengaits_takes_a_step(path: Path, tmp_path: Path) -> None:
    """On a generated tree, one file for each sequence, instead of the dataset."""
    name = path.stem
    more = []
    if not name.startswith("sconet"):  # the classes are those of the protocol
        more = [f"data_cfg.{key}=CASIA-B" for key in ("dataset_name", "test_dataset_name")]
        more.append("evaluator_cfg.eval_func=null")
    if "parsing" in name:
        more += NO_PARSING
    if name != "gaitgl" and name.startswith("gaitgl") and "parsing" not in name:
        more.append("model_cfg.variant=deep")  # by default the name of the dataset decides
    config = narrow_config(path, tmp_path, 128 if name == "gaitbase_hid" else None, more)
    assert take_a_step(config)[2]


@pytest.mark.parametrize("name", ["CCPG", "SUSTech1K", "GREW", "Gait3D"])
def test_swingaits_recipe_is_that_of_opengait(name: str, tmp_path: Path) -> None:
    """Which weights have which learning rate and weight decay follows the rule of its `get_optimizer`."""
    path = next(p for p in OPENGAIT if p.stem.startswith("swingait") and p.stem.endswith(name))
    theirs, ours = load_config(path), load_config(REPOSITORY / "configs" / f"SwinGait_{name}.yaml")
    assert theirs.scheduler_cfg == ours.scheduler_cfg
    pairs = zip(theirs.optimizer_cfg.param_groups, ours.optimizer_cfg.param_groups, strict=True)
    assert all(a.model_dump() == pytest.approx(b.model_dump()) for a, b in pairs)
    if name != "CCPG":
        return
    config = narrow_config(path, tmp_path)
    network = networks.build_network(config, CPU)
    groups = {id(p): group for group in build_optimizer(config, network).param_groups for p in group["params"]}
    names = opengait_names(network)
    for name_here, parameter in network.named_parameters():
        module, _, parameter_name = names[name_here].partition(".")
        exempt = any(part in parameter_name for part in ("patch_embed", "norm", "relative_position_bias_table"))
        slow = module != "transformer"
        assert groups[id(parameter)]["lr"] == pytest.approx(3e-5 if slow else 3e-4)
        assert groups[id(parameter)]["weight_decay"] == (0.02 if slow or not exempt else 0)
