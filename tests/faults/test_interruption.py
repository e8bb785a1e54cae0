"""Runs that are asked to end, killed, or fed what no step can use: nothing is lost but what came after a checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.engine.interruption import Interruption
from dygait.engine.train import Trainer
from experiments import REPOSITORY, Experiment, environment, make_experiment

ITERATIONS = 12
SETTINGS = (f"trainer_cfg.total_iter={ITERATIONS}", "trainer_cfg.save_iter=2", "trainer_cfg.log_iter=1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = make_experiment(tmp_path_factory.mktemp("whole"))
    experiment.train(*SETTINGS)
    return experiment


# The runs in this process have one thread; another number would move the last bits.
RUNNER = """
import sys
from dygait import cli, distributed

distributed.available_cores = lambda: 1
sys.exit(cli.runner(sys.argv[1:]))
"""


def start(experiment: Experiment, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, *experiment.arguments("train", *SETTINGS), *options],
        cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def iterations_done(experiment: Experiment) -> int:
    path = experiment.folder / "logs" / "scalars.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def wait_for(experiment: Experiment, iteration: int, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while iterations_done(experiment) < iteration and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)


def same_end(one: Experiment, other: Experiment) -> None:
    a, b = one.checkpoint(ITERATIONS), other.checkpoint(ITERATIONS)
    for part in ("model", "optimizer", "scheduler"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_a_resumed_run_ends_the_same(
    uninterrupted: Experiment, tmp_path: Path, number: signal.Signals
) -> None:
    stopped = uninterrupted.at(tmp_path)
    process = start(stopped)
    wait_for(stopped, 3, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert f"{number.name}: saved iteration" in said
    done = iterations_done(stopped)
    assert 3 <= done < ITERATIONS
    assert stopped.checkpoint(done)["iteration"] == done
    assert stopped.run("train", *SETTINGS, options=("--resume",)) == 0
    same_end(stopped, uninterrupted)


def test_a_killed_run_is_resumed_past_a_damaged_checkpoint(
    uninterrupted: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = uninterrupted.at(tmp_path)
    process = start(killed)
    wait_for(killed, 5, process)
    process.kill()
    process.communicate(timeout=120)
    newest = max(killed.checkpoints.glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:-50])
    assert killed.run("train", *SETTINGS, options=("--resume",)) == 0
    assert f"{newest} is damaged" in capsys.readouterr().out
    same_end(killed, uninterrupted)


def test_a_gradient_that_is_not_finite_is_left_out(
    uninterrupted: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = uninterrupted.at(tmp_path)
    weights: dict[int, Any] = {}
    forward = Trainer._forward

    def poison(self: Trainer, *arguments: Any) -> Any:
        weights[self.iteration] = {n: t.clone() for n, t in self.network.state_dict().items()}
        output = forward(self, *arguments)
        return type(output)(*(None if t is None else t * (float("nan") if self.iteration == 4 else 1) for t in output))

    monkeypatch.setattr(Trainer, "_forward", poison)
    poisoned.train(*SETTINGS)
    torch.testing.assert_close(weights[5], weights[4], rtol=0, atol=0)
    assert not torch.equal(weights[6]["backbone.conv0.weight"], weights[5]["backbone.conv0.weight"])
    assert poisoned.checkpoint(ITERATIONS)["guard"]["skipped"] == 1
    events = [json.loads(line) for line in (poisoned.folder / "logs" / "events.jsonl").read_text().splitlines()]
    assert [e["iteration"] for e in events if e["kind"] == "skipped step"] == [5]


def test_no_room_for_a_checkpoint(
    uninterrupted: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = uninterrupted.at(tmp_path)
    save, calls = torch.save, []

    def no_room(state: Any, file: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", no_room)
    assert full.run("train", *SETTINGS) == 2
    error = capsys.readouterr().err
    assert "cannot be written: [Errno 28] No space left on device" in error
    assert "from tiny-00004.pt" in error
    assert sorted(p.name for p in full.checkpoints.iterdir()) == ["tiny-00002.pt", "tiny-00004.pt"]


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


def test_only_so_many_checkpoints_are_kept(uninterrupted: Experiment, tmp_path: Path) -> None:
    few = uninterrupted.at(tmp_path)
    few.train(*SETTINGS, "trainer_cfg.keep_last=1", "trainer_cfg.keep_every=6")
    assert sorted(p.name for p in few.checkpoints.glob("*.pt")) == ["tiny-00006.pt", "tiny-00012.pt"]


def test_a_second_signal_ends_at_once() -> None:
    process = os.fork()
    if process == 0:
        with Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 128 + signal.SIGTERM


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.agreed()
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
