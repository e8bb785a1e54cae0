"""ScoNet from training to results: the classes of logits are types, the triplet loss compares subjects."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from dygait.config import load_config
from dygait.runs import networks, sources
from helpers.experiments import make_experiment
from helpers.networks import SMALL

TYPES = ("negative", "neutral", "Positive")


def test_training_and_test_of_a_classification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = make_experiment(tmp_path, types=TYPES, views=["000"])
    settings = yaml.safe_load(experiment.config.read_text())
    model = {key: value for key, value in SMALL["ScoNet"].items() if key not in ("input_size", "SeparateBNNecks")}
    settings["model_cfg"] = {**model, "SeparateBNNecks": {}}  # the number of classes is that of the protocol
    settings["data_cfg"]["dataset_name"] = "Scoliosis1K"
    settings["evaluator_cfg"].update(eval_func="evaluate_scoliosis", baseline=None)
    settings["trainer_cfg"].update(total_iter=2, accumulate=2)
    experiment.config.write_text(yaml.safe_dump(settings))

    config = load_config(experiment.config)
    data = sources.open_data(config)
    network = networks.build_network(config, torch.device("cpu"))
    networks.check_classes(network, data)
    batch = next(iter(sources.build_training_source(config, data, torch.device("cpu"), 0).loader))
    assert batch.class_labels.tolist() == [(2, 0, 1)[i % 3] for i in batch.sequences.tolist()]  # P sorts before n
    assert batch.labels.tolist() == [i // 3 for i in batch.sequences.tolist()]

    assert experiment.run("train") == 0
    assert experiment.run("test") == 0
    printed = capsys.readouterr().out
    assert "F1" in printed
    assert "no report" in printed
    folder = experiment.output / "Scoliosis1K" / "ScoNet" / "tiny" / "checkpoints"
    result = json.loads((folder / "tiny-00002-Scoliosis1K-logits.json").read_text())
    assert result["percentages"]["all"].keys() == {"accuracy", "precision", "recall", "F1"}
    assert result["counts"]["all"]["probes"] == 6

    assert experiment.run("test", "evaluator_cfg.baseline=gei") == 2
    assert "evaluator_cfg.baseline: the protocol Scoliosis1K compares no sequences" in capsys.readouterr().err
    assert experiment.run("train", "model_cfg.SeparateBNNecks.class_num=4") == 2
    assert "class_num is 4, but the protocol Scoliosis1K has 3 classes" in capsys.readouterr().err
