"""Runs of several processes: they train as one process does, and all end if one is signalled, fails or hangs.

Tests that take minutes (`torchrun`, four processes, repeated kills) run with DYGAIT_FAULTS=long in the environment.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import ranks
from helpers.experiments import Experiment, free_port
from helpers.faulting import child_processes, events, iterations_done

ITERATIONS = 12
SETTINGS = (
    f"trainer_cfg.total_iter={ITERATIONS}", "trainer_cfg.save_iter=4", "trainer_cfg.log_iter=1",
    "trainer_cfg.sync_BN=true", "trainer_cfg.sampler.batch_size=[4,3]", "evaluator_cfg.sampler.batch_size=16",
    "evaluator_cfg.report=false", "evaluator_cfg.intervals=0",
)  # fmt: skip
TESTED = "trainer_cfg.with_test=true"
TIMEOUT = 2

long = pytest.mark.skipif(os.environ.get("DYGAIT_FAULTS") != "long", reason="minutes: set DYGAIT_FAULTS=long")


@pytest.fixture
def started(experiment: Experiment) -> Any:
    runs: list[ranks.Ranks] = []

    def start(world: int, *overrides: str, at: Experiment = experiment, **more: Any) -> ranks.Ranks:
        runs.append(ranks.start(at, world, *SETTINGS, *overrides, **more))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


@pytest.fixture(scope="module")
def alone(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run of one process in float64, tested at every checkpoint."""
    run = shared.at(tmp_path_factory.mktemp("alone"))
    assert ranks.start(run, 1, *SETTINGS, TESTED, fault=ranks.in_float64).codes() == [0]
    return run


@pytest.fixture(scope="module")
def pair(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    run = shared.at(tmp_path_factory.mktemp("pair"))
    assert ranks.start(run, 2, *SETTINGS).codes() == [0, 0]
    return run


def wait_for(experiment: Experiment, iteration: int, run: ranks.Ranks | ranks.Launched) -> None:
    limit = time.monotonic() + 60
    while iterations_done(experiment) < iteration:
        assert time.monotonic() < limit, run.output()
        time.sleep(0.01)


def assert_same_end(first: Experiment, second: Experiment) -> None:
    a, b = first.checkpoint(ITERATIONS), second.checkpoint(ITERATIONS)
    for part in ("model", "optimizer", "scheduler"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)


def compare_curves(actual: Experiment, expected: Experiment, rtol: float) -> float:
    """Check that logged statistics are close, and return their largest relative difference."""
    largest = 0.0
    assert [row["iteration"] for row in actual.scalars()] == list(range(1, ITERATIONS + 1))
    for row, expected_row in zip(actual.scalars(), expected.scalars(), strict=True):
        assert row.keys() == expected_row.keys()
        for name, value in expected_row.items():
            assert row[name] == pytest.approx(value, rel=rtol), f"iteration {row['iteration']}: {name}"
            largest = max(largest, abs(row[name] - value) / max(abs(value), 1e-300))
    return largest


def test_any_number_of_processes_trains_and_tests_as_one(
    started: Any, experiment: Experiment, alone: Experiment
) -> None:
    """Resumed by two, four and one processes. There is one batch of test sequences, so three of four have none."""
    for done, world in ((4, 2), (8, 4), (12, 1)):
        run = started(world, f"trainer_cfg.total_iter={done}", TESTED, options=("--resume",), fault=ranks.in_float64)
        assert run.codes() == [0] * world, run.output()
        assert all(not run.output(rank) for rank in range(1, world)), "rank 0 alone prints"
        results = [run.checkpoints / f"tiny-{done:05d}-CASIA-B-euc.json" for run in (experiment, alone)]
        actual, expected = (json.loads(path.read_text())["percentages"] for path in results)
        assert actual == expected
    assert [event["processes"] for event in events(experiment, "started")] == [2, 4, 1]
    compare_curves(experiment, alone, 1e-6)
    torch.testing.assert_close(
        experiment.checkpoint(ITERATIONS)["model"], alone.checkpoint(ITERATIONS)["model"], rtol=1e-6, atol=1e-9
    )


def test_four_processes_resume_bit_for_bit(started: Any, experiment: Experiment, tmp_path: Path) -> None:
    """Sums of more than two numbers depend on their order, which must be the same in a resumed run."""
    uninterrupted = experiment.at(tmp_path / "uninterrupted")
    assert started(4, at=uninterrupted).codes() == [0] * 4
    for done in (4, ITERATIONS):
        assert started(4, f"trainer_cfg.total_iter={done}", options=("--resume",)).codes() == [0] * 4
    assert_same_end(experiment, uninterrupted)


@pytest.mark.parametrize("signalled", [pytest.param((0,), marks=long), (1,), (0, 1)])
def test_a_signal_ends_all_after_the_same_iteration(
    started: Any, experiment: Experiment, pair: Experiment, signalled: tuple[int, ...]
) -> None:
    """One process is slower. Each gets the signal twice, because a launcher passes it on again."""
    run = started(2, fault=ranks.slow)
    wait_for(experiment, 5, run)
    for _ in range(2):
        run.signal(signal.SIGTERM, *signalled)
    assert run.codes() == [75, 75], run.output()
    done = iterations_done(experiment)
    assert 5 <= done < ITERATIONS
    assert [event["iteration"] for event in events(experiment, "saved")] == [4, done]
    assert f"saved iteration {done} of {ITERATIONS};" in run.output(0)
    assert ("SIGTERM: saved" if 0 in signalled else "a signal to another process: saved") in run.output(0)
    assert not run.output(1) or "SIGTERM: ending after this iteration" in run.output(1)
    assert started(2, options=("--resume",)).codes() == [0, 0]
    assert_same_end(experiment, pair)


def test_a_signal_in_a_test_ends_all(started: Any, experiment: Experiment, pair: Experiment) -> None:
    """One process stops in its share, the other finishes its own: 4 + 8 of 16 sequences are embedded and kept."""
    settings = (TESTED, "evaluator_cfg.sampler.batch_size=4")
    run = started(2, *settings, fault=ranks.sigterm_in_test)
    assert run.codes() == [75, 75], run.output()
    assert "a signal to another process: saved iteration 4 of" in run.output(0)
    assert "of its test, 12 of 16 sequences are embedded" in run.output(0)
    assert run.output(1) == "dygait: SIGTERM: ending after this batch; again to end at once\n"
    resumed = started(2, *settings, options=("--resume",))
    assert resumed.codes() == [0, 0], resumed.output()
    assert "interrupted extraction: 12 of 16 sequences are done" in resumed.output(0)
    assert [event["iteration"] for event in events(experiment, "tested")] == [4, 8, 12]
    assert_same_end(experiment, pair)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_named_by_the_other(
    started: Any, experiment: Experiment, pair: Experiment, victim: int
) -> None:
    run = started(2, fault=ranks.slow)
    wait_for(experiment, 5, run)
    run.signal(signal.SIGKILL, victim)
    assert run.codes(1 - victim, within=20) == [2], run.output()
    output = run.output(1 - victim)
    assert f"dygait: error: process {1 - victim} lost the connection in " in output
    assert "Traceback" not in output
    if victim:  # without a launcher, process 0 hosts the store
        assert f"no news from process 1 (pid {run.runs[1].process.pid} on " in output
        assert "continue with --resume" in events(experiment, "failed")[0]["why"]
        assert [path.name for path in sorted(experiment.checkpoints.glob("*.pt"))] == ["tiny-00004.pt"]
        assert started(2, options=("--resume",)).codes() == [0, 0]
        assert_same_end(experiment, pair)
    else:
        assert "the process that keeps its store, is gone" in output


def test_a_stopped_process_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={TIMEOUT}", fault=ranks.paced)
    wait_for(experiment, 5, run)
    run.signal(signal.SIGSTOP, 1)
    stopped = time.monotonic()
    assert run.codes(0) == [2], run.output()
    assert TIMEOUT <= time.monotonic() - stopped < 3 * TIMEOUT + 2
    assert f"waited {TIMEOUT} s (trainer_cfg.collective_timeout) in " in run.output(0)
    assert f"no news from process 1 (pid {run.runs[1].process.pid} on " in run.output(0)
    assert "which is stopped, dead or disconnected" in events(experiment, "failed")[0]["why"]


def test_a_process_that_hangs_alive_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={TIMEOUT}", fault=ranks.stuck_on_rank_1)
    assert run.codes(0) == [2], run.output()
    assert iterations_done(experiment) == 3
    assert "last at reading the batch of iteration 4) has not reached it" in run.output(0)


def test_an_error_of_one_process_ends_all(started: Any, experiment: Experiment, pair: Experiment) -> None:
    run = started(2, "trainer_cfg.save_iter=3", fault=ranks.bad_file_on_rank_1)
    assert run.codes(within=20) == [2, 2], run.output()
    error = "data/001/nm-01/000/000.pkl holds no silhouettes"
    assert run.output(1) == f"dygait: error: {error}\n"
    assert f": process 1 has ended: {error}." in run.output(0)
    assert "Traceback" not in run.output()
    assert started(2, options=("--resume",)).codes() == [0, 0]
    assert_same_end(experiment, pair)


@pytest.fixture
def launched(experiment: Experiment, tmp_path: Path) -> Any:
    runs: list[ranks.Launched] = []

    def start(
        launcher: Sequence[str], *overrides: str, options: Sequence[str] = (), fault: ranks.Fault = ranks.paced
    ) -> ranks.Launched:
        arguments = [*experiment.arguments("train", *SETTINGS, *overrides), *options]
        runs.append(ranks.Launched(launcher, fault, arguments, tmp_path / f"launcher-{len(runs)}.txt"))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def single_node(world: int, *more: str) -> list[str]:
    return [f"--nproc_per_node={world}", f"--master_port={free_port()}", *more]


def have_ended(pids: Sequence[int], within: float) -> bool:
    limit = time.monotonic() + within
    while any(map(ranks.alive, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    return not any(map(ranks.alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("world", "kills", "seed"),
    [(2, 1, 0), *(pytest.param(w, 3, s, marks=long) for w, s in ((2, 1), (2, 2), (2, 3), (4, 1), (4, 2)))],
)
def test_a_killed_process_restarts_the_group(
    launched: Any, experiment: Experiment, shared: Experiment, tmp_path: Path, world: int, kills: int, seed: int
) -> None:
    """Under `torchrun --max-restarts`, random processes are killed at random times; the end is the same."""
    rng = random.Random(seed)
    run = launched(
        single_node(world, f"--max-restarts={kills}"), "trainer_cfg.save_iter=2",
        f"data_cfg.num_workers={0 if kills == 1 else 1}",
        options=("--resume",),
    )  # fmt: skip
    pids: set[int] = set()
    for start in range(kills):
        wait_for(experiment, 3 + 3 * start, run)
        time.sleep(rng.uniform(0.0, 0.3))
        pids |= set(child_processes(run.process.pid))
        os.kill(run.pid_of(rng.randrange(world)), signal.SIGKILL)
        killed = time.monotonic()
        while len(events(experiment, "started")) < start + 2:
            assert run.process.poll() is None, run.output()
            assert time.monotonic() - killed < 90, run.output()
            time.sleep(0.05)
    pids |= set(child_processes(run.process.pid))
    assert run.process.wait(120) == 0, run.output()
    assert have_ended(sorted(pids), 10)
    assert [event["iteration"] % 2 for event in events(experiment, "started")] == [0] * (kills + 1)
    uninterrupted = shared.at(tmp_path / "uninterrupted")
    assert ranks.start(uninterrupted, world, *SETTINGS, "trainer_cfg.save_iter=2").codes() == [0] * world
    assert_same_end(experiment, uninterrupted)


@long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("world", [2, 4])
def test_the_launcher_is_signalled_or_killed(
    launched: Any, started: Any, experiment: Experiment, shared: Experiment, tmp_path: Path, world: int, number: Any
) -> None:
    """As by a terminal or a queue: the launcher passes the signal on, and no process outlives it if it is killed."""
    run = launched(single_node(world))
    wait_for(experiment, 5, run)
    pids = child_processes(run.process.pid)
    run.process.send_signal(number)
    assert run.process.wait(60) != 0
    assert have_ended(pids, 20), run.output()
    done = iterations_done(experiment)
    assert 5 <= done < ITERATIONS
    assert [event["iteration"] for event in events(experiment, "saved")] == [4, done]
    assert started(world, options=("--resume",)).codes() == [0] * world
    uninterrupted = shared.at(tmp_path / "uninterrupted")
    assert started(world, at=uninterrupted).codes() == [0] * world
    assert_same_end(experiment, uninterrupted)


@long
@pytest.mark.parametrize("world", [2, 4])
def test_a_process_that_fails_for_good_ends_the_launcher(launched: Any, experiment: Experiment, world: int) -> None:
    """It is stopped, so that only the time-out detects it; it is named, and the launcher kills it."""
    run = launched(single_node(world), f"trainer_cfg.collective_timeout={TIMEOUT}")
    wait_for(experiment, 5, run)
    pids, victim = child_processes(run.process.pid), run.pid_of(world - 1)
    os.kill(victim, signal.SIGSTOP)
    stopped = time.monotonic()
    assert run.process.wait(90) != 0
    print(f"stopped among {world}: the launcher ended after {time.monotonic() - stopped:.0f} s")
    assert have_ended(pids, 10)
    assert f"no news from process {world - 1} (pid {victim} on " in run.output()


def agent_options(port: int, nodes: str, restarts: int) -> list[str]:
    return [
        f"--nnodes={nodes}", "--nproc_per_node=1", f"--max-restarts={restarts}", "--rdzv_backend=c10d",
        f"--rdzv_endpoint=127.0.0.1:{port}", "--rdzv_id=both", "--rdzv_conf=last_call_timeout=3,keep_alive_interval=1",
        "--local-addr=127.0.0.1",
    ]  # fmt: skip


@long
def test_two_agents_equal_one(launched: Any, experiment: Experiment, pair: Experiment) -> None:
    port = free_port()
    agents = [launched(agent_options(port, "2", 0)) for _ in range(2)]
    assert [agent.process.wait(180) for agent in agents] == [0, 0], [agent.output() for agent in agents]
    assert compare_curves(experiment, pair, 0) == 0
    assert_same_end(experiment, pair)


@long
def test_training_continues_after_losing_a_machine(launched: Any, experiment: Experiment, alone: Experiment) -> None:
    """Of two agents with `--nnodes=1:2`, the second is killed with its process. The curve is that of one process."""
    launcher = agent_options(free_port(), "1:2", 3)
    more = {"options": ("--resume",), "fault": ranks.in_float64_and_paced}
    first = launched(launcher, **more)
    time.sleep(1)
    second = launched(launcher, **more)
    wait_for(experiment, 5, first)
    workers = child_processes(second.process.pid)
    second.process.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert first.process.wait(240) == 0, first.output()
    processes = [event["processes"] for event in events(experiment, "started")]
    assert (processes[0], processes[-1]) == (2, 1), first.output()
    print(f"lost machine: largest relative difference {compare_curves(experiment, alone, 1e-6):.1e}")
