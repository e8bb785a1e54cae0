"""SynGait on disk: writing the sequences in parallel.

Files::

    <output>/settings.json                                      the settings; a rerun must use the same
    <output>/SynGait.json                                       the partition, {"TRAIN_SET": [...], "TEST_SET": [...]}
    <output>/<id>/<type>/<view>/<view>.pkl                      uint8 (S, 64, 64), format "pickle"
    <output>/<id>/<type>/<view>/0_heatmap.pkl, 1_sil.pkl        with heat maps: uint8 (S, 2, 64, 64), (S, 64, 64)
    <output>/<id>/<type>/<view>/<id>-<type>-<view>-<frame>.png  320x240, format "png" (the raw layout of CASIA-B)

Sequences are written atomically (to a temporary name, then renamed), so that an interrupted run can be repeated and
writes only the missing ones.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import pickle
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dygait.errors import UserError
from dygait.files import check_settings, replacing, write_atomically, write_errors
from dygait.frames.heatmaps import HEAT_MAPS, SILHOUETTES
from dygait.processes import run_in_order
from dygait.synthetic.key_points import render_heat_maps
from dygait.synthetic.presets import CASIA
from dygait.synthetic.settings import VERSION, Settings
from dygait.synthetic.walker import render_frames, render_sequence, walk


def generate(
    output: Path,
    settings: Settings,
    workers: int = 1,
    only: str = "all",
    progress: bool = True,
) -> int:
    """Write a dataset, or its missing sequences.

    Args:
        workers: number of processes; the result does not depend on it.
        only: the set to write: ``train``, ``test`` or ``all``. The partition always lists both.

    Returns:
        The number of sequences written; 0 if none was missing.

    Raises:
        UserError: the folder contains data of other settings, or other files, or cannot be written.
    """
    if workers < 1:
        raise UserError(f"workers={workers}: give at least 1")
    _write_settings(output, settings)
    subjects = {
        "all": settings.subjects,
        "train": settings.subjects[: settings.train_ids],
        "test": settings.subjects[settings.train_ids :],
    }[only]
    walks = [
        (subject, kind, missing)
        for subject, kind in itertools.product(subjects, settings.types)
        if (missing := tuple(v for v in settings.views if not _target(output, settings, subject, kind, v).exists()))
    ]
    sequences = sum(len(views) for _, _, views in walks)
    task = functools.partial(_write_walk, output, settings)
    # Update often on a terminal, rarely in a log file.
    pause = 0.1 if sys.stderr.isatty() else 10.0
    silent = not (progress and walks)
    bar = tqdm(total=sequences, unit="sequence", desc="SynGait", disable=silent, mininterval=pause, miniters=1)
    with write_errors(output), bar:
        for _, written in run_in_order(task, walks, min(workers, len(walks))):
            bar.update(written)
    return sequences


def _write_walk(output: Path, settings: Settings, job: tuple[int, str, tuple[str, ...]]) -> int:
    """Write one walk in some views; return the number of views."""
    subject, kind, views = job
    figure = walk(settings, subject, kind)
    for view in views:
        target = _target(output, settings, subject, kind, view)
        if settings.format == "png":
            pictures = render_sequence(settings, subject, kind, view, figure)
            _write_pictures(target, pictures, f"{subject:03d}-{kind}-{view}")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if settings.heatmaps:
                _write_pickle(target.with_name(HEAT_MAPS), render_heat_maps(settings, subject, kind, view, figure))
            _write_pickle(target, render_frames(settings, subject, kind, view, figure))
    return len(views)


def _target(output: Path, settings: Settings, subject: int, kind: str, view: str) -> Path:
    """Return the path that exists exactly if a sequence is complete: its last pickle, or its folder of pictures."""
    folder = output / f"{subject:03d}" / kind / view
    if settings.format == "png":
        return folder
    return folder / (SILHOUETTES if settings.heatmaps else f"{view}.pkl")


def _write_pickle(path: Path, frames: np.ndarray) -> None:
    with replacing(path, exclusive=True) as file:
        pickle.dump(frames, file, protocol=4)  # which all common tools can read


def _write_pictures(target: Path, pictures: np.ndarray, name: str) -> None:
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        if not cv2.imwrite(str(temporary / f"{name}-{number:03d}.png"), picture):
            raise OSError(f"{temporary}: a picture could not be written")
    temporary.replace(target)


def _write_settings(output: Path, settings: Settings) -> None:
    """Write settings and partition to the folder, or check that an existing one has the same settings."""
    path = output / "settings.json"
    values = {"generator": f"SynGait {VERSION}", **dataclasses.asdict(settings), "frames": list(settings.frames)}
    del values["world"]
    if not settings.heatmaps:  # folders of older versions lack the key
        del values["heatmaps"]
    if knobs := settings.world.differences(CASIA):  # folders of older versions, which can be continued, lack the key
        values["world"] = knobs
    check_settings(path, values)
    if path.exists():
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty and was not made by SynGait: give another --output, or delete it")
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "SynGait.json", json.dumps(settings.partition(), indent=2) + "\n")
    write_atomically(path, json.dumps(values, indent=2) + "\n")
