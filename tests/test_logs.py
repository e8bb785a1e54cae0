"""Log lines are written whatever happens to other processes and threads."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

from tqdm import tqdm

from dygait.logs import log, start_logging

FORK = multiprocessing.get_context("fork")


def _hold_lock(held: Callable[[], None], wait: Callable[[], object]) -> None:
    with tqdm.get_lock():
        held()
        wait()


def _write_line() -> None:
    start_logging()
    log.info("a line")


def test_a_process_killed_while_it_writes_blocks_no_other() -> None:
    _write_line()  # creates tqdm's lock, which the processes below inherit
    held, never = FORK.Event(), FORK.Event()
    process = FORK.Process(target=_hold_lock, args=(held.set, never.wait))
    process.start()
    assert held.wait(10)
    process.kill()
    process.join()
    for writer in (threading.Thread(target=_write_line, daemon=True), FORK.Process(target=_write_line, daemon=True)):
        writer.start()
        writer.join(10)
        assert not writer.is_alive()


def test_a_process_forked_while_a_thread_writes_can_write() -> None:
    held, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=_hold_lock, args=(held.set, done.wait))
    thread.start()
    assert held.wait(10)
    process = FORK.Process(target=_write_line, daemon=True)
    process.start()
    process.join(10)
    done.set()
    thread.join()
    assert process.exitcode == 0
