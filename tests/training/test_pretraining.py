"""Pre-training without labels on rendered sequences, on one and two processes and in parts, and fine-tuning."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dygait import distributed
from dygait.config import load_config
from dygait.errors import UserError
from dygait.runs import sources
from dygait.runs.checkpoint_files import read_checkpoint
from dygait.training.checks import component_problems
from dygait.training.loop import train
from dygait.training.trainer import build_trainer
from helpers.experiments import make_experiment
from helpers.golden import computing_in
from helpers.networks import SMALL
from helpers.processes import in_processes

CPU = torch.device("cpu")
WALKS = "syngait://quick?train_ids=2&test_ids=1&frames=8-9"


def write(path: Path, model: str = "GaitSSB_Pretrain") -> Path:
    """Write a configuration for batches of four rendered sequences in two views of 16x12."""
    terms = [{"type": "CrossEntropyLoss", "log_accuracy": True, "log_prefix": f"softmax{view}"} for view in (1, 2)]
    is_pretraining = model == "GaitSSB_Pretrain"
    size = [{"type": "DA4GaitSSB"} if is_pretraining else {"type": "BaseSilCuttingTransform"}]
    size += [{"type": "Resize", "size": [16, 12]}]
    sampler = {"batch_size": [2, 2], "sample_type": "fixed_ordered", "frames_num_fixed": 3}
    settings = {
        "data_cfg": {"dataset_name": "SynGait", "dataset_root": WALKS, "num_workers": 0},
        "model_cfg": SMALL[model],
        "loss_cfg": terms if is_pretraining else [{"type": "TripletLoss"}],
        "optimizer_cfg": {"solver": "SGD", "lr": 0.01, "momentum": 0.9},
        "trainer_cfg": {
            "enable_float16": False, "total_iter": 2, "save_iter": 2, "log_iter": 1, "save_name": "tiny",
            "sampler": sampler | ({"type": "BilateralSampler"} if is_pretraining else {}), "transform": size,
        },
        "evaluator_cfg": {"save_name": "tiny", "transform": size[1:]},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings))
    return path


def two_steps(path: str, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Take two steps on the share of this process, in float64; return the weights and the mean statistics."""
    with computing_in(torch.float64):
        config = load_config(path, overrides)
        trainer = build_trainer(config, CPU)
        trainer.training_mode()
        source = sources.build_training_source(config, sources.open_data(config), CPU, 0)
        for batch in source.loader:
            statistics = {key: float(value) for key, value in trainer.step(batch).items()}
    return trainer.network.state_dict(), distributed.mean_over_processes(statistics, CPU)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pretraining") / "tiny.yaml")


def assert_same(actual: Any, expected: Any) -> None:
    assert actual[1] == pytest.approx(expected[1])
    assert actual[0].keys() == expected[0].keys()
    for name, tensor in expected[0].items():
        torch.testing.assert_close(actual[0][name], tensor, rtol=1e-9, atol=1e-9, msg=name)


def test_two_processes_train_as_one(path: Path, tmp_path: Path) -> None:
    """On the same batches; sequences are compared across processes, and each view has joint statistics."""
    expected = two_steps(str(path))
    for actual in in_processes(two_steps, 2, tmp_path, str(path), "trainer_cfg.sync_BN=true"):
        assert_same(actual, expected)


def test_in_parts_as_the_whole_batch(path: Path) -> None:
    expected = two_steps(str(path), "trainer_cfg.fix_BN=true")
    assert_same(two_steps(str(path), "trainer_cfg.fix_BN=true", "trainer_cfg.accumulate=2"), expected)
    with pytest.raises(UserError, match=r"accumulate: 3 parts do not each get all views .* 4 sequences"):
        two_steps(str(path), "trainer_cfg.accumulate=3")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer_cfg.sampler.type=TripletSampler", r"sampler.type.*: GaitSSB_Pretrain compares 2 views"),
        (f"loss_cfg={[{'type': 'CrossEntropyLoss', 'log_prefix': name} for name in 'abc']}", r"loss_cfg.2.type: .*one"),
    ],
)
def test_incompatible_settings(path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(path, [override.replace("'", "")], [lambda merged: component_problems(merged, "train")])


def test_fine_tuning_from_pre_trained_weights(path: Path, tmp_path: Path) -> None:
    """By `restore_hint`, as in OpenGait's files: iteration and schedule start from 0."""
    folder = train(load_config(path), CPU, tmp_path / "output")
    source = folder.checkpoints / "tiny-00002.pt"
    finetuning = write(tmp_path / "tuning.yaml", "GaitSSB_Finetune")
    overrides = ["trainer_cfg.restore_ckpt_strict=false", "trainer_cfg.fix_BN=true", "trainer_cfg.total_iter=1"]
    run = train(load_config(finetuning, [*overrides, f"trainer_cfg.restore_hint={source}"]), CPU, tmp_path / "output")
    state = read_checkpoint(run.checkpoints / "tiny-00001.pt")
    before, after = read_checkpoint(source)["model"], state["model"]
    assert state["scheduler"]["last_epoch"] == 1
    for name in ("backbone.conv1.weight", "backbone.layer1.0.conv1.weight", "projector.4.bn1d.running_mean"):
        assert torch.equal(after[name], before[name]), name
    assert not torch.equal(after["projector.0.fc_bin"], before["projector.0.fc_bin"])


def test_a_folder_without_labels(path: Path, tmp_path: Path) -> None:
    """`dataset_partition: all`: every id on disk trains."""
    experiment = make_experiment(tmp_path, ids=("b", "a"), size=(64, 64))
    data = ["data_cfg.dataset_name=Mine", f"data_cfg.dataset_root={experiment.root}", "data_cfg.dataset_partition=all"]
    assert sources.open_data(load_config(path, data)).train_ids == ["a", "b"]
    assert two_steps(str(path), *data)[1]["softmax1/loss"] > 0
