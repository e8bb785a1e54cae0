"""Runs that receive signals or run out of memory: they save, end and resume without losing results."""

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


def signal_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def assert_stopped(run: Run, number: signal.Signals, iteration: int) -> None:
    assert run.wait() == 75, run.output
    assert f"{number.name}: saved iteration {iteration} of {ITERATIONS}" in run.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_in_a_step_saves(uninterrupted: Experiment, interrupted: Experiment, number: signal.Signals) -> None:
    assert_stopped(launch(interrupted, *SETTINGS, at={4: partial(signal_itself, number)}), number, 5)
    assert_resumes(interrupted, uninterrupted)


def signal_in_next_save(number: int, times: int = 1) -> None:
    """Send signals to this process when the next checkpoint is written, but not yet renamed."""
    save = torch.save

    def wrapped(state: Any, file: Any) -> None:
        torch.save = save
        save(state, file)
        for _ in range(times):
            signal_itself(number)

    torch.save = wrapped


def test_sigterm_during_a_save(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """The save and the next iteration are finished."""
    run = launch(interrupted, *SETTINGS, at={5: partial(signal_in_next_save, signal.SIGTERM)})
    assert_stopped(run, signal.SIGTERM, 7)
    assert interrupted.checkpoint(6)["iteration"] == 6
    assert_resumes(interrupted, uninterrupted)


def test_a_second_signal_during_a_save(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """The run ends at once; the partial file is no checkpoint, and is removed on resuming."""
    run = launch(interrupted, *SETTINGS, at={5: partial(signal_in_next_save, signal.SIGTERM, 2)})
    assert run.wait() == 128 + signal.SIGTERM, run.output
    assert [p.name for p in sorted(interrupted.checkpoints.glob("*.pt"))] == ["tiny-00002.pt", "tiny-00004.pt"]
    assert len(unfinished_files(interrupted)) == 1
    assert_resumes(interrupted, uninterrupted)


def signal_in_test(number: int, batch: int) -> None:
    """Send a signal to this process before batch `batch` of the next test."""
    embed, count = extraction.embed, iter(range(1000))

    def wrapped(*arguments: Any) -> Any:
        if next(count) == batch:
            signal_itself(number)
        return embed(*arguments)

    extraction.embed = wrapped  # type: ignore[assignment]


@pytest.mark.parametrize("iteration", [5, 11])
def test_sigterm_during_a_test(uninterrupted: Experiment, interrupted: Experiment, iteration: int) -> None:
    """The run ends after the batch; its embeddings are kept, and the resumed run first finishes the test."""
    run = launch(interrupted, *TESTED, at={iteration: partial(signal_in_test, signal.SIGTERM, 1)})
    assert_stopped(run, signal.SIGTERM, iteration + 1)
    assert "SIGTERM: ending after this batch; again" in run.output
    assert f"of {ITERATIONS}; of its test, {HALF} are embedded" in run.output
    assert len(events(interrupted, "interrupted")) == 1
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6, 12][: iteration // 6]
    assert f"interrupted extraction: {HALF} are done" in assert_resumes(interrupted, uninterrupted, *TESTED).output
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6, 12]


def test_sigterm_in_the_last_batch_of_a_test(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """No batch is left: the test finishes, and the run ends an iteration later."""
    assert_stopped(launch(interrupted, *TESTED, at={5: partial(signal_in_test, signal.SIGTERM, 3)}), signal.SIGTERM, 7)
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6]
    assert_resumes(interrupted, uninterrupted, *TESTED)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_test_phase_is_interrupted_and_resumed(
    uninterrupted: Experiment, interrupted: Experiment, tmp_path: Path, workers: int
) -> None:
    """The same command continues after half of the batches; the percentages are those of an uninterrupted test."""
    shutil.copytree(uninterrupted.folder, interrupted.folder)
    settings = (*SETTINGS, f"data_cfg.num_workers={workers}")
    name = "tiny-00012-CASIA-B-euc.json"
    run = launch(interrupted, *settings, phase="test", before=partial(signal_in_test, signal.SIGINT, 1))
    assert run.wait() == 75, run.output
    assert f"dygait: SIGINT: {HALF} are embedded" in run.output
    assert not (interrupted.checkpoints / name).exists()
    run = launch(interrupted, *settings, phase="test")
    assert run.wait() == 0, run.output
    assert f"interrupted extraction: {HALF} are done" in run.output
    reference = interrupted.at(tmp_path / "reference")
    shutil.copytree(uninterrupted.folder, reference.folder)
    assert launch(reference, *settings, phase="test").wait() == 0
    actual, expected = (json.loads((e.checkpoints / name).read_text()) for e in (interrupted, reference))
    assert actual["percentages"] == expected["percentages"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_missing_test_is_run_on_resuming(
    uninterrupted: Experiment, interrupted: Experiment, number: signal.Signals
) -> None:
    """Killed in the last test, or signalled in the last iteration: all iterations are done, but not the test."""
    killed = number == signal.SIGKILL
    action = partial(signal_in_test, number, 1) if killed else partial(signal_itself, number)
    run = launch(interrupted, *TESTED, at={11: action})
    assert run.wait() == (-number if killed else 75), run.output
    assert [event["iteration"] for event in events(interrupted, "tested")] == [6]
    for _ in range(2):  # the second time, there is nothing to do
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


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.should_stop()
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
