"""Convert a downloaded raw dataset to normalised sequences: `dygait prepare`.

Sequences are written in an order that depends on names only, each atomically and before its line in the journal. An
interrupted run is resumed by the same command and gives the same files. A lock prevents two runs on one folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dygait.data.partition import BUILT_IN_PARTITIONS, Partition, coverage, load_partition
from dygait.data.stores.locks import lock
from dygait.data.stores.packed_writer import PackedWriter
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import UserError
from dygait.files import check_settings, write_atomically
from dygait.preprocess.jobs import Job, JobPlanner, JobResult, run_job
from dygait.preprocess.journal import NAME as JOURNAL
from dygait.preprocess.journal import Journal, Outcome
from dygait.preprocess.layouts import LAYOUTS
from dygait.preprocess.pictures_to_frames import Normalisation
from dygait.preprocess.report import format_report, summarise
from dygait.preprocess.rules import Layout, SequenceName
from dygait.processes import run_in_order

LOCK = ".prepare.lock"
"""Locked while a run writes to the folder; the empty file stays."""

SETTINGS = "prepare_settings.json"
"""The settings that determine the frames; a rerun must use the same."""

VERSION = 1
"""Increment it whenever the same pictures give other frames."""

Writer = PickleTreeWriter | PackedWriter

FORMATS: dict[str, Callable[[Path], Writer]] = {
    "pickle": PickleTreeWriter,
    "store": partial(PackedWriter, source="raw pictures", others=True),
}
"""The writer of each value of ``--format``; the values are declared in `dygait.commands.prepare`."""


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
    clean: bool | None = None,
    every: int = 1,
) -> dict[str, Any]:
    """Prepare a dataset, or its missing sequences, and write and return a report; arguments as the options.

    The result does not depend on the number of workers. Without a partition, the built-in one is used, if there is one.
    Masks are cleaned if `clean`; None to clean those of a user's own folders. Every nth picture is used, n is `every`.

    Raises:
        UserError: an invalid option, a missing input, an archive with links, a full disk.
    """
    layout = LAYOUTS[dataset]
    clean = layout.own if clean is None else clean
    _check_options(layout, inputs, output, workers, height, every)
    loaded_partition = load_partition(partition, dataset) if partition or dataset in BUILT_IN_PARTITIONS else None
    try:
        output.mkdir(parents=True, exist_ok=True)
        with lock(output, LOCK):
            journal = Journal(output)
            settings = {"dataset": dataset, "format": format, "height": height, "version": VERSION}
            settings |= {"clean": "auto"} if clean else {}
            settings |= {"every": every} if every > 1 else {}
            if journal.outcomes or journal.archives:
                check_settings(output / SETTINGS, settings)
            write_atomically(output / SETTINGS, json.dumps(settings, indent=2) + "\n")
            writer = FORMATS[format](output)
            try:
                preparation = _Preparation(layout, journal, writer, password)
                frames = Normalisation(height, clean, layout.normalised, numbered=layout.own, every=every)
                work = partial(run_job, layout=layout, settings=frames, password=password)
                preparation.run(inputs, work, workers)
            finally:
                writer.close()
                journal.close()
            if not journal.outcomes and not preparation.planner.failures:
                raise UserError(_nothing_found(inputs, preparation.planner))
            return _report(output, dataset, clean, preparation, loaded_partition)
    except OSError as error:
        raise UserError(
            f"{error.filename or output}: cannot be written ({error.strerror or error}): free space or fix it, then "
            "run the same command; what is written so far is kept"
        ) from None


def _check_options(layout: Layout, inputs: list[Path], output: Path, workers: int, height: int, every: int) -> None:
    if workers < 1:
        raise UserError(f"--workers {workers}: give at least 1")
    if every < 1:
        raise UserError(f"--every {every}: give 1 for every picture, 2 for every second one")
    if height < 2 or height % 2:
        raise UserError(f"--height {height}: give an even number of rows, such as 64 or 128")
    if layout.own and len(inputs) > 1:
        raise UserError(f"--input: {layout.name} takes one folder, the one that holds the folders of the ids")
    names = [top.resolve().name for top in inputs]
    if len(set(names)) < len(names):
        raise UserError(f"--input: two have the same name ({', '.join(names)}): give their common folder instead")
    for top in inputs:
        if not top.exists():
            raise UserError(f"--input {top}: no such file or folder")
        if top.resolve() == output.resolve():
            raise UserError(f"--output {output}: the input itself; give another folder")
    if (output / SETTINGS).exists() or not output.exists():
        return
    if not output.is_dir() or {path.name for path in output.iterdir()} - {JOURNAL, LOCK}:
        raise UserError(f"--output {output}: not empty and not made by `dygait prepare`; give another folder")


def _nothing_found(inputs: list[Path], planner: JobPlanner) -> str:
    """Return the message for inputs without a picture of the layout, which names the files that they have."""
    layout, found_instead = planner.layout, ""
    if planner.unmatched:
        found_instead = f"; it has {len(planner.unmatched)} pictures such as {planner.unmatched[0]}"
    elif planner.other_files:
        suffix, count = planner.other_files.most_common(1)[0]
        found_instead = f"; it has {count} files {suffix or 'without a suffix'}, and reads {', '.join(layout.suffixes)}"
    names = ", ".join(map(str, inputs))
    return f"--input {names}: no picture of {layout.name}, whose paths are like {layout.example}{found_instead}"


class _Preparation:
    """The state of a run: its journal and writer, and the locations of the sequences so far."""

    def __init__(self, layout: Layout, journal: Journal, writer: Writer, password: str | None) -> None:
        self.journal = journal
        self.writer = writer
        self.planner = JobPlanner(layout, password)
        self.duplicates: dict[str, list[str]] = {}
        self._layout = layout
        self._first_locations: dict[str, str] = {}  # group -> its first location
        # An archive is done if all of its sequences are still there and nothing was lost.
        unfinished = {o.source for k, o in journal.outcomes.items() if not self._is_done(k)}
        self.planner.done = frozenset(
            (name, size)
            for name, size in journal.archives
            if not any(source == name or source.startswith(f"{name}/") for source in unfinished)
        )

    def run(self, inputs: list[Path], work: Callable[[Job], JobResult], workers: int) -> None:
        """Run the jobs that are not done yet; the bar is updated rarely outside a terminal."""
        pause = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(unit="sequence", desc=self._layout.name, mininterval=pause, miniters=1) as bar:
            for job, result in run_in_order(work, self._open_jobs(inputs, bar), workers):
                self._record(job, result)
                bar.update(max(1, len(result.sequences)))

    def _open_jobs(self, inputs: list[Path], bar: tqdm) -> Iterator[Job]:
        """Yield the jobs that are not done yet."""
        for job in self.planner.jobs(inputs):
            keys: list[SequenceName] = []
            if job.archive is not None:
                is_done = (job.archive.name, job.archive.size) in self.planner.done
                if is_done:
                    keys = [key for key, outcome in self.journal.outcomes.items() if outcome.source == job.source]
            else:
                keys = list(self._layout.arrange(picture.name for picture in job.pictures)[0])
                is_done = job.finished is None and all(self._is_done(key) for key in keys)
            if not is_done:
                yield job
                continue
            for key in keys:
                self._is_first_copy(key, job)
            bar.update(len(keys))

    def _is_done(self, key: SequenceName) -> bool:
        outcome = self.journal.outcomes.get(key)
        return outcome is not None and not outcome.lost and (not outcome.frames or self.writer.contains(*key))

    def _is_first_copy(self, key: SequenceName, job: Job) -> bool:
        """Record the location of a sequence; return whether it is the first one of the sequence."""
        name = self._layout.output_name(key)
        location = job.source if job.archive is not None else job.pictures[0].name.rpartition("/")[0]
        first = self._first_locations.setdefault(name, location)
        if first != location:
            locations = self.duplicates.setdefault(name, [first])
            if location not in locations:
                locations.append(location)
        return first == location

    def _record(self, job: Job, result: JobResult) -> None:
        if result.failure is not None:
            self.planner.failures[job.source] = result.failure
            return
        for key, (frames, skipped, remarks) in result.sequences:
            if not self._is_first_copy(key, job):
                continue
            outcome = Outcome(len(frames), skipped, job.source, remarks)
            before = self.journal.outcomes.get(key)
            same = before is not None and (before.frames, before.skipped) == (outcome.frames, outcome.skipped)
            if outcome.frames and not (same and self.writer.contains(*key)):
                self.writer.write(*key, frames)
            if not same:
                self.journal.add_sequence(key, outcome)
        archive = job.archive or job.finished
        if archive is not None and archive.name not in self.planner.failures:
            self.journal.add_archive(archive.name, archive.size, tuple(sorted(result.unmatched)))


def _report(
    output: Path, dataset: str, clean: bool, preparation: _Preparation, partition: Partition | None
) -> dict[str, Any]:
    in_archives = (name for names in preparation.journal.archives.values() for name in names)
    unmatched = {*preparation.planner.unmatched, *in_archives}
    outcomes = preparation.journal.outcomes
    report = summarise(outcomes, unmatched, preparation.planner.failures, preparation.duplicates)
    ids = {key.id for key, outcome in outcomes.items() if outcome.frames}
    if partition is None:
        lines = [f"none is built in for {dataset}: not compared"]
        missing: dict[str, Any] = {}
    else:
        lines = coverage(partition, sorted(ids)) or ["no id is missing"]
        missing = {
            "missing_train_ids": [name for name in partition.train if name not in ids],
            "missing_test_ids": [name for name in partition.test if name not in ids],
            "ids_in_neither_set": sorted(ids - {*partition.train, *partition.test}),
        }
    content = {"dataset": dataset, "clean": "auto" if clean else "none", **report, **missing}
    write_atomically(output / "prepare_report.json", json.dumps(content, indent=2) + "\n")
    write_atomically(output / "prepare_report.txt", format_report(f"{dataset}, prepared", report, lines))
    return content
