"""``dygait prepare``: a raw dataset, as downloaded, to a store of normalised sequences.

What is written, beside the sequences::

    <output>/prepare_settings.json   what the frames depend on; a rerun must agree with it
    <output>/prepare_journal.jsonl   what became of each sequence
    <output>/prepare_report.json     the same, counted
    <output>/prepare_report.txt      and to be read

Sequences are written in an order that depends on names alone, each whole or not at all and before its line in the
journal. A run that was interrupted at any point is continued by the same command, and ends with the same files. Of two
runs at once on one folder, the second is refused.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from dygait import untrusted
from dygait.data.partition import BUILT_IN_PARTITIONS, Partition, coverage, load_partition
from dygait.data.stores.locks import lock
from dygait.data.writing import PackedStoreWriter, PickleTreeWriter, SequenceWriter
from dygait.errors import UserError
from dygait.files import write_atomically
from dygait.preprocess.jobs import Finished, Job, Plan, Result, run
from dygait.preprocess.journal import NAME as JOURNAL
from dygait.preprocess.journal import Journal, Outcome
from dygait.preprocess.layout import Key, Layout
from dygait.preprocess.layouts import LAYOUTS
from dygait.preprocess.report import as_text, summarise

LOCK = ".prepare.lock"
"""Held as long as a run is at work in its output; the file stays, empty."""

SETTINGS = "prepare_settings.json"

VERSION = 1
"""To be raised whenever the same pictures would give other frames."""

FORMATS: dict[str, Callable[[Path], SequenceWriter]] = {"pickle": PickleTreeWriter, "store": PackedStoreWriter}
"""The store behind each value of ``--format``; the values are declared in `dygait.commands.prepare`."""


def prepare(
    dataset: str,
    inputs: list[Path],
    output: Path,
    *,
    format: str = "pickle",
    password: str | None = None,
    workers: int = 1,
    height: int = 64,
    partition: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Prepare a dataset, or what is missing of it.

    Args:
        dataset: a name in `LAYOUTS`.
        inputs: archives or folders.
        output: the folder to fill.
        format: a name in `FORMATS`.
        password: of encrypted archives.
        workers: processes; the result does not depend on their number.
        height: rows and columns of a frame, even.
        partition: a JSON file; left out, the dataset's rule if it has one.
        progress: show a bar.

    Returns:
        the report, as it is written to `prepare_report.json`.

    Raises:
        UserError: an impossible option, an input that is not there or refused, a full disk.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: give at least 1")
    if height < 2 or height % 2:
        raise UserError(f"--height {height}: give an even number of rows, such as 64 or 128")
    names = [top.resolve().name for top in inputs]
    if len(set(names)) < len(names):
        raise UserError(
            f"--input: two inputs have the same name ({', '.join(names)}): give their common folder instead"
        )
    for top in inputs:
        if not top.exists():
            raise UserError(f"--input {top}: no such file or folder")
        if top.resolve() == output.resolve():
            raise UserError(f"--output {output}: the input itself; give another folder")
    known = load_partition(partition, dataset) if partition or dataset in BUILT_IN_PARTITIONS else None
    try:
        _refuse_foreign(output)
        output.mkdir(parents=True, exist_ok=True)
        with lock(output, LOCK):
            _claim(output, {"dataset": dataset, "format": format, "height": height, "version": VERSION})
            journal = Journal(output)
            writer = FORMATS[format](output)
            try:
                run_ = _Run(LAYOUTS[dataset], journal, writer, password)
                run_.go(inputs, partial(run, dataset=dataset, height=height, password=password), workers, progress)
            finally:
                writer.close()
                journal.close()
            if not journal.outcomes and not run_.plan.failures:
                raise UserError(
                    f"--input {', '.join(map(str, inputs))}: no picture of {dataset} in it; its paths look like "
                    f"{LAYOUTS[dataset].example}"
                )
            return _report(output, dataset, run_, known)
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: cannot be written ({error.strerror or error}): make room or mend it, then "
            "run the same command; what is written so far is kept"
        ) from None


class _Run:
    """One run: what it has met, and the two places it writes to."""

    def __init__(self, layout: Layout, journal: Journal, writer: SequenceWriter, password: str | None) -> None:
        self.journal = journal
        self.writer = writer
        self.plan = Plan(layout, password)
        self.duplicates: dict[str, list[str]] = {}
        self._layout = layout
        self._met: dict[str, str] = {}  # group -> where it was found first
        # An archive is done if all that it gave is still there and nothing was lost on the way.
        unfinished = {o.source for k, o in journal.outcomes.items() if not self._is_done(k)}
        self.plan.done = frozenset(
            (name, size)
            for name, size in journal.archives
            if not any(source == name or source.startswith(f"{name}/") for source in unfinished)
        )

    def go(self, inputs: list[Path], work: Callable[[Job], Result], workers: int, progress: bool) -> None:
        # On a terminal a live bar, in a log file a line now and then.
        pause = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(unit="sequence", desc=self._layout.name, disable=not progress, mininterval=pause, miniters=1) as bar:
            for job, result in _results(work, self._open_jobs(inputs, bar), workers):
                self._take(job, result)
                bar.update(max(1, len(result.sequences)))

    def _open_jobs(self, inputs: list[Path], bar: tqdm) -> Iterator[Job | Finished]:
        """Yield the jobs that are left to be done."""
        for job in self.plan.jobs(inputs):
            if isinstance(job, Finished):
                yield job
            elif job.archive is not None:
                if (job.archive.name, job.archive.size) in self.plan.done:
                    for key, outcome in self.journal.outcomes.items():
                        if outcome.source == job.source:
                            self._first(self._layout.slot(key), job.source)
                else:
                    yield job
            else:
                keys, _ = self._layout.arrange(picture.name for picture in job.pictures)
                if all(self._is_done(key) for key in keys):
                    for key in keys:
                        self._first(self._layout.slot(key), _place(job))
                    bar.update(len(keys))
                else:
                    yield job

    def _is_done(self, key: Key) -> bool:
        outcome = self.journal.outcomes.get(key)
        return outcome is not None and not outcome.lost and (not outcome.frames or self.writer.contains(*key))

    def _first(self, name: str, place: str) -> bool:
        """Note where something was found; tell whether it is the first or the same place."""
        first = self._met.setdefault(name, place)
        if first != place:
            places = self.duplicates.setdefault(name, [first])
            if place not in places:
                places.append(place)
        return first == place

    def _take(self, job: Job | Finished, result: Result) -> None:
        if isinstance(job, Finished):
            if job.archive.name not in self.plan.failures:
                self.journal.add_archive(job.archive.name, job.archive.size, ())
            return
        if result.failure is not None:
            self.plan.failures[job.source] = result.failure
            return
        for prepared in result.sequences:
            key = prepared.key
            if not self._first(self._layout.slot(key), _place(job)):
                continue
            outcome = Outcome(len(prepared.frames), prepared.skipped, job.source)
            before = self.journal.outcomes.get(key)
            same = before is not None and (before.frames, before.skipped) == (outcome.frames, outcome.skipped)
            if outcome.frames and not (same and self.writer.contains(*key)):
                self.writer.write(*key, prepared.frames)
            if not same:
                self.journal.add_sequence(key, outcome)
        if job.archive is not None:
            self.journal.add_archive(job.archive.name, job.archive.size, tuple(sorted(result.unmatched)))


def _place(job: Job) -> str:
    """Where a job's pictures lie, for the report on what was found twice."""
    if job.archive is not None:
        return job.source
    return job.pictures[0].name.rpartition("/")[0]


def _results(
    work: Callable[[Job], Result], jobs: Iterator[Job | Finished], workers: int
) -> Iterator[tuple[Job | Finished, Result]]:
    """Do the jobs, some at a time, and yield their results in the order of the jobs."""
    if workers == 1:
        for job in jobs:
            yield job, Result() if isinstance(job, Finished) else work(job)
        return
    # A fresh interpreter per worker: safe whatever threads the caller has started. The password goes through a pipe.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting: deque[tuple[Job | Finished, Future[Result] | None]] = deque()
    try:
        for job in jobs:
            waiting.append((job, None if isinstance(job, Finished) else pool.submit(work, job)))
            if len(waiting) > 2 * workers:
                yield _result(waiting)
        while waiting:
            yield _result(waiting)
    except BrokenProcessPool:
        raise UserError(
            "a worker process ended unexpectedly, for want of memory perhaps: run the same command with fewer "
            "--workers; what is written so far is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _result(waiting: deque[tuple[Job | Finished, Future[Result] | None]]) -> tuple[Job | Finished, Result]:
    job, future = waiting.popleft()
    return job, Result() if future is None else future.result()


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the work
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _report(output: Path, dataset: str, run_: _Run, partition: Partition | None) -> dict[str, Any]:
    strangers = {*run_.plan.unmatched, *(name for names in run_.journal.archives.values() for name in names)}
    report = summarise(run_.journal.outcomes, strangers, run_.plan.failures, run_.duplicates)
    ids = {key.id for key, outcome in run_.journal.outcomes.items() if outcome.frames}
    if partition is None:
        said = [f"none is built in for {dataset}: not compared"]
        absent: dict[str, Any] = {}
    else:
        said = coverage(partition, sorted(ids)) or ["every id is there"]
        absent = {
            "missing_train_ids": [name for name in partition.train if name not in ids],
            "missing_test_ids": [name for name in partition.test if name not in ids],
            "ids_in_neither_set": sorted(ids - {*partition.train, *partition.test}),
        }
    content = {"dataset": dataset, **report, **absent}
    write_atomically(output / "prepare_report.json", json.dumps(content, indent=2) + "\n")
    write_atomically(output / "prepare_report.txt", as_text(f"{dataset}, prepared", report, said))
    return content


def _refuse_foreign(output: Path) -> None:
    """Touch nothing that another program made."""
    ours = (SETTINGS, JOURNAL, LOCK)
    if not output.exists() or (output / SETTINGS).exists():
        return
    if not output.is_dir() or any(p.name not in ours for p in output.iterdir()):
        raise UserError(f"--output {output}: not empty and not made by `dygait prepare`; give another folder")


def _claim(output: Path, ours: dict[str, Any]) -> None:
    """Make the folder ours, or make sure that it already is."""
    path = output / SETTINGS
    if path.exists():
        theirs: Any = None
        with contextlib.suppress(ValueError):
            theirs = untrusted.parse_json(untrusted.read_bytes(path))
        journal = output / JOURNAL
        if theirs != ours and journal.exists() and journal.stat().st_size:
            changed = [key for key in ours if not isinstance(theirs, dict) or theirs.get(key) != ours[key]]
            raise UserError(
                f"{path} says that this folder was made with other settings ({', '.join(changed)}): give the same "
                "ones, another --output, or delete the folder"
            )
    write_atomically(path, json.dumps(ours, indent=2) + "\n")
