"""A walk as a camera of any kind sees it, drawn at the size that is needed.

The renderer's pictures are those of one kind of camera, 320 x 240, in which the presets `quick` and `full` are defined
to the pixel. Here each frame is drawn in a window that follows the body, of at most `segmentation.ROWS` rows: what a
camera shows larger is drawn smaller, as the normalised frame has 64 rows; what it shows smaller is drawn as it is, and
loses what a low resolution loses.

Legend: S frames of the sequence, F chosen ones, B ellipsoids.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from dygait.synthetic import renderer
from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import Camera
from dygait.synthetic.faults import visible_hulls
from dygait.synthetic.segmentation import LARGEST, MARGIN, ROWS, Segmenter, Shadow, Windows, segment

DIRECTIONS = 12
SHADOWED = ("thigh", "shank", "foot")
LIMBS = ("thigh", "shank", "upper", "forearm")
"""First words of the parts of the body that are nearly convex as a whole."""


def render(figure: Figure, camera: Camera, segmenter: Segmenter, frames: Sequence[int] | None) -> Windows:
    """Return the segmented silhouettes of some frames of a walk; None: of all."""
    figure, chosen = _join_limbs(figure), figure.indices(frames)
    seen = renderer.project(camera, figure.at(chosen))
    boxes = _boxes(*seen)
    scale = np.minimum(1.0, ROWS / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-3))
    around = boxes
    if segmenter.shadow is not None:
        shadow = _cast(figure, segmenter.shadow)
        on_ground = renderer.project(camera, shadow.at(chosen))
        ground = _boxes(*on_ground)
        around = np.hstack([np.minimum(boxes[:, :2], ground[:, :2]), np.maximum(boxes[:, 2:], ground[:, 2:])])
    edges = around * scale[:, None]
    origins = np.floor(edges[:, :2]).astype(int) - MARGIN
    sizes = np.minimum(np.ceil(edges[:, 2:]).astype(int) - origins + MARGIN, LARGEST)

    placed = _place(*seen, scale, origins)
    visible = visible_hulls(figure, segmenter.losses)[chosen]
    canvas = _draw(sizes, figure, placed, visible)
    ago, weight = segmenter.trail
    if ago:
        before = _place(*renderer.project(camera, figure.at(np.maximum(chosen - 1, 0))), scale, origins)
        past = tuple(now + ago * (then - now) for now, then in zip(placed, before, strict=True))
        trail = _draw(sizes, figure, (past[0], past[1]), visible)
        rows = len(canvas)
        mixed = cv2.addWeighted(canvas.reshape(rows, -1), 1 - weight, trail.reshape(rows, -1), weight, 0)
        canvas = mixed.reshape(canvas.shape)
    if segmenter.shadow is not None:
        everything = np.ones((len(chosen), len(shadow.parts)), bool)
        cast = _draw(sizes, shadow, _place(*on_ground, scale, origins), everything, segmenter.shadow.level)
        np.maximum(canvas, cast, out=canvas)
    windows = Windows(canvas, chosen, origins, sizes, scale, boxes, placed[0])
    segment(windows, segmenter, figure.names, _occluded(figure, camera, segmenter))
    return windows


def _join_limbs(figure: Figure) -> Figure:
    """Return a figure with one hull for each limb instead of several: fewer to draw."""
    joined: dict[str | int, list[int]] = {}
    for number, part in enumerate(figure.parts):
        joined.setdefault(part if part.split()[0] in LIMBS else number, []).append(number)
    members = [list(dict.fromkeys(figure.members[:, numbers].ravel().tolist())) for numbers in joined.values()]
    most = max(map(len, members))
    padded = [own + own[-1:] * (most - len(own)) for own in members]
    parts = [figure.parts[numbers[0]] for numbers in joined.values()]
    return dataclasses.replace(figure, members=np.array(padded).T, parts=parts)


def _boxes(centres: np.ndarray, ellipses: np.ndarray) -> np.ndarray:
    """Return left, top, right and bottom of the body in each frame, (F, 4)."""
    return np.vstack(renderer.bounds(centres, ellipses)).T


def _place(
    centres: np.ndarray, ellipses: np.ndarray, scale: np.ndarray, origins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return projected ellipsoids in pixels of the windows."""
    return centres * scale[:, None] - origins.T[..., None], ellipses * (scale**2)[:, None]


def _draw(
    sizes: np.ndarray,
    figure: Figure,
    placed: tuple[np.ndarray, np.ndarray],
    visible: np.ndarray,
    level: int = 255,
) -> np.ndarray:
    """Draw the visible hulls of a figure in windows of some sizes, int (F, 2): uint8 (H, F, W), as in `Windows`."""
    columns, rows = (sizes.max(0) + MARGIN).tolist()
    canvas = np.zeros((rows, len(sizes), columns), np.uint8)
    corners = renderer.outlines(figure, *placed, directions=DIRECTIONS)
    seen = zip(corners, visible.tolist(), strict=True)
    for position, ((width, height), (outlines, drawn)) in enumerate(zip(sizes.tolist(), seen, strict=True)):
        renderer.fill(canvas[:height, position, :width], itertools.compress(outlines, drawn), level)
    return canvas


def _cast(figure: Figure, shadow: Shadow) -> Figure:
    """Return the shadow of the legs: flat ellipsoids on the ground."""
    hulls = [number for number, part in enumerate(figure.parts) if part.split()[0] in SHADOWED]
    members, places = np.unique(figure.members[:, hulls], return_inverse=True)
    flat = np.eye(3)
    flat[:, 2] = [*shadow.light, 0.0]
    return Figure(
        [figure.names[member] for member in members],
        figure.centres[:, members] @ flat.T,
        flat @ figure.axes[:, members],
        places.reshape(figure.members.shape[0], len(hulls)),
        [figure.parts[number] for number in hulls],
    )


def _occluded(figure: Figure, camera: Camera, segmenter: Segmenter) -> np.ndarray | None:
    """Return left, top, right and bottom of what hides the body, in pixels of the picture."""
    occluder = segmenter.occluder
    if occluder is None:
        return None
    left, top, right, bottom = _boxes(*renderer.project(camera, figure.at(np.array([occluder.frame]))))[0]
    size = np.array([right - left, bottom - top] * 2)
    return np.array([left, top] * 2) + np.array(occluder.rectangle) * size
