"""Signals that end a run early: all processes stop after the same iteration.

Clusters send a signal before they reclaim a machine (SIGTERM; on Slurm, `--signal=USR1@120`), and users press Ctrl-C.
After the first signal, the run finishes the current iteration, or batch of a test, saves and ends; a second signal ends
the process immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, cast

import torch
import torch.distributed as dist

from dygait import distributed
from dygait.errors import Interrupted, LocalError
from dygait.machine import END_SIGNALS

_SIGNAL_EXIT = 128
"""By convention, the exit code of a process that is ended by a signal is this plus the number of the signal."""

_STOP_DECISION = "the decision whether to stop"
_FORWARDING_SECONDS = 5.0
"""A signal this soon after the first one is a copy of it, forwarded by the launcher."""


class Interruption:
    """Handles signals within a `with` block, and stops all processes after the same iteration.

    A signal may reach the processes at different times, or only some of them. So after every iteration, an asynchronous
    all-reduce of whether a process has received a signal is started, and its result is read one iteration later, so
    that no process waits for it.

    Attributes:
        signal: the number of the received signal, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._activity = "this iteration"
        self._arrival = 0.0
        self._previous_handlers: dict[int, Any] = {}
        self._pending: tuple[dist.Work, torch.Tensor] | None = None
        self._group: dist.ProcessGroup | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python requires it
            self._previous_handlers = {number: signal.signal(number, self._handle) for number in END_SIGNALS}
        if distributed.world_size() > 1 and dist.get_backend() != "gloo":
            # A separate group of all processes, so that the all-reduce does not wait for the GPU.
            self._group = cast("dist.ProcessGroup", dist.new_group(backend="gloo"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # When the first process ends, a launcher sends SIGTERM to the others, which must still print their messages.
        ends_with_message = dist.is_initialized() and isinstance(error, (Interrupted, LocalError))
        for number, handler in self._previous_handlers.items():
            signal.signal(number, signal.SIG_IGN if ends_with_message else handler)
        if kind is None:
            self._result()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if dist.is_initialized() and time.monotonic() - self._arrival < _FORWARDING_SECONDS:
                return
            os._exit(_SIGNAL_EXIT + number)
        self.signal, self._arrival = number, time.monotonic()
        # Not print, which is not reentrant.
        os.write(2, f"dygait: {name_of(number)}: ending after {self._activity}; again to end at once\n".encode())

    @contextlib.contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Name the activity within a `with` block that is finished after a signal, such as `this batch`."""
        previous, self._activity = self._activity, activity
        try:
            yield
        finally:
            self._activity = previous

    def should_stop(self) -> bool:
        """Return whether to stop after the current iteration. Called by every process, with the same result."""
        if distributed.world_size() == 1:
            return self.signal is not None
        stop = self._result()
        signalled = torch.tensor([self.signal is not None], dtype=torch.uint8)
        with distributed.collective(_STOP_DECISION):
            work = dist.all_reduce(signalled, dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._pending = (work, signalled)
        return stop

    def _result(self) -> bool:
        """Return the result of the pending all-reduce."""
        if self._pending is None:
            return False
        work, signalled = self._pending
        self._pending = None
        with distributed.collective(_STOP_DECISION):
            work.wait()
        return bool(signalled.item())


def name_of(number: int | None) -> str:
    """Return the name of a signal, such as `SIGTERM`; for None, that another process received a signal."""
    return "a signal to another process" if number is None else signal.Signals(number).name
