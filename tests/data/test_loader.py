"""What ends a loader's processes, and what is said of it; that it loads right is in test_dataset.py."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import pytest

from dygait.data.loader import working
from dygait.errors import LocalError


class _OneWorker:
    """What a loader with one worker looks like to `working`."""

    def __init__(self, worker: multiprocessing.Process) -> None:
        self._iterator: _OneWorker | None = self
        self._workers = [worker]

    def _shutdown_workers(self) -> None:
        """Nothing to tell it."""


def unexpectedly(_: str) -> RuntimeError:
    """What PyTorch may raise where the signal is not known to it."""
    return RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly")


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError, FileNotFoundError, unexpectedly])
@pytest.mark.parametrize("how", ["killed", "ended", "alive"])
def test_a_worker_killed_as_it_hands_over_memory_is_named(error: Callable[[str], Exception], how: str) -> None:
    """The training process then sees no more than a connection that is reset."""
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0 if how == "ended" else 60,))
    worker.start()
    if how == "killed":
        worker.kill()
    known = how == "killed" or error is unexpectedly
    with pytest.raises(LocalError if known else type(error(""))) as found, working(_OneWorker(worker)):  # type: ignore[arg-type]
        raise error("by the peer")
    worker.join(20)
    assert worker.exitcode in ((0, -9) if how == "ended" else (-9,)), "nothing is left behind"
    words = f"process {worker.pid}, which loads data, is killed by signal: Killed"
    if how != "killed":
        words = "process 1, which loads data, exited unexpectedly" if known else "by the peer"
    assert words in str(found.value)
