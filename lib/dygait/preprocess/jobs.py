"""Preparing a raw dataset in pieces: which pieces there are, and what a worker process does with one.

A job is the pictures of a few whole sequences, or one inner archive. Jobs come in an order that depends on names alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from dygait.errors import UserError
from dygait.preprocess.archives import LARGEST_INNER, Blob, DamagedError, files_below, members, read
from dygait.preprocess.images import LARGEST_IMAGE, ImageError, decode_silhouette
from dygait.preprocess.layout import Key, Layout
from dygait.preprocess.layouts import LAYOUTS
from dygait.preprocess.silhouettes import normalise_silhouette

NOBODY = "nobody in it"
"""Why a picture without a person is left out: part of the normalisation, not a loss."""

_LARGEST_HELD = 2 * 2**30
_DEEPEST_ARCHIVE = 4


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        source: what it is read from: an archive, or the input's name.
        group: what the pictures have in common; empty for an archive.
        pictures: the pictures of whole groups.
        archive: or the archive that holds them.
    """

    source: str
    group: str = ""
    pictures: tuple[Blob, ...] = ()
    archive: Blob | None = None


@dataclass(frozen=True)
class Finished:
    """A tar that has been read to its end by the planner itself: nothing of it is left to be done."""

    archive: Blob


@dataclass(frozen=True)
class Prepared:
    """One sequence: uint8 (S, R, R), S possibly 0, and what was left out, as (picture, reason)."""

    key: Key
    frames: np.ndarray
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Result:
    """What came of a job: sequences, pictures that fit no rule, and why an archive could not be read."""

    sequences: tuple[Prepared, ...] = ()
    unmatched: tuple[str, ...] = ()
    failure: str | None = None


@dataclass
class Plan:
    """The jobs of some inputs.

    Attributes:
        layout: of the dataset.
        password: of encrypted archives.
        done: large tars, as (name, size), that need not be read again.
        unmatched: pictures met so far that fit no rule.
        failures: archives that could not be read, and why.
    """

    layout: Layout
    password: str | None = field(default=None, repr=False)
    done: frozenset[tuple[str, int]] = frozenset()
    unmatched: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def jobs(self, inputs: list[Path]) -> Iterator[Job | Finished]:
        """Yield the pieces of all inputs, in order.

        Raises:
            UserError: an input that is not there, an unsafe archive, a password that is missing or wrong.
        """
        for top in inputs:
            name = top.resolve().name
            yield from self._listed((blob for blob in files_below(top) if not self.layout.ignores(blob.name)), name, 0)

    def _wanted(self, name: str) -> bool:
        return _is_wanted(self.layout, name)

    def _listed(self, blobs: Iterator[Blob], source: str, depth: int) -> Iterator[Job | Finished]:
        """Plan files that come in order of their folders: those of a group follow each other."""
        group: str | None = None
        pictures: list[Blob] = []
        for blob in blobs:
            if blob.is_archive:
                yield from self._archive(blob, depth + 1)
            elif _is_picture(blob.name):
                found = self.layout.group(blob.name)
                if found is None:
                    self.unmatched.append(blob.name)
                    continue
                if found != group and group is not None:
                    yield Job(source, group, tuple(pictures))
                    pictures = []
                group = found
                pictures.append(blob)
        if group is not None:
            yield Job(source, group, tuple(pictures))

    def _archive(self, blob: Blob, depth: int) -> Iterator[Job | Finished]:
        if depth > _DEEPEST_ARCHIVE:
            raise UserError(f"{blob.name}: more than {_DEEPEST_ARCHIVE} archives within each other; unpack it first")
        try:
            in_memory = blob.content is not None or blob.member
            if blob.name.lower().endswith(".zip") and not in_memory:
                yield from self._listed(members(blob, self.password, self._wanted), blob.name, depth)
            elif blob.size <= LARGEST_INNER:
                yield Job(blob.name, archive=blob)
            elif (blob.name, blob.size) in self.done:
                yield Finished(blob)
            else:
                yield from self._stream(blob, depth)
                yield Finished(blob)
        except DamagedError as error:
            self.failures[blob.name] = str(error)

    def _stream(self, blob: Blob, depth: int) -> Iterator[Job | Finished]:
        """Plan a tar too large to be held: its files are seen once, in the order in which they were packed."""
        expected: Counter[str | None] | None = None
        held: dict[str, list[Blob]] = {}
        size = 0
        for member in members(blob, self.password, self._wanted):
            if member.is_archive:
                yield from self._archive(member, depth + 1)
                continue
            if expected is None:
                # Pictures lie here directly: one look at the names beforehand tells when a group is complete.
                expected = self._census(blob)
            group = self.layout.group(member.name)
            if group is None:
                self.unmatched.append(member.name)
                continue
            held.setdefault(group, []).append(member)
            size += member.size
            if size > _LARGEST_HELD:
                raise UserError(f"{blob.name}: its sequences lie too far apart to be read in place; unpack it first")
            if len(held[group]) == expected[group]:
                pictures = held.pop(group)
                size -= sum(picture.size for picture in pictures)
                yield Job(blob.name, group, tuple(pictures))

    def _census(self, blob: Blob) -> Counter[str | None]:
        count: Counter[str | None] = Counter()

        def note(name: str) -> bool:
            if self._wanted(name) and _is_picture(name):
                count[self.layout.group(name)] += 1
            return False

        for _ in members(blob, self.password, note):
            pass
        return count


def run(job: Job, dataset: str, height: int, password: str | None) -> Result:
    """Read, decode and normalise the pictures of a job.

    Raises:
        UserError: an unsafe archive, or a password that is missing or wrong.
    """
    layout = LAYOUTS[dataset]
    pictures = {picture.name: picture for picture in job.pictures}
    if job.archive is not None:
        try:
            for blob in _unpacked(job.archive, layout, password):
                pictures[blob.name] = blob
        except DamagedError as error:
            return Result(failure=str(error))
    sequences, unmatched = layout.arrange(pictures)
    done = []
    for key, names in sequences.items():
        frames, skipped = [], []
        for name in names:
            try:
                content = read(pictures[name], LARGEST_IMAGE, password)
                frames.append(_frame(decode_silhouette(content), height, layout.normalised))
            except ImageError as problem:
                skipped.append((name, str(problem)))
            except DamagedError:
                skipped.append((name, "unreadable"))
        stacked = np.stack(frames) if frames else np.zeros((0, height, height), np.uint8)
        done.append(Prepared(key, stacked, tuple(skipped)))
    return Result(tuple(done), tuple(unmatched))


def _frame(image: np.ndarray, height: int, normalised: bool) -> np.ndarray:
    if normalised and image.shape == (height, height):
        if not image.any():
            raise ImageError(NOBODY)
        return image
    frame = normalise_silhouette(image, height)
    if frame is None:
        raise ImageError(NOBODY)
    return frame


def _unpacked(archive: Blob, layout: Layout, password: str | None) -> Iterator[Blob]:
    """Yield the pictures of an archive and of those within it."""
    size = 0
    waiting = [(archive, 1)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > _DEEPEST_ARCHIVE:
            raise UserError(f"{inner.name}: more than {_DEEPEST_ARCHIVE} archives within each other; unpack it first")
        for blob in members(inner, password, partial(_is_wanted, layout)):
            size += blob.size
            if size > _LARGEST_HELD:
                raise UserError(f"{archive.name}: holds more than {_LARGEST_HELD >> 30} GiB; unpack it first")
            if blob.is_archive:
                waiting.append((blob, depth + 1))
            else:
                yield blob


def _is_wanted(layout: Layout, name: str) -> bool:
    return not layout.ignores(name) and (_is_picture(name) or Blob(name, 0).is_archive)


def _is_picture(name: str) -> bool:
    return name[-4:].lower() == ".png"
