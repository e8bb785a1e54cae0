"""Key points to heat maps, one file for each sequence, beside silhouettes: `dygait heatmaps`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dygait.data.stores import Store, open_store
from dygait.data.stores.locks import lock
from dygait.data.stores.packed_writer import PackedWriter
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import UserError
from dygait.frames.heatmaps import HEAT_MAPS, SILHOUETTES, draw_heat_maps
from dygait.preprocess.poses import SUFFIXES, read_poses
from dygait.processes import run_in_order

_LOCK = ".heatmaps.lock"

Key = tuple[str, str, str]
Writer = PickleTreeWriter | PackedWriter


@dataclass
class Written:
    """Numbers of written sequences and frames, and the inputs that could not be used, with reasons."""

    sequences: int = 0
    frames: int = 0
    lost: list[str] = field(default_factory=list)


def write_heat_maps(
    poses: Path,
    output: Path,
    silhouettes: str | None = None,
    format: str = "pickle",
    pattern: str = "*",
    workers: int = 1,
) -> Written:
    """Write the heat maps of a tree of key points, optionally with silhouettes; existing sequences are skipped.

    Args:
        poses: a folder `<id>/<type>/<view>/<file>`, files as `read_poses` reads them.
        output: the folder to fill.
        silhouettes: a tree of pickles or a packed store, of which the first file of each sequence is copied. Sequences
            that it lacks, or has with another length, are not written. None for heat maps alone.
        format: `pickle`, or `store` for a packed store.
        pattern: of the names of the files; of several files in a folder, the first is used.
        workers: number of processes, which does not change the result.

    Raises:
        UserError: there is no file of key points, or the output cannot be written.
    """
    files: dict[Key, Path] = {}
    for path in sorted(poses.glob(f"*/*/*/{pattern}"), reverse=True):
        if path.suffix in SUFFIXES:
            subject, kind, view, _ = path.parts[-4:]
            files[subject, kind, view] = path
    if not files:
        raise UserError(f"--input {poses}: no <id>/<type>/<view>/{pattern} of {', '.join(SUFFIXES)}")
    store = None if silhouettes is None else open_store(silhouettes)
    indices = {} if store is None else {key: index for index, key in enumerate(store.table.all_keys())}
    output.mkdir(parents=True, exist_ok=True)
    with lock(output, _LOCK):
        is_store = format == "store"
        writer: Writer = PackedWriter(output, "key points", others=True) if is_store else PickleTreeWriter(output)
        last_file = HEAT_MAPS if store is None else SILHOUETTES
        jobs = sorted((key, path) for key, path in files.items() if not writer.contains(*key, last_file))
        try:
            return _write(jobs, writer, store, indices, workers)
        finally:
            writer.close()


def _write(
    jobs: list[tuple[Key, Path]], writer: Writer, store: Store | None, indices: dict[Key, int], workers: int
) -> Written:
    written = Written()
    results = run_in_order(_draw, jobs, min(workers, len(jobs)))
    for (key, path), maps in tqdm(results, total=len(jobs), unit="sequence", disable=None):
        frames = store.read(indices[key]) if store is not None and key in indices else None
        if isinstance(maps, str):
            written.lost.append(f"{path}: {maps}")
        elif store is not None and frames is None:
            written.lost.append(f"{path}: there are no silhouettes of it")
        elif frames is not None and len(frames) != len(maps):
            written.lost.append(f"{path}: it has {len(maps)} frames, its silhouettes have {len(frames)}")
        else:
            writer.write(*key, maps, HEAT_MAPS)
            if frames is not None:
                writer.write(*key, frames, SILHOUETTES)
            written.sequences += 1
            written.frames += len(maps)
    return written


def _draw(job: tuple[Key, Path]) -> np.ndarray | str:
    """Return the heat maps of a sequence, or the reason why there are none."""
    _, path = job
    try:
        return draw_heat_maps(read_poses(path))
    except UserError as error:
        return str(error).removeprefix(f"{path} ")
