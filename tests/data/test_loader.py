"""What ends a loader's processes, and what is said of it; that it loads right is in test_dataset.py."""

from __future__ import annotations

import multiprocessing
import time

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


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError, FileNotFoundError])
@pytest.mark.parametrize("how", ["killed", "ended", "alive"])
def test_a_worker_killed_as_it_hands_over_memory_is_named(error: type[Exception], how: str) -> None:
    """The training process then sees no more than a connection that is reset."""
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0 if how == "ended" else 60,))
    worker.start()
    if how == "killed":
        worker.kill()
    expected: type[Exception] = LocalError if how == "killed" else error
    with pytest.raises(expected) as found, working(_OneWorker(worker)):  # type: ignore[arg-type]
        raise error("by the peer")
    worker.join(20)
    assert worker.exitcode in ((0, -9) if how == "ended" else (-9,)), "nothing is left behind"
    words = f"process {worker.pid}, which loads data, is killed by signal: Killed" if how == "killed" else "by the peer"
    assert words in str(found.value)
