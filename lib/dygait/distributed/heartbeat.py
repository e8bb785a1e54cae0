"""Detection of processes that hang: every process reports its progress to the others, outside collectives.

A thread of every process writes the number of its collectives and its progress to the launcher's store every second. A
process that has waited too long in a collective reads from the store which process is late, prints it and ends; the
launcher then ends the others.

PyTorch does not name the process: when a collective times out, Gloo raises with a peer's address and NCCL's watchdog
aborts; `monitored_barrier` names ranks, but only with Gloo, and would have to come before every collective.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist

from dygait.errors import LostProcessError

EXIT_CODE = 2
_INTERVAL = 1.0
"""Seconds between heartbeats. A process without a new one for `_MAX_SILENCE` intervals is stopped or dead."""
_MAX_SILENCE = 3
_GRACE = 10.0
"""Seconds that a collective may wait after another process has reported a failure."""


class Heartbeat:
    """Reports the progress of this process and watches the others, in a thread, within a `with` block.

    Args:
        store: a connection to the shared store, for this object only, since other users might block it.
        timeout: seconds that a collective may wait.

    Attributes:
        progress: the reported progress, such as `iteration 7`.
        on_hang: called with the reason before this process ends because it has waited too long.
    """

    def __init__(self, store: dist.Store, rank: int, world: int, timeout: float) -> None:
        self.store, self.rank, self.world, self.timeout = store, rank, world, timeout
        self.on_hang: Callable[[str], None] = lambda why: None
        self.progress = "the start"
        self._active: list[str] = []  # the names of the collectives that have started
        self._collectives = 0
        self._last_change = time.monotonic()
        self._beats = 0
        self._failure = ""
        self._store_lock = threading.Lock()
        self._stopped = threading.Event()
        self._interval = min(_INTERVAL, timeout / 5)
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._report()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, LostProcessError):  # caused by another process
            self._failure = str(error) or type(error).__name__
            with contextlib.suppress(RuntimeError):
                self._report()
        self._stopped.set()
        self._thread.join(2 * self._interval)

    @contextlib.contextmanager
    def collective(self, name: str) -> Iterator[None]:
        """Mark one or several collectives within a `with` block; blocks may be nested.

        Raises:
            LostProcessError: the backend has lost the connection to a process.
        """
        self._collectives += 1
        self._active.append(name)
        self._last_change = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            if not is_lost_connection(error):
                raise
            raise LostProcessError(self._explanation(f"lost the connection in {name}, {self.progress}")) from None
        finally:
            self._active.pop()
            self._last_change = time.monotonic()

    def _report(self) -> None:
        self._beats += 1
        state = {
            "beats": self._beats,
            "collectives": self._collectives,
            "progress": self.progress,
            "failure": self._failure,
            "process": f"pid {os.getpid()} on {socket.gethostname()}",
        }
        with self._store_lock:
            self.store.set(str(self.rank), json.dumps(state))

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._report()
                waited, active = time.monotonic() - self._last_change, self._active[-1:]
                if active and waited > min(_GRACE, self.timeout) and self._failures():
                    self._end(self._explanation(f"waits in {active[0]}, {self.progress}"))
                if active and waited > self.timeout:
                    event = f"waited {waited:.0f} s (trainer_cfg.collective_timeout) in {active[0]}, {self.progress}"
                    self._end(self._explanation(event))
            except RuntimeError:  # the store is gone, with the launcher or rank 0
                return

    def _end(self, why: str) -> None:
        """End this process, whose main thread is blocked."""
        if self._stopped.is_set() or not self._active:  # the collective has finished in the meantime
            return
        with contextlib.suppress(OSError):
            self.on_hang(why)
        sys.stdout.flush()
        os.write(2, f"dygait: error: {why}\n".encode())
        os._exit(EXIT_CODE)

    def _explanation(self, event: str) -> str:
        """Return a message with an event of this process, and the process that caused it."""
        try:
            cause = self._find_cause()
        except RuntimeError:
            cause = "the launcher, or the process that keeps its store, is gone"
        return f"process {self.rank} {event}: {cause}. The checkpoints are kept; continue with --resume"

    def _find_cause(self) -> str:
        if not self._failures():
            before = self._states()
            limit = time.monotonic() + _MAX_SILENCE * self._interval
            while time.monotonic() < limit:
                if threading.current_thread() is self._thread:
                    self._report()  # other processes may be searching for the cause too
                time.sleep(self._interval / 2)
        if failures := self._failures():
            return "; ".join(f"process {rank} has ended: {why}" for rank, why in failures.items())
        after = self._states()
        silent = [r for r in after if after[r].get("beats") == before[r].get("beats") and r != self.rank]
        if silent:
            return "; ".join(
                f"no news from {_describe(r, after[r])}, which is stopped, dead or disconnected" for r in silent
            )
        collectives = {r: state.get("collectives", 0) for r, state in after.items()}
        late = [r for r, count in collectives.items() if count < max(collectives.values())]
        causes = [f"{_describe(r, after[r])} has not reached it" for r in late]
        return "; ".join(causes) or "all processes have reached it; the network between them, or a device, hangs"

    def _states(self) -> dict[int, dict[str, Any]]:
        """Return the last report of each process; an empty mapping if there is none."""
        with self._store_lock:
            keys = {rank: str(rank) for rank in range(self.world)}
            return {r: json.loads(self.store.get(k)) if self.store.check([k]) else {} for r, k in keys.items()}

    def _failures(self) -> dict[int, str]:
        """Return the reported failures of other processes."""
        failures = {rank: state.get("failure") for rank, state in self._states().items() if rank != self.rank}
        return {rank: why for rank, why in failures.items() if why}


def _describe(rank: int, state: dict[str, Any]) -> str:
    location = f" ({state['process']}, last at {state['progress']})" if state else " (no report)"
    return f"process {rank}{location}"


def is_lost_connection(error: RuntimeError) -> bool:
    """Return whether an error of a backend is a lost connection to another process."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


_heartbeat: Heartbeat | None = None


@contextlib.contextmanager
def running(store: dist.Store, rank: int, world: int, timeout: float) -> Iterator[None]:
    """Run a `Heartbeat` within a `with` block, unless there is only one process."""
    global _heartbeat
    if world == 1:
        yield
        return
    with Heartbeat(store, rank, world, timeout) as _heartbeat:
        try:
            yield
        finally:
            _heartbeat = None


def collective(name: str) -> contextlib.AbstractContextManager[None]:
    """Name one or several collectives within a `with` block, for the message if a process does not reach them."""
    return contextlib.nullcontext() if _heartbeat is None else _heartbeat.collective(name)


def set_progress(progress: str) -> None:
    """Set the progress of this process, which other processes report if it hangs."""
    if _heartbeat is not None:
        _heartbeat.progress = progress


def on_hang(callback: Callable[[str], None]) -> None:
    """Call `callback` with the reason before this process ends because another one hangs."""
    if _heartbeat is not None:
        _heartbeat.on_hang = callback
