"""Runs of several processes, each of which a test can signal, and whose output and exit codes it can read.

The processes are forks, as in `helpers.faulting`; `Launched` uses `torchrun`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dygait import cli, machine
from dygait.data.samplers import TrainingSampler
from dygait.errors import UserError
from dygait.testing import extraction
from helpers.experiments import REPOSITORY, Experiment, environment, free_port
from helpers.faulting import Run, child_processes, launch
from helpers.golden import computing_in

_UNTIL_EXIT = contextlib.ExitStack()
Fault = Callable[[int], None]
"""A function of the rank that is called in each process before its run begins."""


@dataclass
class Ranks:
    """The processes of a run, by rank."""

    runs: list[Run]

    def signal(self, number: signal.Signals, *ranks: int) -> None:
        """Send a signal to the processes of these ranks, or to all."""
        for rank in ranks or range(len(self.runs)):
            self.runs[rank].send(number)

    def codes(self, *ranks: int, within: float = 60.0) -> list[int]:
        """Return the exit codes of the processes of these ranks, or of all, which must end `within` so many seconds."""
        limit = time.monotonic() + within
        return [self.runs[rank].wait(limit - time.monotonic()) for rank in ranks or range(len(self.runs))]

    def output(self, rank: int | None = None) -> str:
        return "".join(run.output for run in (self.runs if rank is None else [self.runs[rank]]))

    def end(self) -> None:
        for run in self.runs:
            run.kill()


def start(
    experiment: Experiment, world: int, *overrides: str, options: Sequence[str] = (), fault: Fault | None = None
) -> Ranks:
    """Start a training run of `world` processes."""
    variables = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}
    variables |= {"MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}

    def become(rank: int) -> None:
        os.environ.update(variables, RANK=str(rank), LOCAL_RANK=str(rank))
        if fault is not None:
            fault(rank)

    return Ranks(
        [launch(experiment, *overrides, options=options, before=partial(become, rank)) for rank in range(world)]
    )


class Launched:
    """A `torchrun` with the options `launcher`, whose processes run `lib/main.py` with a fault of this module."""

    def __init__(self, launcher: Sequence[str], fault: Fault, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *launcher, __file__, fault.__name__, *arguments],
                cwd=REPOSITORY, env=environment(OMP_NUM_THREADS="1"), stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def pid_of(self, rank: int) -> int:
        """Return the id of the current process of a rank."""
        for pid in child_processes(self.process.pid):
            if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
        raise AssertionError(f"no rank {rank}: {self.log.read_text()}")

    def output(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        workers = child_processes(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def before_iteration(action: Callable[[int], None]) -> None:
    """Call `action(iteration)` in this process before it reads the batch of each iteration."""
    iterate = TrainingSampler.__iter__

    def wrapped(self: TrainingSampler) -> Iterator[Any]:
        for iteration, requests in enumerate(iterate(self), self.first_iteration + 1):
            action(iteration)
            yield requests

    mock.patch.object(TrainingSampler, "__iter__", wrapped).start()


def slow(rank: int) -> None:
    """Make every iteration of all processes but the first take longer."""
    before_iteration(lambda iteration: time.sleep(0.15 if rank else 0.0))


def paced(rank: int) -> None:
    """Make every iteration take long enough for a signal to arrive in between."""
    before_iteration(lambda iteration: time.sleep(0.1))


def bad_file_on_rank_1(rank: int) -> None:
    """Fail as for an unreadable data file, on process 1 alone in iteration 4."""

    def fail(iteration: int) -> None:
        if rank == 1 and iteration == 4:
            raise UserError("data/001/nm-01/000/000.pkl holds no silhouettes")

    before_iteration(fail)


def stuck_on_rank_1(rank: int) -> None:
    """Make process 1 wait for data in iteration 4, alive, until the test ends."""
    before_iteration(lambda iteration: time.sleep(600 if rank == 1 and iteration == 4 else 0))


def sigterm_in_test(rank: int) -> None:
    """Send SIGTERM to all processes but the first in the first batch of their first test."""
    embed, calls = extraction.embed, iter(range(1000))

    def wrapped(*arguments: Any) -> Any:
        if rank and next(calls) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return embed(*arguments)

    mock.patch.object(extraction, "embed", wrapped).start()


def in_float64(rank: int = 0) -> None:
    """Train in float64, so that differences in rounding stay invisible."""
    _UNTIL_EXIT.enter_context(computing_in(torch.float64))


def in_float64_and_paced(rank: int) -> None:
    in_float64()
    paced(rank)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(os.environ["RANK"]))
    with mock.patch.object(machine, "available_cores", return_value=1):
        sys.exit(cli.runner(sys.argv[2:]))
