"""Runs in several processes, each of which a test can signal, and whose output and exit code it sees.

They are forks, as in `helpers.faulting`. `torchrun` is tried in `tests/faults/test_ranks.py`, `tests/test_launch.py`.
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
from helpers.faulting import Run, children, launch
from helpers.golden import computing_in

UNTIL_THE_END = contextlib.ExitStack()
Fault = Callable[[int], None]
"""What is done to a process before its run begins; it is given the rank."""


@dataclass
class Ranks:
    """The processes of a run, by rank."""

    runs: list[Run]

    def signal(self, number: signal.Signals, *ranks: int) -> None:
        """Send a signal to the processes of these ranks, or to all."""
        for rank in ranks or range(len(self.runs)):
            self.runs[rank].send(number)

    def codes(self, *ranks: int, within: float = 60.0) -> list[int]:
        """Return the exit codes of the processes of these ranks, or of all, which must end in so many seconds."""
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
    """A `torchrun` with these options that runs `lib/main.py` in processes with a fault of this module."""

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
        """Return the process of a rank that runs now."""
        for pid in children(self.process.pid):
            if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
        raise AssertionError(f"no rank {rank}: {self.log.read_text()}")

    def output(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        left = children(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended, and that nobody has asked about yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def before_iteration(act: Callable[[int], None]) -> None:
    """Have this process do something before it reads the batch of an iteration, whose number is given."""
    draws = TrainingSampler.__iter__

    def acting(self: TrainingSampler) -> Iterator[Any]:
        for iteration, requests in enumerate(draws(self), self.first_iteration + 1):
            act(iteration)
            yield requests

    mock.patch.object(TrainingSampler, "__iter__", acting).start()


def slow(rank: int) -> None:
    """Every iteration of the last process takes long."""
    before_iteration(lambda iteration: time.sleep(0.15 if rank else 0.0))


def paced(rank: int) -> None:
    """Every iteration takes long enough for a signal to come in between."""
    before_iteration(lambda iteration: time.sleep(0.1))


def bad_file_on_rank_1(rank: int) -> None:
    """A data file that only one process reads turns bad in mid-run."""

    def act(iteration: int) -> None:
        if rank == 1 and iteration == 4:
            raise UserError("data/001/nm-01/000/000.pkl holds no silhouettes")

    before_iteration(act)


def stuck_on_rank_1(rank: int) -> None:
    """A process waits for its data for ever, alive."""
    before_iteration(lambda iteration: time.sleep(600 if rank == 1 and iteration == 4 else 0))


def asked_in_its_test(rank: int) -> None:
    """The last process is asked to end in the first batch of its share of the first test."""
    embed, calls = extraction.embed, iter(range(1000))

    def signalled(*arguments: Any) -> Any:
        if rank and next(calls) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return embed(*arguments)

    mock.patch.object(extraction, "embed", signalled).start()


def precise(rank: int = 0) -> None:
    """Train in float64, whose rounding does not grow to where one could see it."""
    UNTIL_THE_END.enter_context(computing_in(torch.float64))


def precise_and_paced(rank: int) -> None:
    precise()
    paced(rank)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(os.environ["RANK"]))
    with mock.patch.object(machine, "available_cores", return_value=1):
        sys.exit(cli.runner(sys.argv[2:]))
