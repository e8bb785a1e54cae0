"""The quality of a piece of a track: faults that show only in comparison with other frames, and of the whole sequence.

T sightings, S frames in use.
"""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from dygait.frames.jumping_frames import Measures, find_jumps
from dygait.frames.normalisation import FRAME
from dygait.video.options import Options
from dygait.video.sightings import FLICKER, JUMP, STILL, Sighting
from dygait.video.track import Track
from dygait.video.track_cutting import Piece

_TRUNK = FRAME * 5 // 8  # rows of head and trunk, which change little from frame to frame
_OUTLINE = np.ones((2, 2), np.uint8)  # differences of one pixel's width come from rounding
_FLICKER_OF_FRAME, _FLICKER = 0.12, 0.05  # the largest share of the trunk that flickers: in a frame, on average
_STRIDE_SECONDS = 1.0
_MOTION, _MOVED = 0.12, 0.25  # least values of `_motion` and `_moved` of somebody who walks
_BROADEST = 0.65  # median width over height; one person has 0.3 to 0.55, two side by side have more


def judge(piece: Piece, options: Options, source: str) -> Track:
    """Return a piece as a track, with the flaws of its frames and the problems of the whole sequence."""
    sightings = piece.sightings
    for flaw, find in ((JUMP, _jumping), (FLICKER, _flickering), (STILL, _standing)):
        used = _in_use(sightings)
        flawed = {used[index].index for index in find(used)}
        sightings = [sighting.rejected(flaw) if sighting.index in flawed else sighting for sighting in sightings]
    measures = _measures(_in_use(sightings), len(sightings))
    return Track(
        source=source,
        number=piece.number,
        frames=_stack(_in_use(sightings)),
        indices=np.array([sighting.index for sighting in sightings]),
        times=np.array([sighting.time for sighting in sightings]),
        boxes=np.array([sighting.box for sighting in sightings]),
        flaws=tuple(sighting.flaw for sighting in sightings),
        end=piece.end,
        measures=measures,
        problems=_problems(sightings, measures, options),
    )


def _in_use(sightings: list[Sighting]) -> list[Sighting]:
    return [sighting for sighting in sightings if not sighting.flaw]


def _stack(used: list[Sighting]) -> np.ndarray:
    """Return the silhouettes of sightings in use, uint8 (S, 64, 64)."""
    frames = [sighting.silhouette for sighting in used if sighting.silhouette is not None]
    return np.stack(frames) if frames else np.zeros((0, FRAME, FRAME), np.uint8)


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


def _measures(used: list[Sighting], sightings: int) -> dict[str, float]:
    """Return the measures of quality."""
    if not used:
        return {}
    widths, heights = np.array([sighting.box[2:] for sighting in used], np.float64).T
    return {
        "median_height_in_pixels": float(np.median(heights)),
        "width_over_height": float(np.median(widths / heights)),
        "flicker": float(_flicker(used).sum() / len(used)),
        "share_in_use": len(used) / sightings,
    }


def _jumping(used: list[Sighting]) -> list[int]:
    """Return the indices of frames whose height, area or position jumps relative to the neighbouring frames."""
    measures = []
    for sighting in used:
        left, top, width, height = sighting.box
        measures.append(Measures(height, height, sighting.area, left + width / 2, top + height / 2))
    return [jump.frame for jump in find_jumps(measures)]


def _flickering(used: list[Sighting]) -> list[int]:
    """Return the indices of frames whose trunk differs from that of both neighbours."""
    return (1 + np.flatnonzero(_flicker(used) > _FLICKER_OF_FRAME)).tolist()


def _flicker(used: list[Sighting]) -> np.ndarray:
    """Return the share of head and trunk that is in a frame but in neither neighbour, or the reverse: float (S - 2,).

    The first and the last frame have no two neighbours. Differences of one pixel's width are disregarded, as outlines
    of clean silhouettes have them.
    """
    trunk = _stack(used)[:, :_TRUNK] >= 128
    before, current, after = trunk[:-2], trunk[1:-1], trunk[2:]
    differs = ((current != before) & (before == after)).view(np.uint8)
    areas = [cv2.countNonZero(cv2.morphologyEx(frame, cv2.MORPH_OPEN, _OUTLINE)) for frame in differs]
    return np.array(areas) / np.maximum(current.sum((1, 2)), 1)


def _standing(used: list[Sighting]) -> list[int]:
    """Return the indices of frames in which the person moves neither forward nor the legs."""
    if len(used) < 3:
        return []
    times = np.array([sighting.time for sighting in used])
    legs = _stack(used)[:, FRAME // 2 :].astype(np.float32) / 255
    boxes = np.array([sighting.box for sighting in used], np.float64)
    firsts, lasts = np.searchsorted(times, (times - _STRIDE_SECONDS / 2, times + _STRIDE_SECONDS / 2)).tolist()
    strides = [slice(first, max(last, first + 2)) for first, last in zip(firsts, lasts, strict=True)]
    return [n for n, stride in enumerate(strides) if _motion(legs[stride]) < _MOTION and _moved(boxes[stride]) < _MOVED]


def _motion(legs: np.ndarray) -> float:
    """Return the standard deviation over time, relative to the mean, of the lower half of a stride's frames."""
    return float(legs.std(0).sum() / max(legs.mean(0).sum(), 1e-6))


def _moved(boxes: np.ndarray) -> float:
    """Return the horizontal range of the centres of boxes (S, 4), as a multiple of the person's height."""
    middle = boxes[:, 0] + boxes[:, 2] / 2
    return float(np.ptp(middle) / np.median(boxes[:, 3]))
