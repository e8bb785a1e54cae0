"""Runs of several processes: as one would train, and in order when one is asked to end, fails, hangs or is killed.

What takes minutes (`torchrun`, four processes, kills at many instants) runs with DYGAIT_FAULTS=long in the environment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import ranks
from experiments import Experiment, make_experiment

ITERATIONS = 12
SETTINGS = (
    f"trainer_cfg.total_iter={ITERATIONS}", "trainer_cfg.save_iter=4", "trainer_cfg.log_iter=1",
    "trainer_cfg.sync_BN=true", "trainer_cfg.sampler.batch_size=[4,3]", "evaluator_cfg.sampler.batch_size=16",
    "evaluator_cfg.report=false", "evaluator_cfg.intervals=0",
)  # fmt: skip
TESTED = "trainer_cfg.with_test=true"
PATIENCE = 3

long = pytest.mark.skipif(os.environ.get("DYGAIT_FAULTS") != "long", reason="minutes: set DYGAIT_FAULTS=long")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return make_experiment(tmp_path_factory.mktemp("ranks"))


@pytest.fixture
def experiment(shared: Experiment, tmp_path: Path) -> Experiment:
    return shared.at(tmp_path)


@pytest.fixture
def started(experiment: Experiment) -> Any:
    """Start the experiment; whatever is left of it is killed when the test ends."""
    runs: list[ranks.Ranks] = []

    def start(world: int, *overrides: str, at: Experiment = experiment, **more: Any) -> ranks.Ranks:
        runs.append(ranks.start(at, world, *SETTINGS, *overrides, **more))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


@pytest.fixture(scope="module")
def alone(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The run of one process, in float64, tested at every checkpoint."""
    run = shared.at(tmp_path_factory.mktemp("alone"))
    assert ranks.start(run, 1, *SETTINGS, TESTED, fault=ranks.precise).codes() == [0]
    return run


@pytest.fixture(scope="module")
def pair(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The run of two processes that nothing disturbs."""
    run = shared.at(tmp_path_factory.mktemp("pair"))
    assert ranks.start(run, 2, *SETTINGS).codes() == [0, 0]
    return run


def iterations_done(experiment: Experiment) -> int:
    path = experiment.folder / "logs" / "scalars.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def wait_for(experiment: Experiment, iteration: int, run: ranks.Ranks) -> None:
    limit = time.monotonic() + 60
    while iterations_done(experiment) < iteration:
        assert time.monotonic() < limit, run.said()
        time.sleep(0.01)


def events(experiment: Experiment, kind: str) -> list[dict[str, Any]]:
    lines = (experiment.folder / "logs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def same_end(one: Experiment, other: Experiment) -> None:
    a, b = one.checkpoint(ITERATIONS), other.checkpoint(ITERATIONS)
    for part in ("model", "optimizer", "scheduler"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)


def same_curve(found: Experiment, expected: Experiment, rtol: float) -> float:
    """Check every number of every iteration; returns the largest relative difference."""
    worst = 0.0
    assert [row["iteration"] for row in found.scalars()] == list(range(1, ITERATIONS + 1))
    for row, other in zip(found.scalars(), expected.scalars(), strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            assert row[name] == pytest.approx(value, rel=rtol), f"iteration {row['iteration']}: {name}"
            worst = max(worst, abs(row[name] - value) / max(abs(value), 1e-300))
    return worst


def same_results(found: Experiment, expected: Experiment, iteration: int) -> None:
    name = f"tiny-{iteration:05d}-CASIA-B-euc.json"
    a, b = (json.loads((run.checkpoints / name).read_text())["percentages"] for run in (found, expected))
    assert a == b


def test_any_number_of_processes_trains_and_tests_as_one(
    started: Any, experiment: Experiment, alone: Experiment
) -> None:
    """Two processes, then four, then one: the curve of one. One batch of test sequences: three of four have none."""
    for done, world in ((4, 2), (8, 4), (12, 1)):
        run = started(world, f"trainer_cfg.total_iter={done}", TESTED, options=("--resume",), fault=ranks.precise)
        assert run.codes() == [0] * world, run.said()
        assert all(not run.said(rank) for rank in range(1, world)), "rank 0 alone speaks"
        same_results(experiment, alone, done)
    assert [event["processes"] for event in events(experiment, "started")] == [2, 4, 1]
    same_curve(experiment, alone, 1e-6)
    torch.testing.assert_close(
        experiment.checkpoint(ITERATIONS)["model"], alone.checkpoint(ITERATIONS)["model"], rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("asked", [(0,), (1,), (0, 1)])
def test_a_signal_ends_all_after_the_same_iteration(
    started: Any, experiment: Experiment, pair: Experiment, asked: tuple[int, ...]
) -> None:
    """One process is slower. A launcher passes on what the processes have got already: each gets it twice."""
    run = started(2, fault=ranks.slow)
    wait_for(experiment, 5, run)
    for _ in range(2):
        run.signal(signal.SIGTERM, *asked)
    assert run.codes() == [75, 75], run.said()
    done = iterations_done(experiment)
    assert 5 <= done < ITERATIONS
    assert [event["iteration"] for event in events(experiment, "saved")] == [4, done]
    assert f"saved iteration {done} of {ITERATIONS}; go on with --resume" in run.said(0)
    assert ("SIGTERM: saved" if 0 in asked else "a signal to another process: saved") in run.said(0)
    assert not run.said(1) or "SIGTERM: ending after this iteration" in run.said(1)
    assert started(2, options=("--resume",)).codes() == [0, 0]
    same_end(experiment, pair)


def check_resumed(started: Any, experiment: Experiment, pair: Experiment) -> None:
    """Check that what is left of a run that failed is whole, and ends as if nothing had been."""
    assert [path.name for path in sorted(experiment.checkpoints.glob("*.pt"))] == ["tiny-00004.pt"]
    assert started(2, options=("--resume",)).codes() == [0, 0]
    same_end(experiment, pair)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_named_by_the_other(
    started: Any, experiment: Experiment, pair: Experiment, victim: int
) -> None:
    run = started(2, fault=ranks.slow)
    wait_for(experiment, 5, run)
    run.signal(signal.SIGKILL, victim)
    assert run.codes(1 - victim, within=20) == [2], run.said()
    said = run.said(1 - victim)
    assert f"dygait: error: process {1 - victim} lost the connection in " in said
    assert "Traceback" not in said
    if victim:  # process 0 keeps the store where no launcher does
        assert f"nothing is heard from process 1 (pid {run.processes[1].pid} on " in said
        assert "The checkpoints stay; go on with --resume" in events(experiment, "failed")[0]["why"]
        check_resumed(started, experiment, pair)
    else:
        assert "the process that keeps its store, is gone" in said


def test_a_stopped_process_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={PATIENCE}", fault=ranks.paced)
    wait_for(experiment, 5, run)
    run.signal(signal.SIGSTOP, 1)
    stopped = time.monotonic()
    assert run.codes(0) == [2], run.said()
    assert PATIENCE <= time.monotonic() - stopped < 3 * PATIENCE + 2
    assert f"waited {PATIENCE} s (trainer_cfg.collective_timeout) in " in run.said(0)
    assert f"nothing is heard from process 1 (pid {run.processes[1].pid} on " in run.said(0)
    assert "which is stopped, dead or cut off" in events(experiment, "failed")[0]["why"]


def test_a_process_that_hangs_alive_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={PATIENCE}", fault=ranks.stuck_on_rank_1)
    assert run.codes(0) == [2], run.said()
    assert iterations_done(experiment) == 3
    assert "last at reading the batch of iteration 4) has not come to it" in run.said(0)


def test_an_error_of_one_process_is_everyones(started: Any, experiment: Experiment, pair: Experiment) -> None:
    run = started(2, "trainer_cfg.save_iter=3", fault=ranks.bad_file_on_rank_1)
    assert run.codes(within=20) == [2, 2], run.said()
    why = "data/001/nm-01/000/000.pkl holds no silhouettes"
    assert run.said(1) == f"dygait: error: {why}\n"
    assert f": process 1 has ended: {why}. The checkpoints stay" in run.said(0)
    assert "Traceback" not in run.said()
    assert started(2, options=("--resume",)).codes() == [0, 0]
    same_end(experiment, pair)
