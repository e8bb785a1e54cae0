"""SIGKILL at any time: checkpoints stay valid, and the resumed run ends like an uninterrupted one."""

import random
import signal
import time
from pathlib import Path

import pytest

from dygait.runs.checkpoint_files import checkpoints_of, damage_of
from helpers.experiments import Experiment
from helpers.faulting import LONG, SETTINGS, assert_resumes, events, launch, wait_until


@pytest.fixture(scope="module")
def seconds(uninterrupted: Experiment, tmp_path_factory: pytest.TempPathFactory) -> float:
    start = time.monotonic()
    assert launch(uninterrupted.at(tmp_path_factory.mktemp("timed")), *SETTINGS).wait() == 0
    return time.monotonic() - start


def check(killed: Experiment, uninterrupted: Experiment) -> None:
    """Check that a killed run left valid checkpoints, and that the resumed run ends like an uninterrupted one."""
    saved = checkpoints_of(killed.checkpoints, "tiny")
    assert [damage_of(path) for path in saved.values()] == [None] * len(saved)
    assert_resumes(killed, uninterrupted)
    assert events(killed, "started")[-1]["iteration"] == max(saved, default=0)


@pytest.mark.parametrize("seed", range(20 if LONG else 4))
def test_at_a_random_time(uninterrupted: Experiment, tmp_path: Path, seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    while True:
        killed = uninterrupted.at(tmp_path / str(time.monotonic_ns()))
        start = time.monotonic()
        run = launch(killed, *SETTINGS)
        run.process.join(rng.uniform(0, seconds))
        seconds = min(seconds, time.monotonic() - start)  # another try has to be killed earlier if this run was faster
        run.kill()
        if run.process.exitcode == -signal.SIGKILL:
            break
    check(killed, uninterrupted)


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
def test_while_a_checkpoint_is_written(uninterrupted: Experiment, tmp_path: Path, seed: int) -> None:
    """Between the first byte of the temporary file and its renaming."""
    rng = random.Random(seed)
    while True:
        killed = uninterrupted.at(tmp_path / str(time.monotonic_ns()))
        iteration = rng.choice((2, 4, 6, 8, 10, 12))
        run = launch(killed, *SETTINGS)
        wait_until(lambda folder=killed.checkpoints, n=iteration: list(folder.glob(f".tiny-{n:05d}.pt.*")), run)
        time.sleep(rng.uniform(0, 0.002))
        run.kill()
        if list(killed.checkpoints.glob(".tiny-*.pt.*")):
            break
    assert not (killed.checkpoints / f"tiny-{iteration:05d}.pt").exists()
    check(killed, uninterrupted)
    assert events(killed, "unfinished files")


def test_killed_repeatedly(uninterrupted: Experiment, interrupted: Experiment) -> None:
    killed, rng = interrupted, random.Random(0)
    for iteration in (2, 4, 6, 8, 10):
        run = launch(killed, *SETTINGS, options=("--resume",))
        wait_until((killed.checkpoints / f"tiny-{iteration:05d}.pt").exists, run)
        time.sleep(rng.uniform(0, 0.01))
        run.kill()
        assert run.process.exitcode == -signal.SIGKILL, run.output
    check(killed, uninterrupted)
    assert len(events(killed, "started")) == 6
