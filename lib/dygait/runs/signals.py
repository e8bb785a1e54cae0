"""Ending a run early and in order: what a signal asks, and how all processes stop after the same iteration.

Clusters warn before they take a machine back (SIGTERM; on Slurm, `--signal=USR1@120`), and people press Ctrl-C. The
first signal asks the run to finish its iteration, or a test its batch, save and end; a second one ends the process at
once.
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

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
"""What asks a run to end. SIGUSR1 is the early warning that Slurm can be told to send."""

_AT_ONCE = 128
"""A process that a signal ends has this and the signal's number for its exit code, by convention."""

_QUESTION = "the question whether to go on"
_PASSED_ON = 5.0
"""So long, in seconds, after the first signal another one is the same: a launcher passes on what its group has got."""


class Interruption:
    """Listens for signals within a `with` block, and lets all processes agree on the iteration to stop after.

    A signal reaches the processes of a run at different moments, or only some of them. Each therefore tells the others
    after every iteration whether it was asked to end; the answer is looked at one iteration later, so that nobody waits
    for it.

    Attributes:
        signal: the number of the signal that came; None until one does.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._doing = "this iteration"
        self._since = 0.0
        self._before: dict[int, Any] = {}
        self._asked: tuple[dist.Work, torch.Tensor] | None = None
        self._group: dist.ProcessGroup | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self._before = {number: signal.signal(number, self._arrived) for number in SIGNALS}
        if distributed.world_size() > 1 and dist.get_backend() != "gloo":
            # The question must not wait for the GPU. Every process is a member, so that what is returned is a group.
            self._group = cast("dist.ProcessGroup", dist.new_group(backend="gloo"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A launcher sends SIGTERM to the others as soon as the first process has ended: each may say its last word.
        leaves = dist.is_initialized() and isinstance(error, (Interrupted, LocalError))
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if leaves else handler)
        if kind is None:
            self._answer()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if dist.is_initialized() and time.monotonic() - self._since < _PASSED_ON:
                return
            os._exit(_AT_ONCE + number)
        self.signal, self._since = number, time.monotonic()
        # Not print: the signal may have come in the middle of one.
        os.write(2, f"dygait: {name_of(number)}: ending after {self._doing}; again to end at once\n".encode())

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Within a `with` block, say to who sends a signal that the end comes after this: `this batch`."""
        before, self._doing = self._doing, what
        try:
            yield
        finally:
            self._doing = before

    def agreed(self) -> bool:
        """Tell whether to stop after the iteration that was just done; the same on every process, all of which call."""
        if distributed.world_size() == 1:
            return self.signal is not None
        stop = self._answer()
        asks = torch.tensor([self.signal is not None], dtype=torch.uint8)
        with distributed.together(_QUESTION):
            work = dist.all_reduce(asks, dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._asked = (work, asks)
        return stop

    def _answer(self) -> bool:
        """Return what the last question was answered."""
        if self._asked is None:
            return False
        work, asks = self._asked
        self._asked = None
        with distributed.together(_QUESTION):
            work.wait()
        return bool(asks.item())


def name_of(number: int | None) -> str:
    """Return a signal's name, `SIGTERM`; without a number, that another process got one."""
    return "a signal to another process" if number is None else signal.Signals(number).name
