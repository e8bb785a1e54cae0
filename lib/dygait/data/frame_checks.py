"""Checks of the frames of a dataset: frames that jump against their neighbours, or were never normalised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dygait.data.stores import RenderedStore, Store
from dygait.data.stores.base import Progress, no_progress
from dygait.errors import UserError
from dygait.frames.jumping_frames import Jump, find_jumps, measure
from dygait.frames.normalisation import is_normalised

_SAMPLE = 300
"""The number of sequences that are checked unless `every` is set; it takes seconds."""
_MAX_SEQUENCES, _MAX_FRAMES = 10, 5  # that messages name


def check_frames(store: Store, every: bool = False, progress: Progress = no_progress) -> list[str]:
    """Check the silhouettes of evenly spaced sequences, or of `every` one, and return lines to print.

    Unreadable sequences and those of several channels are skipped. Rendered frames are not checked.
    """
    if isinstance(store, RenderedStore):
        return []
    count = len(store.table)
    checked = count if every else min(count, _SAMPLE)
    indices = np.unique(np.linspace(0, count - 1, checked).round().astype(int))
    jumping: dict[str, list[Jump]] = {}
    raw: dict[str, tuple[int, ...]] = {}
    frames_checked = 0
    for index in progress(indices.tolist(), len(indices)):
        name = "/".join(store.table.key(index))
        try:
            frames = store.read(index)
        except UserError:
            continue
        if frames.ndim != 3:  # heat maps, depth
            continue
        frames_checked += len(frames)
        if jumps := find_jumps([measure(frame) for frame in frames]):
            jumping[name] = jumps
        if not is_normalised(frames):
            raw[name] = frames.shape[1:]
    described = f"{len(indices)} of {count} sequences" if len(indices) < count else f"{count} sequences"
    return [*_raw_lines(raw, described), *_jump_lines(jumping, frames_checked, described)]


def _raw_lines(raw: dict[str, tuple[int, ...]], checked: str) -> Iterator[str]:
    if raw:
        name, (height, width) = next(iter(raw.items()))
        yield (
            f"{len(raw)} of {checked} do not fill the rows of their frames, such as {name} ({height}x{width}): if"
            " they were never normalised, `dygait prepare folders` does it, from pictures"
        )


def _jump_lines(jumping: dict[str, list[Jump]], frames: int, checked: str) -> Iterator[str]:
    """Yield lines that name the sequences with jumping frames, those with most first."""
    if not jumping:
        yield f"no frame of {checked} jumps in height, area or place against its neighbours"
        return
    total = sum(map(len, jumping.values()))
    yield (
        f"{total} of {frames} frames ({len(jumping)} of {checked}) jump against their neighbours: specks, a cut or"
        " merged person, or another one?"
    )
    for name, jumps in sorted(jumping.items(), key=lambda item: -len(item[1]))[:_MAX_SEQUENCES]:
        shown = ", ".join(f"{jump.frame} ({jump})" for jump in jumps[:_MAX_FRAMES])
        more = f", and {len(jumps) - _MAX_FRAMES} more" if len(jumps) > _MAX_FRAMES else ""
        yield f"  {name}: frames {shown}{more}"
    if len(jumping) > _MAX_SEQUENCES:
        yield f"  and {len(jumping) - _MAX_SEQUENCES} more sequences"
