"""Jobs of the preparation of a raw dataset: planning them, and running one in a worker process.

A job is the pictures of a few whole sequences, or one nested archive. The order of jobs depends on names only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dygait.errors import UserError
from dygait.preprocess.archives import MAX_IN_MEMORY_BYTES, DamagedError, InputFile, list_files, members, read
from dygait.preprocess.images import MAX_IMAGE_BYTES
from dygait.preprocess.pictures_to_frames import Normalisation, NormalisedSequence, normalise_sequence, stored_sequence
from dygait.preprocess.rules import Layout, SequenceName, is_archive

_MAX_BUFFERED_BYTES = 2 * 2**30
_MAX_ARCHIVE_DEPTH = 4


@dataclass(frozen=True)
class Job:
    """Pictures, or an archive of pictures, to be prepared.

    Attributes:
        source: the archive or input that it is read from.
        pictures: the pictures of whole groups.
        archive: the archive of pictures, instead of `pictures`.
        finished: a tar that the planner itself has read to its end, instead of `pictures`: nothing to prepare.
    """

    source: str
    pictures: tuple[InputFile, ...] = ()
    archive: InputFile | None = None
    finished: InputFile | None = None


class JobResult(NamedTuple):
    """The result of a job: sequences, pictures that match no rule, and why an archive could not be read."""

    sequences: tuple[tuple[SequenceName, NormalisedSequence], ...] = ()
    unmatched: tuple[str, ...] = ()
    failure: str | None = None


class JobPlanner:
    """Divides inputs into jobs.

    Attributes:
        done: large tars, as (name, size), that are skipped.
        unmatched: pictures seen so far that match no rule.
        other_files: the number of other files seen so far, by suffix.
        failures: archives that could not be read, and why.
    """

    def __init__(self, layout: Layout, password: str | None) -> None:
        self.layout = layout
        self.password = password
        self.done: frozenset[tuple[str, int]] = frozenset()
        self.unmatched: list[str] = []
        self.other_files: Counter[str] = Counter()
        self.failures: dict[str, str] = {}

    def jobs(self, inputs: list[Path]) -> Iterator[Job]:
        """Yield the jobs of all inputs, in order.

        Raises:
            UserError: a missing input, an archive with links, a password that is missing or wrong.
        """
        for top in inputs:
            files = (file for file in list_files(top) if not self.layout.ignores(file.name))
            yield from self._plan_files(files, top.resolve().name, 0)

    def _plan_files(self, files: Iterator[InputFile], source: str, depth: int) -> Iterator[Job]:
        """Plan files that are sorted by folder, so that the files of a group are contiguous."""
        group: str | None = None
        pictures: list[InputFile] = []
        for file in files:
            if is_archive(file.name):
                yield from self._plan_archive(file, depth + 1)
            elif self.layout.is_picture(file.name):
                group_of_file = self.layout.group(file.name)
                if group_of_file is None:
                    self.unmatched.append(file.name)
                    continue
                if group_of_file != group and pictures:
                    yield Job(source, tuple(pictures))
                    pictures = []
                group = group_of_file
                pictures.append(file)
            else:
                self.other_files[Path(file.name).suffix] += 1
        if pictures:
            yield Job(source, tuple(pictures))

    def _plan_archive(self, file: InputFile, depth: int) -> Iterator[Job]:
        _check_depth(file, depth)
        try:
            if file.is_zip_on_disk:
                yield from self._plan_files(members(file, self.password, self.layout.needs), file.name, depth)
            elif file.size <= MAX_IN_MEMORY_BYTES:
                yield Job(file.name, archive=file)
            else:
                if (file.name, file.size) not in self.done:
                    yield from self._plan_large_tar(file, depth)
                yield Job(file.name, finished=file)
        except DamagedError as error:
            self.failures[file.name] = str(error)

    def _plan_large_tar(self, file: InputFile, depth: int) -> Iterator[Job]:
        """Plan a tar too large for memory: its files are read once, in stored order."""
        expected: Counter[str | None] | None = None
        buffered: dict[str, list[InputFile]] = {}
        size = 0
        for member in members(file, self.password, self.layout.needs):
            if is_archive(member.name):
                yield from self._plan_archive(member, depth + 1)
                continue
            if expected is None:
                expected = self._count_groups(file)  # to know when a group is complete
            group = self.layout.group(member.name)
            if group is None:
                self.unmatched.append(member.name)
                continue
            buffered.setdefault(group, []).append(member)
            size += member.size
            if size > _MAX_BUFFERED_BYTES:
                raise UserError(f"{file.name}: its sequences are too far apart to be read in memory; unpack it first")
            if len(buffered[group]) == expected[group]:
                pictures = buffered.pop(group)
                size -= sum(picture.size for picture in pictures)
                yield Job(file.name, tuple(pictures))

    def _count_groups(self, file: InputFile) -> Counter[str | None]:
        count: Counter[str | None] = Counter()

        def count_name(name: str) -> bool:
            if self.layout.needs(name) and self.layout.is_picture(name):
                count[self.layout.group(name)] += 1
            return False

        for _ in members(file, self.password, count_name):
            pass
        return count


def run_job(job: Job, layout: Layout, settings: Normalisation, password: str | None) -> JobResult:
    """Read, decode and normalise the pictures of a job; errors as `JobPlanner.jobs`."""
    pictures = {picture.name: picture for picture in job.pictures}
    if job.archive is not None:
        try:
            pictures = {file.name: file for file in _unpacked(job.archive, layout, password)}
        except DamagedError as error:
            return JobResult(failure=str(error))

    def load(name: str) -> bytes:
        return read(pictures[name], MAX_IMAGE_BYTES, password)

    sequences, unmatched = layout.arrange(pictures)
    normalised = []
    for key, names in sequences.items():
        normalise = stored_sequence if names[0].endswith(".pkl") else normalise_sequence
        normalised.append((key, normalise(names, load, settings)))
    return JobResult(tuple(normalised), tuple(unmatched))


def _unpacked(archive: InputFile, layout: Layout, password: str | None) -> Iterator[InputFile]:
    """Yield the pictures of an archive and of the archives nested in it."""
    size = 0
    waiting = [(archive, 1)]
    while waiting:
        inner, depth = waiting.pop()
        _check_depth(inner, depth)
        for file in members(inner, password, layout.needs):
            size += file.size
            if size > _MAX_BUFFERED_BYTES:
                raise UserError(f"{archive.name}: contains more than {_MAX_BUFFERED_BYTES >> 30} GiB; unpack it first")
            if is_archive(file.name):
                waiting.append((file, depth + 1))
            else:
                yield file


def _check_depth(archive: InputFile, depth: int) -> None:
    if depth > _MAX_ARCHIVE_DEPTH:
        raise UserError(f"{archive.name}: more than {_MAX_ARCHIVE_DEPTH} nested archives; unpack it first")
