"""Who keeps the others waiting: the processes of a run tell each other, beside their collectives, how far they are.

A collective that waits for a process which hangs says nothing, or after a long time only that it timed out. So a thread
of every process writes to the launcher's store, every moment, how many collectives it has come to and where it is. One
that has waited too long reads there who is behind, says so and ends; the launcher ends the others. It works with any
backend: nothing of it goes through the collectives themselves.

PyTorch has nothing that names who is missing in the middle of a step. When a collective times out, Gloo raises with a
peer's address and NCCL's watchdog aborts the process; `monitored_barrier` names ranks, but with Gloo alone, and would
have to come before every collective; `record` hands exceptions to the launcher, and a hang raises none.
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
_SECONDS = 1.0
"""Between two words of a process. One of which nothing new is heard in `_SILENT` of them hangs, is stopped, or dead."""
_SILENT = 3
_GRACE = 10.0
"""So long, in seconds, a collective may still wait when another process has said that it has failed."""


class Heartbeat:
    """What a process tells the others, and what it finds out about them; all methods may be called at any time.

    Args:
        store: a connection of its own to the store that all processes share: another's could be busy waiting.
        rank: this process's number.
        world: how many there are.
        patience: how many seconds a collective may wait.

    Attributes:
        last_words: is told why, before a process that has waited too long ends.
    """

    def __init__(self, store: dist.Store, rank: int, world: int, patience: float) -> None:
        self.store, self.rank, self.world, self.patience = store, rank, world, patience
        self.last_words: Callable[[str], None] | None = None
        self._place = "the start"
        self._inside: list[str] = []
        self._come_to = 0
        self._moved = time.monotonic()
        self._beats = 0
        self._store_lock = threading.Lock()
        self._stopped = threading.Event()
        self._seconds = min(_SECONDS, patience / 5)
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to tell and to watch."""
        self._tell()
        self._thread.start()

    def stop(self) -> None:
        """Fall silent."""
        self._stopped.set()
        self._thread.join(2 * self._seconds)

    def reached(self, place: str) -> None:
        """Take down where this process is: `iteration 7`."""
        self._place = place

    @contextlib.contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Mark what all processes do together, a collective or some, within a `with` block; blocks may be nested.

        Raises:
            LostProcessError: a process is lost, if the backend notices.
        """
        self._come_to += 1
        self._inside.append(what)
        self._moved = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            if not is_lost_connection(error):
                raise
            raise LostProcessError(self._explained(f"lost the connection in {what}, {self._place}")) from None
        finally:
            self._inside.pop()
            self._moved = time.monotonic()

    def failed(self, why: str) -> None:
        """Tell the others that this process ends, and why; what it cannot tell any more, they find out."""
        with contextlib.suppress(RuntimeError), self._store_lock:
            self.store.set(f"failed/{self.rank}", why)

    def _tell(self) -> None:
        self._beats += 1
        state = {
            "beats": self._beats,
            "come to": self._come_to,
            "place": self._place,
            "process": f"pid {os.getpid()} on {socket.gethostname()}",
        }
        with self._store_lock:
            self.store.set(f"state/{self.rank}", json.dumps(state))

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._tell()
                waited, inside = time.monotonic() - self._moved, self._inside[-1:]
                if inside and waited > min(_GRACE, self.patience) and self._failures():
                    self._end(self._explained(f"waits in {inside[0]}, {self._place}"))
                if inside and waited > self.patience:
                    what = f"waited {waited:.0f} s (trainer_cfg.collective_timeout) in {inside[0]}, {self._place}"
                    self._end(self._explained(what))
            except RuntimeError:  # the store is gone, with the launcher or rank 0: nobody is left to tell
                return

    def _end(self, why: str) -> None:
        """End this process, whose main thread cannot be reached."""
        if self._stopped.is_set() or not self._inside:  # it has gone on in the meantime
            return
        if self.last_words is not None:
            with contextlib.suppress(OSError):
                self.last_words(why)
        sys.stdout.flush()
        os.write(2, f"dygait: error: {why}\n".encode())
        os._exit(EXIT_CODE)

    def _explained(self, what: str) -> str:
        """Return what happened to this process, and whose fault it is."""
        try:
            guilty = self._guilty()
        except RuntimeError:
            guilty = "the launcher, or the process that keeps its store, is gone"
        return f"process {self.rank} {what}: {guilty}. The checkpoints stay; go on with --resume"

    def _guilty(self) -> str:
        failures = self._failures()
        if not failures:
            before = self._states()
            limit = time.monotonic() + _SILENT * self._seconds
            while time.monotonic() < limit:
                if threading.current_thread() is self._thread:
                    self._tell()  # others may be asking at the same time
                time.sleep(self._seconds / 2)
            failures, after = self._failures(), self._states()
        if failures:
            return "; ".join(f"process {rank} has ended: {why}" for rank, why in failures.items())
        silent = [r for r in after if after[r].get("beats") == before[r].get("beats") and r != self.rank]
        most = max(state.get("come to", 0) for state in after.values())
        behind = [r for r in after if after[r].get("come to", 0) < most and r not in silent]
        found = [f"nothing is heard from {_named(r, after[r])}, which is stopped, dead or cut off" for r in silent]
        if not silent:
            found = [f"{_named(r, after[r])} has not come to it" for r in behind]
        return "; ".join(found) or "all processes have come to it; the network between them, or a device, hangs"

    def _states(self) -> dict[int, dict[str, Any]]:
        """Return what each process said last; nothing where it has not said anything, or has left in order."""
        return {rank: json.loads(self._read(f"state/{rank}") or "{}") for rank in range(self.world)}

    def _failures(self) -> dict[int, str]:
        """Return what processes that failed have said."""
        said = {rank: self._read(f"failed/{rank}") for rank in range(self.world) if rank != self.rank}
        return {rank: why for rank, why in said.items() if why}

    def _read(self, key: str) -> str:
        with self._store_lock:
            return self.store.get(key).decode() if self.store.check([key]) else ""


def _named(rank: int, state: dict[str, Any]) -> str:
    where = f" ({state['process']}, last at {state['place']})" if state else " (never heard)"
    return f"process {rank}{where}"


def is_lost_connection(error: RuntimeError) -> bool:
    """Tell whether an error is a backend's, that cannot reach another process."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)
