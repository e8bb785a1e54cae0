"""Skipped steps: decided on the device as by a plain loop on the host, and without any effect on the run."""

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from dygait.training import checkpoint
from dygait.training.guard import StepGuard
from dygait.training.trainer import Trainer, build_trainer
from helpers.experiments import make_experiment
from helpers.faulting import events
from helpers.networks import batch_of, config_of

NORMS = [*(1 + math.sin(i) for i in range(22)), 50.0, math.nan, 1.5, math.inf, -math.inf, 3.9, 4.1, *([1e30] * 3), 2.0]
NORMS += [1.0 + 0.1 * i for i in range(130)] + [1e3, 1.0]


def reference(norms: Sequence[float], spike: float | None) -> list[bool]:
    history: list[float] = []
    skipped = []
    for norm in norms:
        is_spike = spike is not None and len(history) >= 20 and norm > spike * statistics.median(history[-100:])
        skipped.append(not math.isfinite(norm) or is_spike)
        if not skipped[-1]:
            history.append(norm)
    return skipped


def decisions(guard: StepGuard, norms: Sequence[float], first: int = 1) -> list[bool]:
    return [bool(guard.should_skip(torch.tensor(n, dtype=torch.float64), i)) for i, n in enumerate(norms, first)]


class TestGuard:
    @pytest.mark.parametrize("spike", [None, 2.0, 10.0])
    def test_equals_a_plain_loop(self, spike: float | None) -> None:
        guard = StepGuard([], spike)
        expected = reference(NORMS, spike)
        assert decisions(guard, NORMS) == expected
        guard.read()
        assert [i for i, _ in guard.unreported] == [i for i, out in enumerate(expected, 1) if out]
        assert all(str(norm) == str(NORMS[i - 1]) for i, norm in guard.unreported)  # NaN is not equal to itself
        assert guard.skipped == sum(expected) > 0
        assert guard.consecutive == 0

    def test_continues_from_its_state(self) -> None:
        uninterrupted, first, second = (StepGuard([], 2.0) for _ in range(3))
        expected = decisions(uninterrupted, NORMS)
        assert decisions(first, NORMS[:60]) == expected[:60]
        second.restore(first.state())
        assert decisions(second, NORMS[60:], 61) == expected[60:]
        assert second.state() == uninterrupted.state()


OPTIMISERS = [
    "{solver: SGD, lr: 0.01, momentum: 0.9, weight_decay: 0.001}",
    "{solver: SGD, lr: 0.01, momentum: 0.9, nesterov: true, fused: false}",
    "{solver: SGD, lr: 0.01, momentum: 0.9, dampening: 0.5}",
    "{solver: Adam, lr: 0.001, amsgrad: true}",
    "{solver: AdamW, lr: 0.001}",
    "{solver: AdamW, lr: 0.001, foreach: true}",
    "{solver: Adagrad, lr: 0.01}",
    "{solver: MuonAdamW, lr: 0.001}",
]
"""Fused, foreach and plain forms; some skip steps on the device, others wait for it."""


def poison(patch: pytest.MonkeyPatch, condition: Callable[[Trainer], bool], value: float = math.nan) -> None:
    """Set an element of the gradient to `value` in the steps for which `condition` is true."""
    forward_backward = Trainer._forward_backward

    def poisoned(self: Trainer, *arguments: Any) -> Any:
        result = forward_backward(self, *arguments)
        if condition(self):
            next(p.grad for p in self.network.parameters() if p.grad is not None).view(-1)[0] = value
        return result

    patch.setattr(Trainer, "_forward_backward", poisoned)


def state_of(trainer: Trainer) -> dict[str, Any]:
    state = checkpoint.state(trainer)
    return copy.deepcopy({name: state[name] for name in ("model", "optimizer", "ema", "scaler") if name in state})


class TestAStep:
    @pytest.mark.parametrize("section", OPTIMISERS)
    @pytest.mark.parametrize("poisoned", [{1}, {3}, {1, 2, 4}])
    def test_that_is_skipped_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, poisoned: set[int]
    ) -> None:
        """The other steps are those of a run without it."""
        config = config_of("DyGait", tmp_path, f"optimizer_cfg={section}", "trainer_cfg.ema=0.9")
        faulty, undisturbed = (build_trainer(config, torch.device("cpu")) for _ in range(2))
        poison(monkeypatch, lambda trainer: trainer is faulty and trainer.iteration + 1 in poisoned)
        for trainer in (faulty, undisturbed):
            trainer.training_mode()
        for iteration in range(1, 6):
            before = state_of(faulty) if iteration in poisoned and iteration > 1 else None
            faulty.step(batch_of(seed=iteration))
            if before is not None:
                lr = faulty.optimizer.param_groups[0]["lr"]  # the schedule advances
                before["optimizer"]["param_groups"][0]["lr"] = lr
                torch.testing.assert_close(state_of(faulty), before, rtol=0, atol=0)
            if iteration not in poisoned:
                undisturbed.iteration = iteration - 1  # the weight of the average depends on it
                undisturbed.step(batch_of(seed=iteration))
        assert faulty.guard.state()["skipped"] == len(poisoned)
        for name in ("model", "ema"):
            torch.testing.assert_close(state_of(faulty)[name], state_of(undisturbed)[name], rtol=0, atol=0)

    def test_momentum_begins_at_zero_from_a_checkpoint_without_any(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The checkpoint is that of an optimiser in plain form, of whose steps all were skipped."""
        plain_form, fused = (
            build_trainer(
                config_of("GaitSet", tmp_path, f"optimizer_cfg={{solver: SGD, lr: 0.01, momentum: 0.9{form}}}"),
                torch.device("cpu"),
            )
            for form in (", fused: false", "")
        )
        save_checkpoint(tmp_path / "state.pt", checkpoint.state(plain_form))
        checkpoint.restore(fused, tmp_path / "state.pt", read_checkpoint(tmp_path / "state.pt"))
        poison(monkeypatch, lambda trainer: True)
        fused.step(batch_of())
        assert fused.guard.state()["skipped"] == 1
        momenta = [state["momentum_buffer"] for state in fused.optimizer.state.values()]
        assert momenta
        assert not any(momentum.any() for momentum in momenta)


def test_a_run_logs_skipped_steps_late_and_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read when an iteration is logged or saved, and when too many in a row are possible."""
    experiment = make_experiment(tmp_path)
    read = StepGuard.read
    readings = set()

    def record_reading(self: StepGuard) -> None:
        readings.update(iteration for iteration, _ in self._unread[-1:])
        read(self)

    monkeypatch.setattr(StepGuard, "read", record_reading)
    poison(monkeypatch, lambda trainer: trainer.iteration + 1 in (2, 4, 5, 9, 10, 11, 12), math.inf)
    settings = ("trainer_cfg.total_iter=20", "trainer_cfg.save_iter=7", "trainer_cfg.log_iter=6")
    assert experiment.run("train", *settings, "trainer_cfg.max_skipped=4") == 2
    assert "iteration 12: 4 steps in a row" in capsys.readouterr().err
    skipped = events(experiment, "skipped step")
    assert [event["iteration"] for event in skipped] == [2, 4, 5, 9, 10, 11, 12]
    assert {event["gradient_norm"] for event in skipped} == {"inf"}
    assert readings == {4, 6, 7, 11, 12}
    assert experiment.checkpoint(7)["guard"] == {"skipped": 3, "in_a_row": 0, "norms": []}
