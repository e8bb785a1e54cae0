"""Running jobs in worker processes, with results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from dygait.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")
REMEDY = "run the same command with fewer --workers; what is written so far is kept"


def run_in_order(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int, remedy: str = REMEDY
) -> Iterator[tuple[Job, Result]]:
    """Yield each job and its result, in order; a few jobs are submitted ahead.

    Raises:
        UserError: a worker process has died; the message ends with the remedy.
    """
    if workers <= 1:
        for job in jobs:
            yield job, work(job)
        return
    # spawn: safe if the caller has started threads. What `work` holds, such as a password, goes through a pipe.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    except BrokenProcessPool:
        raise UserError(f"a worker process ended unexpectedly, perhaps out of memory: {remedy}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
