"""Runs that are asked to end, killed, or fed what no step can use: nothing is lost but what came after a checkpoint."""

import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.runs.signals import Interruption
from dygait.testing import extraction
from dygait.training.trainer import Trainer
from helpers.experiments import Experiment
from helpers.faulting import (
    ITERATIONS,
    SETTINGS,
    Run,
    assert_resumes,
    events,
    iterations_done,
    launch,
    unfinished_files,
    wait_until,
)  # fmt: skip

TESTED = (*SETTINGS, "trainer_cfg.with_test=true", "trainer_cfg.save_iter=6")

HALF = "8 of 16 sequences"


def test_a_signal_from_outside_saves(uninterrupted: Experiment, interrupted: Experiment) -> None:
    run = launch(interrupted, *SETTINGS, at={iteration: partial(time.sleep, 0.1) for iteration in range(3, ITERATIONS)})
    wait_until(lambda: iterations_done(interrupted) >= 3, run)
    run.send(signal.SIGTERM)
    assert run.wait() == 75, run.output
    assert "SIGTERM: saved iteration" in run.output
    done = iterations_done(interrupted)
    assert 3 <= done < ITERATIONS
    assert interrupted.checkpoint(done)["iteration"] == done
    assert_resumes(interrupted, uninterrupted)


def to_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def assert_stopped(run: Run, number: signal.Signals, iteration: int) -> None:
    assert run.wait() == 75, run.output
    assert f"{number.name}: saved iteration {iteration} of {ITERATIONS}" in run.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_in_a_step_saves(uninterrupted: Experiment, interrupted: Experiment, number: signal.Signals) -> None:
    assert_stopped(launch(interrupted, *SETTINGS, at={4: partial(to_itself, number)}), number, 5)
    assert_resumes(interrupted, uninterrupted)


def at_the_next_checkpoint(number: int, times: int = 1) -> None:
    """Let a signal come when a checkpoint is written, but not yet on the disk under its name."""
    save = torch.save

    def signalled(state: Any, file: Any) -> None:
        torch.save = save
        save(state, file)
        for _ in range(times):
            to_itself(number)

    torch.save = signalled


def test_sigterm_during_a_save(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """What is being written is finished, and so is the next iteration."""
    run = launch(interrupted, *SETTINGS, at={5: partial(at_the_next_checkpoint, signal.SIGTERM)})
    assert_stopped(run, signal.SIGTERM, 7)
    assert interrupted.checkpoint(6)["iteration"] == 6
    assert_resumes(interrupted, uninterrupted)


def test_a_second_signal_during_a_save(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """It ends at once; what it was writing is no checkpoint, and goes when the run goes on."""
    run = launch(interrupted, *SETTINGS, at={5: partial(at_the_next_checkpoint, signal.SIGTERM, 2)})
    assert run.wait() == 128 + signal.SIGTERM, run.output
    assert [p.name for p in sorted(interrupted.checkpoints.glob("*.pt"))] == ["tiny-00002.pt", "tiny-00004.pt"]
    assert len(unfinished_files(interrupted)) == 1
    assert_resumes(interrupted, uninterrupted)


def while_testing(number: int, batch: int) -> None:
    """Let a signal come before a batch of the first test that begins from now on."""
    embed, count = extraction.embed, iter(range(1000))

    def signalled(*arguments: Any) -> Any:
        if next(count) == batch:
            to_itself(number)
        return embed(*arguments)

    extraction.embed = signalled  # type: ignore[assignment]


@pytest.mark.parametrize("at", [5, 11])
def test_sigterm_during_a_test(uninterrupted: Experiment, interrupted: Experiment, at: int) -> None:
    """The run ends after the batch; what is embedded is kept, and the resumed run finishes the test first."""
    run = launch(interrupted, *TESTED, at={at: partial(while_testing, signal.SIGTERM, 1)})
    assert_stopped(run, signal.SIGTERM, at + 1)
    assert "SIGTERM: ending after this batch; again" in run.output
    assert f"of {ITERATIONS}; of its test, {HALF} are embedded" in run.output
    assert len(events(interrupted, "interrupted")) == 1
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6, 12][: at // 6]
    assert f"interrupted extraction: {HALF} are done" in assert_resumes(interrupted, uninterrupted, *TESTED).output
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6, 12]


def test_sigterm_in_the_last_batch_of_a_test(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """Nothing is left to embed: the test ends with its result, and the run an iteration later."""
    assert_stopped(launch(interrupted, *TESTED, at={5: partial(while_testing, signal.SIGTERM, 3)}), signal.SIGTERM, 7)
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6]
    assert_resumes(interrupted, uninterrupted, *TESTED)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_test_alone_ends_in_order(
    uninterrupted: Experiment, interrupted: Experiment, tmp_path: Path, workers: int
) -> None:
    """Half of it is made, then the other half by the same command; percentages are those of a whole test."""
    shutil.copytree(uninterrupted.folder, interrupted.folder)
    settings = (*SETTINGS, f"data_cfg.num_workers={workers}")
    name = "tiny-00012-CASIA-B-euc.json"
    run = launch(interrupted, *settings, phase="test", before=partial(while_testing, signal.SIGINT, 1))
    assert run.wait() == 75, run.output
    assert f"dygait: SIGINT: {HALF} are embedded" in run.output
    assert not (interrupted.checkpoints / name).exists()
    run = launch(interrupted, *settings, phase="test")
    assert run.wait() == 0, run.output
    assert f"interrupted extraction: {HALF} are done" in run.output
    found = json.loads((interrupted.checkpoints / name).read_text())["percentages"]
    whole = interrupted.at(tmp_path / "whole")
    shutil.copytree(uninterrupted.folder, whole.folder)
    assert launch(whole, *settings, phase="test").wait() == 0
    assert found == json.loads((whole.checkpoints / name).read_text())["percentages"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_test_that_was_not_made_is_made_up_for(
    uninterrupted: Experiment, interrupted: Experiment, number: signal.Signals
) -> None:
    """Killed in its last test, or asked to end in the iteration before: the resumed run has all its iterations."""
    killed = number == signal.SIGKILL
    action = partial(while_testing, number, 1) if killed else partial(to_itself, number)
    run = launch(interrupted, *TESTED, at={11: action})
    assert run.wait() == (-number if killed else 75), run.output
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6]
    for _ in range(2):  # the second time, nothing is left to do
        assert_resumes(interrupted, uninterrupted, *TESTED)
        assert [event["iteration"] for event in events(interrupted, "tested")] == [6, 12]
    assert (interrupted.checkpoints / "tiny-00012-CASIA-B-euc.json").is_file()


def test_out_of_memory_is_explained(
    uninterrupted: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(self: Trainer, *arguments: Any) -> Any:
        torch.empty(2**60)

    monkeypatch.setattr(Trainer, "_forward", no_memory)
    assert uninterrupted.at(tmp_path).run("train", *SETTINGS) == 2
    error = capsys.readouterr().err
    assert "out of memory with a batch of 4 sequences of 9 frames of 32x22" in error
    assert "trainer_cfg.accumulate to 2" in error


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.should_stop()
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
