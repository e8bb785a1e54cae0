"""Building the network of a configuration: sizes that depend on the data, and those that do not fit it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dygait.config import Config, load_config
from dygait.errors import UserError
from dygait.runs import networks
from helpers.experiments import TRAIN, Experiment, make_experiment
from helpers.narrowing import checks

GAITBASE = {
    "model": "GaitBase",
    "backbone_cfg": {"type": "ResNet9", "channels": [2, 3, 4, 5], "maxpool": False},
    "bin_num": [4],
}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return make_experiment(tmp_path)


def config_of(experiment: Experiment, model_cfg: dict[str, Any], losses: tuple[str, ...] = ()) -> Config:
    content = yaml.safe_load(experiment.config.read_text())
    content["model_cfg"] = model_cfg
    if losses:
        content["loss_cfg"] = [{"type": name} for name in losses]
    experiment.config.write_text(yaml.safe_dump(content))
    return load_config(experiment.config, checks=checks())


def dygait(**more: Any) -> dict[str, Any]:
    return {"model": "DyGait", "variant": "shallow", "channels": [2, 3, 4], "bin_num": [4], **more}


@pytest.mark.parametrize("model_cfg", [GAITBASE, dygait(), dygait(SeparateBNNecks={})])
def test_class_num_defaults_to_that_of_the_partition(experiment: Experiment, model_cfg: dict[str, Any]) -> None:
    network = networks.build_network(config_of(experiment, model_cfg), torch.device("cpu"))
    assert network.class_num == len(TRAIN)
    assert network(torch.zeros(2, 3, 32, 22)).logits.shape[1] == len(TRAIN)


def test_an_explicit_number_of_classes_is_kept(experiment: Experiment) -> None:
    settings = networks.model_settings(config_of(experiment, dygait(SeparateBNNecks={"class_num": 9})))
    assert "class_num" not in settings
    assert settings["SeparateBNNecks"] == {"class_num": 9}


def test_without_a_loss_that_reads_logits_there_is_no_class_head(experiment: Experiment) -> None:
    network = networks.build_network(config_of(experiment, dygait(), ("TripletLoss",)), torch.device("cpu"))
    assert network.class_num is None


def test_a_loss_that_reads_logits_that_the_model_does_not_give(experiment: Experiment) -> None:
    gaitset = {"model": "GaitSet", "in_channels": [1, 2, 3, 4], "bin_num": [4]}
    with pytest.raises(UserError, match=r"loss_cfg\.1\.type: .*CrossEntropyLoss.* logits"):
        config_of(experiment, gaitset, ("TripletLoss", "CrossEntropyLoss"))


def test_without_input_size_the_size_of_the_data_is_checked(
    experiment: Experiment, capfd: pytest.CaptureFixture[str]
) -> None:
    config_of(experiment, dygait(bin_num=[32]))  # fits frames of 64x64, but not these
    assert experiment.run("train") == 2
    message = capfd.readouterr().err
    assert "bin_num" not in message.split("does not fit")[0]
    assert "16 rows" in message
