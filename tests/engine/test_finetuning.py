"""Runs that start from other weights: of ours, of OpenGait's form, with another number of classes, partly frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.config import load_config
from dygait.engine import build
from dygait.engine.checkpoint import read_checkpoint, save_checkpoint
from dygait.engine.opengait import in_opengait_names
from dygait.engine.train import build_trainer
from dygait.errors import UserError
from experiments import Experiment, make_experiment

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("finetuning"))


@pytest.fixture(scope="module")
def trained(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished run of 2 iterations of a network with BatchNorm, that tests read and do not change."""
    run = shared.at(tmp_path_factory.mktemp("trained"))
    run.train("trainer_cfg.total_iter=2", "model_cfg.norm=batch")
    return run


@pytest.fixture
def experiment(shared: Experiment, tmp_path: Path) -> Experiment:
    return shared.at(tmp_path / "output")


def settings(*more: str) -> list[str]:
    return ["model_cfg.norm=batch", "trainer_cfg.total_iter=1", "trainer_cfg.save_iter=1", *more]


def weights(run: Experiment, iteration: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = run.checkpoint(iteration)["model"]
    return found


def test_only_the_weights_are_taken(experiment: Experiment, trained: Experiment) -> None:
    before = trained.checkpoints / "tiny-00002.pt"
    experiment.train(*settings(f"trainer_cfg.init_from={before}", "trainer_cfg.freeze=['[!n]*']"))  # all but the necks
    state = experiment.checkpoint(1)
    assert state["iteration"] == 1
    assert int(state["optimizer"]["state"][0]["step"]) == 1
    start = weights(trained, 2)
    for name, tensor in state["model"].items():
        if not name.startswith("necks"):
            assert torch.equal(tensor, start[name]), name
    assert not torch.equal(state["model"]["necks.fc_bin"], start["necks.fc_bin"])


def test_the_class_head_of_other_classes_starts_afresh(
    experiment: Experiment, trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    start = f"trainer_cfg.init_from={trained.checkpoints / 'tiny-00002.pt'}"
    experiment.train(*settings(start, "model_cfg.SeparateBNNecks.class_num=9"))
    assert "the class head starts afresh (necks.fc_bin)" in capsys.readouterr().out
    assert weights(experiment, 1)["necks.fc_bin"].shape == (4, 8, 9)


def test_another_network_is_refused(
    experiment: Experiment, trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    start = f"trainer_cfg.init_from={trained.checkpoints / 'tiny-00002.pt'}"
    assert experiment.run("train", start) == 2  # without BatchNorm
    assert "does not fit the model" in capsys.readouterr().err


def theirs(trained: Experiment, path: Path) -> Path:
    """Write a run's checkpoint as OpenGait would: its names, no settings, no scaler."""
    state = trained.checkpoint(2)
    config = load_config(trained.config, ["model_cfg.norm=batch"])
    names = in_opengait_names(build.build_network(config, CPU), state["model"])
    kept = {key: state[key] for key in ("optimizer", "scheduler", "iteration")}
    save_checkpoint(path, {"model": {f"module.{n}": w for n, w in names.items()}, **kept})
    return path


def test_opengaits_checkpoint_is_a_start_and_a_place_to_go_on_from(
    experiment: Experiment, trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = theirs(trained, tmp_path / "theirs.pt")
    assert "module.GLConvA0.conv1g.weight" in read_checkpoint(path)["model"]
    experiment.train(*settings(f"trainer_cfg.init_from={path}"))
    assert experiment.checkpoint(1)["iteration"] == 1

    experiment.train("model_cfg.norm=batch", "trainer_cfg.total_iter=3", f"trainer_cfg.restore_hint={path}")
    assert "the optimiser starts afresh" in capsys.readouterr().out
    state = experiment.checkpoint(3)
    assert state["scheduler"]["last_epoch"] == 3
    assert int(state["optimizer"]["state"][0]["step"]) == 1

    assert experiment.run("test", "model_cfg.norm=batch", f"evaluator_cfg.restore_hint={path}") == 0
    assert "under OpenGait's names" in capsys.readouterr().out


class TestFreeze:
    def trainer(self, experiment: Experiment, *more: str) -> Any:
        return build_trainer(load_config(experiment.config, settings(*more)), CPU)

    def test_patterns(self, experiment: Experiment) -> None:
        trainer = self.trainer(experiment, "trainer_cfg.freeze=['backbone.dam0.*', 'fcs.*']")
        frozen = {n for n, p in trainer.network.named_parameters() if not p.requires_grad}
        named = {n for n, _ in trainer.network.named_parameters()}
        assert frozen == {n for n in named if n.startswith(("backbone.dam0.", "fcs."))}
        assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(named) - len(frozen)

    def test_frozen_batch_norm_keeps_its_statistics(self, experiment: Experiment) -> None:
        trainer = self.trainer(experiment, "trainer_cfg.freeze=['backbone.*']")
        trainer.training_mode()
        trainer.network(torch.rand(2, 6, 32, 22))
        moved = {n: int(b) for n, b in trainer.network.named_buffers() if n.endswith("num_batches_tracked")}
        assert set(moved.values()) == {0, 1}
        assert all(count == (0 if name.startswith("backbone.") else 1) for name, count in moved.items())

    @pytest.mark.parametrize(
        ("patterns", "message"), [("['spine.*']", "no weight's name fits 'spine"), ("['*']", "leaves nothing to train")]
    )
    def test_refusals(self, experiment: Experiment, patterns: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            self.trainer(experiment, f"trainer_cfg.freeze={patterns}")
