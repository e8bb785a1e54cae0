"""Ground truth of SynGait's frames: the body part of each pixel, and the phase of the gait cycle.

S frames, B ellipsoids, P hulls, K corners.
"""

from __future__ import annotations

import cv2
import numpy as np

from dygait.synthetic import renderer
from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import Camera
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import FRAME, camera_of, draw_walk, walk

PARTS = ("head", "trunk", "arms", "thighs", "shanks", "feet", "carried")
"""`carried` is a bag, or anything else that is no part of the body."""

_PART_OF = {
    "head": "head", "hair": "head", "neck": "head", "trunk": "trunk", "upper arm": "arms", "forearm": "arms",
    "hand": "arms", "thigh": "thighs", "skirt": "thighs", "shank": "shanks", "foot": "feet",
}  # fmt: skip
"""Part of a hull, by the hull's name without the number of the side; skirts and coat tails count as thighs."""

_FARTHEST = 8
"""The most columns between the centres of frame and body, due to a bag that is not segmented or a shadow that is."""


def part_frames(settings: Settings, subject: int, kind: str, view: str, frames: np.ndarray) -> np.ndarray:
    """Return the body parts that the frames of a sequence show.

    The parts are those of the body and its clothes, without segmentation faults. They are drawn at the scale of a body
    that is segmented from head to foot, and shifted horizontally to overlap the silhouette as much as possible.

    Args:
        settings: settings of the dataset.
        subject: the number of the subject.
        kind: one of `settings.types`.
        view: one of `settings.views`.
        frames: uint8 (S, 64, 64), all frames of the sequence.

    Returns:
        uint8 (S, 64, 64): 0 for none, n for the n-th of :data:`PARTS`.
    """
    figure, camera = walk(settings, subject, kind), camera_of(settings, subject, kind, view)
    corners = _scaled_outlines(figure, camera)
    order = np.argsort(-renderer.depths(camera, figure), axis=1).tolist()
    part_labels = [_label(part) for part in figure.parts]
    labels = np.zeros_like(frames)
    for position, frame in enumerate(frames):
        canvas = np.zeros((FRAME, 2 * FRAME), np.uint8)
        for hull in order[position]:  # the nearest last
            cv2.fillConvexPoly(canvas, corners[position, hull], part_labels[hull], cv2.LINE_8, renderer.SUBPIXEL_BITS)
        labels[position] = _align(canvas, frame)
    return labels


def gait_phase(settings: Settings, subject: int, kind: str) -> np.ndarray:
    """Return the phase of the gait cycle in each frame of a walk, (S,) in cycles; the left heel strikes at 0, 1, ..."""
    return draw_walk(settings, subject, kind).phase


def _label(part: str) -> int:
    name, _, side = part.rpartition(" ")
    return 1 + PARTS.index(_PART_OF.get(name if side.isdecimal() else part, "carried"))


def _scaled_outlines(figure: Figure, camera: Camera) -> np.ndarray:
    """Return outlines as `renderer.outlines`, (S, P, K, 2), scaled to 64 rows and centred in 128 columns."""
    centres, ellipses = renderer.project(camera, figure)
    low, high = renderer.bounds(centres, ellipses)
    scale = FRAME / (high[1] - low[1])
    origin = np.stack([(low[0] + high[0]) / 2 - FRAME / scale, low[1]])
    return renderer.outlines(figure, (centres - origin[..., None]) * scale[:, None], ellipses * scale[:, None] ** 2)


def _align(canvas: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Crop labels (64, 128) to the 64 columns that overlap the silhouette of a frame (64, 64) best."""
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (FRAME, FRAME))[0]  # (65, 64, 64)
    body = frame > 127
    middle = FRAME // 2
    if body.any():
        columns = np.flatnonzero(canvas.any(0))
        middle = int(columns.mean()) - int(np.flatnonzero(body.any(0)).mean())
    candidates = range(max(middle - _FARTHEST, 0), min(middle + _FARTHEST, FRAME) + 1)
    return windows[max(candidates, key=lambda left: int((body & (windows[left] > 0)).sum()))]
