"""Runs of several processes: as one would train, and in order when one is asked to end, fails, hangs or is killed.

What takes minutes (`torchrun`, four processes, kills at many instants) runs with DYGAIT_FAULTS=long in the environment.
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
PATIENCE = 2

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
    """The run of one process, in float64, tested at every checkpoint."""
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


def same_end(one: Experiment, other: Experiment) -> None:
    a, b = one.checkpoint(ITERATIONS), other.checkpoint(ITERATIONS)
    for part in ("model", "optimizer", "scheduler"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)


def same_curve(found: Experiment, expected: Experiment, rtol: float) -> float:
    worst = 0.0
    assert [row["iteration"] for row in found.scalars()] == list(range(1, ITERATIONS + 1))
    for row, other in zip(found.scalars(), expected.scalars(), strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            assert row[name] == pytest.approx(value, rel=rtol), f"iteration {row['iteration']}: {name}"
            worst = max(worst, abs(row[name] - value) / max(abs(value), 1e-300))
    return worst


def test_any_number_of_processes_trains_and_tests_as_one(
    started: Any, experiment: Experiment, alone: Experiment
) -> None:
    """Two processes, then four, then one: the curve of one. One batch of test sequences: three of four have none."""
    for done, world in ((4, 2), (8, 4), (12, 1)):
        run = started(world, f"trainer_cfg.total_iter={done}", TESTED, options=("--resume",), fault=ranks.in_float64)
        assert run.codes() == [0] * world, run.output()
        assert all(not run.output(rank) for rank in range(1, world)), "rank 0 alone speaks"
        results = [run.checkpoints / f"tiny-{done:05d}-CASIA-B-euc.json" for run in (experiment, alone)]
        found, expected = (json.loads(path.read_text())["percentages"] for path in results)
        assert found == expected
    assert [event["processes"] for event in events(experiment, "started")] == [2, 4, 1]
    same_curve(experiment, alone, 1e-6)
    torch.testing.assert_close(
        experiment.checkpoint(ITERATIONS)["model"], alone.checkpoint(ITERATIONS)["model"], rtol=1e-6, atol=1e-9
    )


def test_four_processes_go_on_bit_for_bit(started: Any, experiment: Experiment, tmp_path: Path) -> None:
    """Sums of more than two numbers depend on their order, which must be that of the run that is not interrupted."""
    whole = experiment.at(tmp_path / "whole")
    assert started(4, at=whole).codes() == [0] * 4
    for done in (4, ITERATIONS):
        assert started(4, f"trainer_cfg.total_iter={done}", options=("--resume",)).codes() == [0] * 4
    same_end(experiment, whole)


@pytest.mark.parametrize("asked", [pytest.param((0,), marks=long), (1,), (0, 1)])
def test_a_signal_ends_all_after_the_same_iteration(
    started: Any, experiment: Experiment, pair: Experiment, asked: tuple[int, ...]
) -> None:
    """One process is slower. A launcher passes on what the processes have got already: each gets it twice."""
    run = started(2, fault=ranks.slow)
    wait_for(experiment, 5, run)
    for _ in range(2):
        run.signal(signal.SIGTERM, *asked)
    assert run.codes() == [75, 75], run.output()
    done = iterations_done(experiment)
    assert 5 <= done < ITERATIONS
    assert [event["iteration"] for event in events(experiment, "saved")] == [4, done]
    assert f"saved iteration {done} of {ITERATIONS};" in run.output(0)
    assert ("SIGTERM: saved" if 0 in asked else "a signal to another process: saved") in run.output(0)
    assert not run.output(1) or "SIGTERM: ending after this iteration" in run.output(1)
    assert started(2, options=("--resume",)).codes() == [0, 0]
    same_end(experiment, pair)


def test_a_signal_in_a_test_ends_all(started: Any, experiment: Experiment, pair: Experiment) -> None:
    """One process stops in its share, the other makes all of its own: 4 + 8 of 16 sequences, of which none is lost."""
    settings = (TESTED, "evaluator_cfg.sampler.batch_size=4")
    run = started(2, *settings, fault=ranks.sigterm_in_test)
    assert run.codes() == [75, 75], run.output()
    assert "a signal to another process: saved iteration 4 of" in run.output(0)
    assert "of its test, 12 of 16 sequences are embedded" in run.output(0)
    assert run.output(1) == "dygait: SIGTERM: ending after this batch; again to end at once\n"
    again = started(2, *settings, options=("--resume",))
    assert again.codes() == [0, 0], again.output()
    assert "interrupted extraction: 12 of 16 sequences are done" in again.output(0)
    assert [event["iteration"] for event in events(experiment, "tested")] == [4, 8, 12]
    same_end(experiment, pair)


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
    if victim:  # process 0 keeps the store where no launcher does
        assert f"no news from process 1 (pid {run.runs[1].process.pid} on " in output
        assert "continue with --resume" in events(experiment, "failed")[0]["why"]
        assert [path.name for path in sorted(experiment.checkpoints.glob("*.pt"))] == ["tiny-00004.pt"]
        assert started(2, options=("--resume",)).codes() == [0, 0]
        same_end(experiment, pair)
    else:
        assert "the process that keeps its store, is gone" in output


def test_a_stopped_process_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={PATIENCE}", fault=ranks.paced)
    wait_for(experiment, 5, run)
    run.signal(signal.SIGSTOP, 1)
    stopped = time.monotonic()
    assert run.codes(0) == [2], run.output()
    assert PATIENCE <= time.monotonic() - stopped < 3 * PATIENCE + 2
    assert f"waited {PATIENCE} s (trainer_cfg.collective_timeout) in " in run.output(0)
    assert f"no news from process 1 (pid {run.runs[1].process.pid} on " in run.output(0)
    assert "which is stopped, dead or disconnected" in events(experiment, "failed")[0]["why"]


def test_a_process_that_hangs_alive_is_named_in_time(started: Any, experiment: Experiment) -> None:
    run = started(2, f"trainer_cfg.collective_timeout={PATIENCE}", fault=ranks.stuck_on_rank_1)
    assert run.codes(0) == [2], run.output()
    assert iterations_done(experiment) == 3
    assert "last at reading the batch of iteration 4) has not reached it" in run.output(0)


def test_an_error_of_one_process_is_everyones(started: Any, experiment: Experiment, pair: Experiment) -> None:
    run = started(2, "trainer_cfg.save_iter=3", fault=ranks.bad_file_on_rank_1)
    assert run.codes(within=20) == [2, 2], run.output()
    why = "data/001/nm-01/000/000.pkl holds no silhouettes"
    assert run.output(1) == f"dygait: error: {why}\n"
    assert f": process 1 has ended: {why}." in run.output(0)
    assert "Traceback" not in run.output()
    assert started(2, options=("--resume",)).codes() == [0, 0]
    same_end(experiment, pair)


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


def on_one_machine(world: int, *more: str) -> list[str]:
    return [f"--nproc_per_node={world}", f"--master_port={free_port()}", *more]


def gone(pids: Sequence[int], within: float) -> bool:
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
    """Under `torchrun --max-restarts`, by random processes at random instants; the end is the undisturbed run's."""
    draw = random.Random(seed)
    run = launched(
        on_one_machine(world, f"--max-restarts={kills}"), "trainer_cfg.save_iter=2",
        f"data_cfg.num_workers={0 if kills == 1 else 1}",
        options=("--resume",),
    )  # fmt: skip
    everyone: set[int] = set()
    for start in range(kills):
        wait_for(experiment, 3 + 3 * start, run)
        time.sleep(draw.uniform(0.0, 0.3))
        everyone |= set(child_processes(run.process.pid))
        os.kill(run.pid_of(draw.randrange(world)), signal.SIGKILL)
        killed = time.monotonic()
        while len(events(experiment, "started")) < start + 2:
            assert run.process.poll() is None, run.output()
            assert time.monotonic() - killed < 90, run.output()
            time.sleep(0.05)
    everyone |= set(child_processes(run.process.pid))
    assert run.process.wait(120) == 0, run.output()
    assert gone(sorted(everyone), 10)
    assert [event["iteration"] % 2 for event in events(experiment, "started")] == [0] * (kills + 1)
    undisturbed = shared.at(tmp_path / "undisturbed")
    assert ranks.start(undisturbed, world, *SETTINGS, "trainer_cfg.save_iter=2").codes() == [0] * world
    same_end(experiment, undisturbed)


@long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("world", [2, 4])
def test_the_launcher_is_asked_to_end_or_killed(
    launched: Any, started: Any, experiment: Experiment, shared: Experiment, tmp_path: Path, world: int, number: Any
) -> None:
    """What a terminal or a queue does: the launcher gets it, and passes it on; where it is killed, nobody is left."""
    run = launched(on_one_machine(world))
    wait_for(experiment, 5, run)
    everyone = child_processes(run.process.pid)
    run.process.send_signal(number)
    assert run.process.wait(60) != 0
    assert gone(everyone, 20), run.output()
    done = iterations_done(experiment)
    assert 5 <= done < ITERATIONS
    assert [event["iteration"] for event in events(experiment, "saved")] == [4, done]
    assert started(world, options=("--resume",)).codes() == [0] * world
    undisturbed = shared.at(tmp_path / "undisturbed")
    assert started(world, at=undisturbed).codes() == [0] * world
    same_end(experiment, undisturbed)


@long
@pytest.mark.parametrize("world", [2, 4])
def test_a_process_that_fails_for_good_ends_the_launcher(launched: Any, experiment: Experiment, world: int) -> None:
    """Stopped, so that only the time-out finds it: named, and the launcher kills it."""
    run = launched(on_one_machine(world), f"trainer_cfg.collective_timeout={PATIENCE}")
    wait_for(experiment, 5, run)
    everyone, victim = child_processes(run.process.pid), run.pid_of(world - 1)
    os.kill(victim, signal.SIGSTOP)
    stopped = time.monotonic()
    assert run.process.wait(90) != 0
    print(f"stopped among {world}: the launcher ended after {time.monotonic() - stopped:.0f} s")
    assert gone(everyone, 10)
    assert f"no news from process {world - 1} (pid {victim} on " in run.output()


def two_agents(port: int, nodes: str, restarts: int) -> list[str]:
    return [
        f"--nnodes={nodes}", "--nproc_per_node=1", f"--max-restarts={restarts}", "--rdzv_backend=c10d",
        f"--rdzv_endpoint=127.0.0.1:{port}", "--rdzv_id=both", "--rdzv_conf=last_call_timeout=3,keep_alive_interval=1",
        "--local-addr=127.0.0.1",
    ]  # fmt: skip


@long
def test_two_agents_are_as_one(launched: Any, experiment: Experiment, pair: Experiment) -> None:
    port = free_port()
    agents = [launched(two_agents(port, "2", 0)) for _ in range(2)]
    assert [agent.process.wait(180) for agent in agents] == [0, 0], [agent.output() for agent in agents]
    assert same_curve(experiment, pair, 0) == 0
    same_end(experiment, pair)


@long
def test_a_lost_machine_leaves_the_rest_to_go_on(launched: Any, experiment: Experiment, alone: Experiment) -> None:
    """Two agents, `--nnodes=1:2`; the second is killed with its process. The curve is that of one process."""
    agent, more = two_agents(free_port(), "1:2", 3), {"options": ("--resume",), "fault": ranks.in_float64_and_paced}
    first = launched(agent, **more)
    time.sleep(1)
    second = launched(agent, **more)
    wait_for(experiment, 5, first)
    worker = child_processes(second.process.pid)
    second.process.kill()
    for pid in worker:
        os.kill(pid, signal.SIGKILL)
    assert first.process.wait(240) == 0, first.output()
    processes = [event["processes"] for event in events(experiment, "started")]
    assert (processes[0], processes[-1]) == (2, 1), first.output()
    print(f"lost machine: largest relative difference {same_curve(experiment, alone, 1e-6):.1e}")
