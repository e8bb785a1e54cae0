"""Whether a piece of a track can be used: faults that show only beside the neighbouring frames, and the whole sequence.

Legend: T sightings, S frames in use.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from dygait.jumps import Measures, find_jumps
from dygait.video.cutting import Piece
from dygait.video.options import Options
from dygait.video.sightings import FLICKER, JUMP, STILL, Sighting
from dygait.video.track import FRAME, Track

_TRUNK = FRAME * 5 // 8  # rows of head and trunk, which change little from frame to frame
_FLICKER_OF_FRAME, _FLICKER = 0.12, 0.05  # the most of the trunk that comes and goes: of a frame, on average
_STRIDE_SECONDS = 1.0
_MOTION, _MOVED = 0.12, 0.25  # the least of somebody who walks, see `_motion`
_BROADEST = 0.65  # median width over height; of one person 0.3 to 0.55, of two side by side more


def judge(piece: Piece, options: Options, source: str) -> Track:
    """Return a piece as a track, with the flaws of its frames and the problems of the whole."""
    sightings = _without_jumps(piece.sightings)
    sightings = _without_flicker(sightings)
    sightings = _without_standing(sightings)
    used = [sighting for sighting in sightings if not sighting.flaw]
    measures = _measures(piece.sightings, used)
    return Track(
        source=source,
        number=piece.number,
        frames=_stack(used),
        indices=np.array([sighting.index for sighting in sightings]),
        times=np.array([sighting.time for sighting in sightings]),
        boxes=np.array([sighting.box for sighting in sightings]),
        flaws=tuple(sighting.flaw for sighting in sightings),
        end=piece.end,
        measures=measures,
        problems=_problems(sightings, measures, options),
    )


def _problems(sightings: list[Sighting], measures: dict[str, float], options: Options) -> tuple[str, ...]:
    problems = []
    counts = Counter(sighting.flaw for sighting in sightings)
    used = counts.pop("", 0)
    if used < options.min_frames:
        reasons = "".join(f", {count} {flaw}" for flaw, count in counts.most_common())
        problems.append(f"too few frames: {used} of at least {options.min_frames} in use{reasons}")
    if measures.get("flicker", 0) > _FLICKER:
        problems.append(f"flickers: {measures['flicker']:.0%} of the trunk come and go from frame to frame")
    if measures.get("width_over_height", 0) > _BROADEST:
        problems.append(f"not the shape of one person: {measures['width_over_height']:.2f} times as wide as high")
    return tuple(problems)


def _measures(all_: list[Sighting], used: list[Sighting]) -> dict[str, float]:
    """Return the numbers that the quality is judged by."""
    if not used:
        return {}
    boxes = np.array([sighting.box for sighting in used], np.float64)
    heights = boxes[:, 3]
    return {
        "median_height_in_pixels": float(np.median(heights)),
        "width_over_height": float(np.median(boxes[:, 2] / heights)),
        "flicker": float(np.mean(_flicker(used))) if len(used) > 2 else 0.0,
        "share_in_use": len(used) / len(all_),
    }


def _stack(sightings: list[Sighting]) -> np.ndarray:
    """Return the silhouettes of sightings in use, uint8 (S, 64, 64)."""
    frames = [sighting.silhouette for sighting in sightings if sighting.silhouette is not None]
    return np.stack(frames) if frames else np.zeros((0, FRAME, FRAME), np.uint8)


def _flicker(used: list[Sighting]) -> np.ndarray:
    """Return the share of head and trunk that is in a frame and not in both neighbours, or the reverse, float (S,)."""
    trunk = _stack(used)[:, :_TRUNK] >= 128
    before, after = trunk[:-2], trunk[2:]
    odd = (trunk[1:-1] != before) & (before == after)
    share = odd.sum((1, 2)) / np.maximum(trunk[1:-1].sum((1, 2)), 1)
    return np.pad(share, 1)


def _without_jumps(sightings: list[Sighting]) -> list[Sighting]:
    """Mark the frames whose height, area or place jumps against the neighbouring ones."""
    used = [sighting for sighting in sightings if not sighting.flaw]
    measures = []
    for sighting in used:
        left, top, width, height = sighting.box
        measures.append(Measures(height, height, sighting.area, left + width / 2, top + height / 2))
    bad = {used[jump.frame].index for jump in find_jumps(measures)}
    return [s.rejected(JUMP) if s.index in bad else s for s in sightings]


def _without_flicker(sightings: list[Sighting]) -> list[Sighting]:
    """Mark the frames whose trunk is unlike that of both neighbours."""
    used = [sighting for sighting in sightings if not sighting.flaw]
    if len(used) < 3:
        return sightings
    bad = {s.index for s, share in zip(used, _flicker(used), strict=True) if share > _FLICKER_OF_FRAME}
    return [s.rejected(FLICKER) if s.index in bad else s for s in sightings]


def _without_standing(sightings: list[Sighting]) -> list[Sighting]:
    """Mark the frames in which the person neither moves on nor moves the legs."""
    used = [sighting for sighting in sightings if not sighting.flaw]
    if len(used) < 3:
        return sightings
    times = np.array([sighting.time for sighting in used])
    legs = _stack(used)[:, FRAME // 2 :].astype(np.float32) / 255
    boxes = np.array([sighting.box for sighting in used], np.float64)
    bad = set()
    for position, sighting in enumerate(used):
        first, last = np.searchsorted(times, (sighting.time - _STRIDE_SECONDS / 2, sighting.time + _STRIDE_SECONDS / 2))
        near = slice(int(first), max(int(last), int(first) + 2))
        if _motion(legs[near]) < _MOTION and _moved(boxes[near]) < _MOVED:
            bad.add(used[position].index)
    return [s.rejected(STILL) if s.index in bad else s for s in sightings]


def _motion(legs: np.ndarray) -> float:
    """Return how much the lower half of a stride's frames, (S, 32, 64), changes: its deviation beside its mean."""
    return float(legs.std(0).sum() / max(legs.mean(0).sum(), 1e-6))


def _moved(boxes: np.ndarray) -> float:
    """Return how far the middle of boxes (S, 4) moves, in heights of the person."""
    middle = boxes[:, 0] + boxes[:, 2] / 2
    return float((middle.max() - middle.min()) / np.median(boxes[:, 3]))
