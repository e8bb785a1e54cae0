"""Look at the frames of a dataset: who jumps against the neighbouring frames, and what was never normalised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dygait.data.stores import RenderedStore, Store
from dygait.data.stores.base import Progress, no_progress
from dygait.errors import UserError
from dygait.frames.jumping_frames import Jump, find_jumps, measure
from dygait.frames.normalisation import is_normalised

_SOME = 300
"""Sequences that are checked if not every one is: seconds."""
_NAMED_SEQUENCES, _NAMED_FRAMES = 10, 5


def check_frames(store: Store, every: bool = False, progress: Progress = no_progress) -> list[str]:
    """Check the silhouettes of evenly spaced sequences, or of `every` one; return lines to print.

    Those that `dygait verify` cannot read and those of several channels are skipped. Rendered frames are not checked.
    """
    if isinstance(store, RenderedStore):
        return []
    count = len(store.table)
    chosen = np.arange(count) if every else np.unique(np.linspace(0, count - 1, min(count, _SOME)).round().astype(int))
    jumping: dict[str, list[Jump]] = {}
    raw: dict[str, tuple[int, ...]] = {}
    frames_checked = 0
    for index in progress(chosen.tolist(), len(chosen)):
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
    some = f"{len(chosen)} of {count} sequences" if len(chosen) < count else f"{count} sequences"
    return [*_raw(raw, some), *_jumps(jumping, frames_checked, some)]


def _raw(found: dict[str, tuple[int, ...]], checked: str) -> Iterator[str]:
    if found:
        name, (height, width) = next(iter(found.items()))
        yield (
            f"{len(found)} of {checked} do not fill the rows of their frames, such as {name} ({height}x{width}): if"
            " they were never normalised, `dygait prepare folders` does it, from pictures"
        )


def _jumps(found: dict[str, list[Jump]], frames: int, checked: str) -> Iterator[str]:
    """Name the sequences with jumping frames, those with most first."""
    if not found:
        yield f"no frame of {checked} jumps in height, area or place against its neighbours"
        return
    total = sum(map(len, found.values()))
    yield (
        f"{total} of {frames} frames ({len(found)} of {checked}) jump against their neighbours: specks, a cut or merged"
        " person, or another one?"
    )
    for name, jumps in sorted(found.items(), key=lambda one: -len(one[1]))[:_NAMED_SEQUENCES]:
        shown = ", ".join(f"{jump.frame} ({jump})" for jump in jumps[:_NAMED_FRAMES])
        more = f", and {len(jumps) - _NAMED_FRAMES} more" if len(jumps) > _NAMED_FRAMES else ""
        yield f"  {name}: frames {shown}{more}"
    if len(found) > _NAMED_SEQUENCES:
        yield f"  and {len(found) - _NAMED_SEQUENCES} more sequences"
