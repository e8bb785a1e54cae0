"""Rendering of a walk for any camera, at no higher resolution than needed.

renderer.py draws pictures of 320 x 240 pixels, in which the presets `quick` and `full` are defined to the pixel. Here
each frame is drawn in a window that follows the body, which has at most `segmentation.ROWS` rows: larger bodies are
scaled down, as the normalised frame has 64 rows; smaller ones are drawn at their size, and lose details as at any low
resolution.

S frames of the sequence, F selected ones, B ellipsoids.
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
"""First words of the names of body parts that are nearly convex."""


def render(figure: Figure, camera: Camera, segmenter: Segmenter, frames: Sequence[int] | None) -> Windows:
    """Return the segmented silhouettes of the given frames of a walk; None: of all."""
    figure, indices = _join_limbs(figure), figure.indices(frames)
    projection = renderer.project(camera, figure.at(indices))
    boxes = _boxes(*projection)
    scale = np.minimum(1.0, ROWS / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-3))
    extents = boxes
    if segmenter.shadow is not None:
        shadow = _project_shadow(figure, segmenter.shadow)
        shadow_projection = renderer.project(camera, shadow.at(indices))
        ground = _boxes(*shadow_projection)
        extents = np.hstack([np.minimum(boxes[:, :2], ground[:, :2]), np.maximum(boxes[:, 2:], ground[:, 2:])])
    edges = extents * scale[:, None]
    origins = np.floor(edges[:, :2]).astype(int) - MARGIN
    sizes = np.minimum(np.ceil(edges[:, 2:]).astype(int) - origins + MARGIN, LARGEST)

    placed = _place(*projection, scale, origins)
    visible = visible_hulls(figure, segmenter.losses)[indices]
    canvas = _draw(sizes, figure, placed, visible)
    delay, weight = segmenter.trail
    if delay:
        before = _place(*renderer.project(camera, figure.at(np.maximum(indices - 1, 0))), scale, origins)
        delayed = tuple(now + delay * (then - now) for now, then in zip(placed, before, strict=True))
        trail = _draw(sizes, figure, (delayed[0], delayed[1]), visible)
        rows = len(canvas)
        mixed = cv2.addWeighted(canvas.reshape(rows, -1), 1 - weight, trail.reshape(rows, -1), weight, 0)
        canvas = mixed.reshape(canvas.shape)
    if segmenter.shadow is not None:
        everything = np.ones((len(indices), len(shadow.parts)), bool)
        placed_shadow = _place(*shadow_projection, scale, origins)
        shadow_canvas = _draw(sizes, shadow, placed_shadow, everything, segmenter.shadow.level)
        np.maximum(canvas, shadow_canvas, out=canvas)
    windows = Windows(canvas, indices, origins, sizes, scale, boxes, placed[0])
    segment(windows, segmenter, figure.names, _occluder_box(figure, camera, segmenter))
    return windows


def _join_limbs(figure: Figure) -> Figure:
    """Return a figure with a single hull for each limb, which is faster to draw."""
    joined: dict[str | int, list[int]] = {}
    for number, part in enumerate(figure.parts):
        joined.setdefault(part if part.split()[0] in LIMBS else number, []).append(number)
    members = [list(dict.fromkeys(figure.members[:, numbers].ravel().tolist())) for numbers in joined.values()]
    longest = max(map(len, members))
    padded = [numbers + numbers[-1:] * (longest - len(numbers)) for numbers in members]
    parts = [figure.parts[numbers[0]] for numbers in joined.values()]
    return dataclasses.replace(figure, members=np.array(padded).T, parts=parts)


def _boxes(centres: np.ndarray, ellipses: np.ndarray) -> np.ndarray:
    """Return left, top, right and bottom of the body in each frame, (F, 4)."""
    return np.vstack(renderer.bounds(centres, ellipses)).T


def _place(
    centres: np.ndarray, ellipses: np.ndarray, scale: np.ndarray, origins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Convert projected ellipsoids from pixels of the picture to pixels of the windows."""
    return centres * scale[:, None] - origins.T[..., None], ellipses * (scale**2)[:, None]


def _draw(
    sizes: np.ndarray,
    figure: Figure,
    placed: tuple[np.ndarray, np.ndarray],
    visible: np.ndarray,
    level: int = 255,
) -> np.ndarray:
    """Draw the visible hulls of a figure in windows of these sizes, int (F, 2): uint8 (H, F, W), as in `Windows`."""
    columns, rows = (sizes.max(0) + MARGIN).tolist()
    canvas = np.zeros((rows, len(sizes), columns), np.uint8)
    corners = renderer.outlines(figure, *placed, directions=DIRECTIONS)
    hulls = zip(corners, visible.tolist(), strict=True)
    for position, ((width, height), (outlines, drawn)) in enumerate(zip(sizes.tolist(), hulls, strict=True)):
        renderer.fill(canvas[:height, position, :width], itertools.compress(outlines, drawn), level)
    return canvas


def _project_shadow(figure: Figure, shadow: Shadow) -> Figure:
    """Return the shadow of the legs as flat ellipsoids on the ground."""
    hulls = [number for number, part in enumerate(figure.parts) if part.split()[0] in SHADOWED]
    members, indices = np.unique(figure.members[:, hulls], return_inverse=True)
    flat = np.eye(3)
    flat[:, 2] = [*shadow.light, 0.0]
    return Figure(
        [figure.names[member] for member in members],
        figure.centres[:, members] @ flat.T,
        flat @ figure.axes[:, members],
        indices.reshape(figure.members.shape[0], len(hulls)),
        [figure.parts[number] for number in hulls],
    )


def _occluder_box(figure: Figure, camera: Camera, segmenter: Segmenter) -> np.ndarray | None:
    """Return left, top, right and bottom of the occluder, in pixels of the picture."""
    occluder = segmenter.occluder
    if occluder is None:
        return None
    left, top, right, bottom = _boxes(*renderer.project(camera, figure.at(np.array([occluder.frame]))))[0]
    size = np.array([right - left, bottom - top] * 2)
    return np.array([left, top] * 2) + np.array(occluder.rectangle) * size
