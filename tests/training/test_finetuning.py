"""Runs that start from given weights: ours or OpenGait's, with other classes, partly frozen, in parameter groups."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.config import load_config
from dygait.errors import UserError
from dygait.modeling.opengait_names import in_opengait_names
from dygait.runs import networks
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from dygait.training.trainer import build_trainer
from helpers.experiments import Experiment
from helpers.narrowing import checks

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished run of two iterations with BatchNorm, which tests do not change."""
    run = shared.at(tmp_path_factory.mktemp("trained"))
    run.train("trainer_cfg.total_iter=2", "model_cfg.norm=batch")
    return run


def settings(*more: str) -> list[str]:
    return ["model_cfg.norm=batch", "trainer_cfg.total_iter=1", "trainer_cfg.save_iter=1", *more]


def weights(run: Experiment, iteration: int) -> dict[str, torch.Tensor]:
    state_dict: dict[str, torch.Tensor] = run.checkpoint(iteration)["model"]
    return state_dict


def test_only_the_weights_are_loaded(experiment: Experiment, trained: Experiment) -> None:
    source = trained.checkpoints / "tiny-00002.pt"
    experiment.train(*settings(f"trainer_cfg.init_from={source}", "trainer_cfg.freeze=['[!n]*']"))  # not the necks
    state = experiment.checkpoint(1)
    assert state["iteration"] == 1
    assert int(state["optimizer"]["state"][0]["step"]) == 1
    initial = weights(trained, 2)
    for name, tensor in state["model"].items():
        if not name.startswith("necks"):
            assert torch.equal(tensor, initial[name]), name
    assert not torch.equal(state["model"]["necks.fc_bin"], initial["necks.fc_bin"])


def test_averaged_weights_are_preferred(experiment: Experiment, trained: Experiment, tmp_path: Path) -> None:
    initial, path = weights(trained, 2), tmp_path / "averaged.pt"
    averaged = {name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in initial.items()}
    save_checkpoint(path, {**trained.checkpoint(2), "ema": averaged})
    experiment.train(*settings(f"trainer_cfg.init_from={path}", "trainer_cfg.freeze=['[!n]*']"))
    assert torch.equal(weights(experiment, 1)["fcs.fc_bin"], 2 * initial["fcs.fc_bin"])


def test_a_class_head_that_does_not_fit_is_initialised(
    experiment: Experiment, trained: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    start = f"trainer_cfg.init_from={trained.checkpoints / 'tiny-00002.pt'}"
    experiment.train(*settings(start, "model_cfg.SeparateBNNecks.class_num=9"))
    assert "keeps its initial values (necks.fc_bin)" in capsys.readouterr().out
    assert weights(experiment, 1)["necks.fc_bin"].shape == (4, 8, 9)


def opengait_checkpoint(trained: Experiment, path: Path) -> Path:
    """Write a checkpoint in OpenGait's form: its names, without settings and scaler."""
    state = trained.checkpoint(2)
    config = load_config(trained.config, ["model_cfg.norm=batch"])
    names = in_opengait_names(networks.build_network(config, CPU), state["model"])
    training_state = {key: state[key] for key in ("optimizer", "scheduler", "iteration")}
    save_checkpoint(path, {"model": {f"module.{n}": w for n, w in names.items()}, **training_state})
    return path


def test_a_checkpoint_of_opengait_is_loaded_and_resumed(
    experiment: Experiment, trained: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = opengait_checkpoint(trained, tmp_path / "theirs.pt")
    assert "module.GLConvA0.conv1g.weight" in read_checkpoint(path)["model"]
    experiment.train(*settings(f"trainer_cfg.init_from={path}"))
    assert experiment.checkpoint(1)["iteration"] == 1

    experiment.train("model_cfg.norm=batch", "trainer_cfg.total_iter=3", f"trainer_cfg.restore_hint={path}")
    assert "the optimiser is reset" in capsys.readouterr().out
    state = experiment.checkpoint(3)
    assert state["scheduler"]["last_epoch"] == 3
    assert int(state["optimizer"]["state"][0]["step"]) == 1

    assert experiment.run("test", "model_cfg.norm=batch", f"evaluator_cfg.restore_hint={path}") == 0
    assert "under OpenGait's names" in capsys.readouterr().out


def trainer_of(experiment: Experiment, *more: str) -> Any:
    return build_trainer(load_config(experiment.config, settings(*more), checks()), CPU)


class TestGroups:
    SLOW = "optimizer_cfg.param_groups=[{match: 'backbone.*', lr: 0.0003}, {match: '*.fc_bin', weight_decay: 0.5}]"

    def test_every_weight_is_in_one_group(self, experiment: Experiment) -> None:
        trainer = trainer_of(experiment, self.SLOW)
        rest, slow, decayed = trainer.optimizer.param_groups
        name_of = {id(p): name for name, p in trainer.network.named_parameters()}
        names = [sorted(name_of[id(p)] for p in group["params"]) for group in (rest, slow, decayed)]
        assert sorted(itertools.chain(*names)) == sorted(name_of.values())
        assert all(name.startswith("backbone.") for name in names[1])
        assert names[2] == ["fcs.fc_bin", "necks.fc_bin"]
        assert [group["lr"] for group in (rest, slow, decayed)] == [0.003, 0.0003, 0.003]
        assert [group["weight_decay"] for group in (rest, slow, decayed)] == [0.01, 0.01, 0.5]  # default: 0.01

    def test_there_is_no_empty_group(self, experiment: Experiment) -> None:
        groups = trainer_of(experiment, "optimizer_cfg.param_groups=[{match: '*', lr: 1}]").optimizer.param_groups
        assert [(group["lr"], len(group["params"]) > 1) for group in groups] == [(1, True)]

    @pytest.mark.parametrize(
        "scheduler",
        [
            "{scheduler: MultiStepLR, milestones: [2], gamma: 0.5}",
            "{scheduler: OneCycleLR, max_lr: 0.003, total_steps: 9}",
            "{scheduler: CyclicLR, base_lr: 0.001, max_lr: [0.003], step_size_up: 2, cycle_momentum: false}",
        ],
    )
    def test_schedulers_keep_the_proportion(self, experiment: Experiment, scheduler: str) -> None:
        trainer = trainer_of(experiment, self.SLOW, f"scheduler_cfg={scheduler}")
        rates = []
        for _ in range(5):
            trainer.optimizer.step()
            trainer.scheduler.step()
            rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        assert len({tuple(r) for r in rates}) > 1
        for rest, slow, decayed in rates:
            assert slow == pytest.approx(rest / 10)
            assert decayed == rest

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ("[{match: 'spine.*', lr: 1}]", r"param_groups\.0\.match: no weight.*'spine\.\*'; .*backbone"),
            ("[{match: 'fcs.*', lr: 1}, {match: 'fcs.fc*', lr: 2}]", r"param_groups\.1\.match: .*earlier groups"),
            ("[{match: 'necks.*', lr: 1}]", r"param_groups\.0\.match: .*frozen"),
            ("[{match: 'fcs.*'}]", "needs lr or weight_decay"),
            ("[{match: 'fcs.*', rate: 1}]", r"param_groups\.0\.rate: unknown key"),
        ],
    )
    def test_invalid_groups(self, experiment: Experiment, groups: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            trainer_of(experiment, f"optimizer_cfg.param_groups={groups}", "trainer_cfg.freeze=['necks.*']")

    def test_options_that_the_solver_does_not_have(self, experiment: Experiment) -> None:
        with pytest.raises(UserError, match=r"param_groups\.0\.weight_decay: Rprop has no weight_decay"):
            trainer_of(
                experiment,
                "optimizer_cfg={solver: Rprop, lr: 0.1}",
                "optimizer_cfg.param_groups=[{match: 'fcs.*', weight_decay: 0.1}]",
            )


class TestFreeze:
    def test_patterns(self, experiment: Experiment) -> None:
        trainer = trainer_of(experiment, "trainer_cfg.freeze=['backbone.dam0.*', 'fcs.*']")
        frozen = {n for n, p in trainer.network.named_parameters() if not p.requires_grad}
        all_names = {n for n, _ in trainer.network.named_parameters()}
        assert frozen == {n for n in all_names if n.startswith(("backbone.dam0.", "fcs."))}
        assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(all_names) - len(frozen)

    def test_frozen_batch_norm_keeps_its_statistics(self, experiment: Experiment) -> None:
        trainer = trainer_of(experiment, "trainer_cfg.freeze=['backbone.*']")
        trainer.training_mode()
        trainer.network(torch.rand(2, 6, 32, 22))
        moved = {n: int(b) for n, b in trainer.network.named_buffers() if n.endswith("num_batches_tracked")}
        assert set(moved.values()) == {0, 1}
        assert all(count == (0 if name.startswith("backbone.") else 1) for name, count in moved.items())

    @pytest.mark.parametrize(
        ("patterns", "message"), [("['spine.*']", "no weight.*'spine"), ("['*']", "leaves nothing to train")]
    )
    def test_invalid_patterns(self, experiment: Experiment, patterns: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            trainer_of(experiment, f"trainer_cfg.freeze={patterns}")
