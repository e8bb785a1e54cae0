"""SynGait on disk: presets, settings, and writing the sequences in parallel.

Files::

    <output>/settings.json                                      the settings; a rerun must use the same
    <output>/SynGait.json                                       the partition, {"TRAIN_SET": [...], "TEST_SET": [...]}
    <output>/<id>/<type>/<view>/<view>.pkl                      uint8 (S, 64, 64), format "pickle"
    <output>/<id>/<type>/<view>/<id>-<type>-<view>-<frame>.png  320x240, format "png" (the raw layout of CASIA-B)

Sequences are written atomically (to a temporary name, then renamed): running an interrupted run again writes only the
missing ones.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dygait.errors import UserError
from dygait.files import check_settings, replacing, write_atomically
from dygait.synthetic.cameras import VIEWS
from dygait.synthetic.walker import TYPES, render_sequence, walk

VERSION = 1
"""To be incremented whenever the same settings give other pictures."""

FORMATS = ("pickle", "png")
MAX_FRAMES = 110

Normaliser = Callable[[np.ndarray], "np.ndarray | None"]
"""Converts a raw picture to a frame: :func:`dygait.preprocess.silhouettes.normalise_silhouette`."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that determine the pictures.

    Attributes:
        train_ids: the number of training ids, the first ones.
        test_ids: the number of test ids, the following ones.
        frames: the fewest and the most frames of a sequence.
        seed: of all random generators.
        format: ``pickle`` (normalised frames) or ``png`` (raw pictures).

    Raises:
        UserError: an invalid value.
    """

    train_ids: int
    test_ids: int
    frames: tuple[int, int]
    seed: int = 0
    format: str = "pickle"

    def __post_init__(self) -> None:
        if min(self.train_ids, self.test_ids) < 0 or not 0 < self.train_ids + self.test_ids < 1000:
            raise UserError(
                f"train_ids={self.train_ids}, test_ids={self.test_ids}: give two numbers with 1 to 999 ids in all"
            )
        if not 1 <= self.frames[0] <= self.frames[1] <= MAX_FRAMES:
            raise UserError(f"frames={self.frames}: give the fewest and the most, between 1 and {MAX_FRAMES}")
        if self.seed < 0:
            raise UserError(f"seed={self.seed}: give 0 or a positive whole number")
        if self.format not in FORMATS:
            raise UserError(f"format={self.format!r}: use one of {', '.join(FORMATS)}")

    @property
    def subjects(self) -> list[int]:
        """The numbers of all ids, training first."""
        return list(range(1, self.train_ids + self.test_ids + 1))

    def partition(self) -> dict[str, list[str]]:
        """The ids as three digits, under TRAIN_SET and TEST_SET."""
        ids = [f"{subject:03d}" for subject in self.subjects]
        return {"TRAIN_SET": ids[: self.train_ids], "TEST_SET": ids[self.train_ids :]}


PRESETS = {
    "quick": Settings(train_ids=40, test_ids=20, frames=(36, 40)),
    "full": Settings(train_ids=74, test_ids=50, frames=(48, 96)),
}


def generate(
    output: Path,
    settings: Settings,
    normalise: Normaliser,
    workers: int = 1,
    only: str = "all",
    progress: bool = True,
) -> int:
    """Write a dataset, or its missing sequences.

    Args:
        output: the folder to fill.
        settings: of the dataset.
        normalise: raw picture (240, 320) -> frame, or None for an empty picture, which is skipped.
        workers: processes; the result does not depend on their number.
        only: the sets to write: ``train``, ``test`` or ``all``. The partition always lists both.
        progress: show a progress bar.

    Returns:
        The number of sequences written; 0 if none was missing.

    Raises:
        UserError: the folder contains data of other settings, or other files.
    """
    if workers < 1:
        raise UserError(f"workers={workers}: give at least 1")
    _write_settings(output, settings)
    chosen = {
        "all": settings.subjects,
        "train": settings.subjects[: settings.train_ids],
        "test": settings.subjects[settings.train_ids :],
    }[only]
    walks = [
        (subject, kind, missing)
        for subject in chosen
        for kind in TYPES
        if (missing := tuple(view for view in VIEWS if not _target(output, settings, subject, kind, view).exists()))
    ]
    sequences = sum(len(views) for _, _, views in walks)
    task = functools.partial(_write_walk, output, settings, normalise)
    # Update often on a terminal, rarely in a log file.
    pause = 0.1 if sys.stderr.isatty() else 10.0
    silent = not (progress and walks)
    with tqdm(total=sequences, unit="sequence", desc="SynGait", disable=silent, mininterval=pause, miniters=1) as bar:
        for written in _map_parallel(task, walks, min(workers, len(walks))):
            bar.update(written)
    return sequences


def frames_of(settings: Settings, subject: int, kind: str, view: str, normalise: Normaliser) -> np.ndarray:
    """Return the normalised frames of one sequence, uint8 (S, R, R), as written to its pickle."""
    figure = walk(settings.seed, subject, kind, settings.frames)
    return _normalised(render_sequence(settings.seed, subject, kind, view, figure), normalise)


def _map_parallel(task: Callable[[tuple[int, str, tuple[str, ...]]], int], walks: list, workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from map(task, walks)
        return
    # spawn: safe if the caller has started threads.
    with multiprocessing.get_context("spawn").Pool(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(task, walks)


def _write_walk(output: Path, settings: Settings, normalise: Normaliser, job: tuple[int, str, tuple[str, ...]]) -> int:
    """Write one walk in some views; return the number of views."""
    subject, kind, views = job
    figure = walk(settings.seed, subject, kind, settings.frames)
    for view in views:
        pictures = render_sequence(settings.seed, subject, kind, view, figure)
        target = _target(output, settings, subject, kind, view)
        if settings.format == "png":
            _write_pictures(target, pictures, f"{subject:03d}-{kind}-{view}")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, exclusive=True) as file:
                # Protocol 4 is what every tool of the field reads and writes.
                pickle.dump(_normalised(pictures, normalise), file, protocol=4)
    return len(views)


def _target(output: Path, settings: Settings, subject: int, kind: str, view: str) -> Path:
    """Return the path that exists if and only if a sequence is complete: its pickle, or its folder of pictures."""
    folder = output / f"{subject:03d}" / kind / view
    return folder if settings.format == "png" else folder / f"{view}.pkl"


def _normalised(pictures: np.ndarray, normalise: Normaliser) -> np.ndarray:
    return np.stack([frame for picture in pictures if (frame := normalise(picture)) is not None])


def _write_pictures(target: Path, pictures: np.ndarray, name: str) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        if not cv2.imwrite(str(part / f"{name}-{number:03d}.png"), picture):
            raise OSError(f"{part}: a picture could not be written")
    part.replace(target)


def _write_settings(output: Path, settings: Settings) -> None:
    """Write settings and partition to the folder, or check that it was made with the same settings."""
    path = output / "settings.json"
    values = {"generator": f"SynGait {VERSION}", **dataclasses.asdict(settings), "frames": list(settings.frames)}
    check_settings(path, values)
    if path.exists():
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty and was not made by SynGait: give another --output, or delete it")
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "SynGait.json", json.dumps(settings.partition(), indent=2) + "\n")
    write_atomically(path, json.dumps(values, indent=2) + "\n")
