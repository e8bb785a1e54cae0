"""Silhouettes of hulls of ellipsoids: outlines are computed exactly for all frames at once, and filled by OpenCV.

Under the projection linearised at its centre, an ellipsoid with shape matrix A and centre c projects to the ellipse
with shape ``J A J^T`` around the image of c. The point of an ellipse (centre m, shape E) furthest in direction n is
``m + E n / sqrt(n^T E n)``, and the support point of a convex hull of ellipses in a direction is that of one of
them. So K directions give the outline of a hull as a polygon of K corners.

S frames, B ellipsoids, P hulls of M ellipsoids each, K directions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import cv2
import numpy as np

from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import HEIGHT, WIDTH, Camera

DIRECTIONS = 18
SUBPIXEL_BITS = 4


def project(camera: Camera, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Project the B ellipsoids of a figure in S frames to the image plane of a camera.

    Returns:
        Centres (2, S, B) and shapes (3, S, B) of the ellipses (xx, xy, yy), in pixels.
    """
    across, down, depth = np.moveaxis((figure.centres - camera.position) @ camera.rotation.T, 2, 0)
    image_points = np.stack([across / depth, down / depth])
    axes = np.ascontiguousarray(np.moveaxis(figure.axes, (2, 3), (0, 1)))
    rotated = (camera.rotation @ axes.reshape(3, -1)).reshape(axes.shape)
    right, below = (camera.focal / depth) * (rotated[:2] - image_points[:, None] * rotated[2])  # (3, S, B) each
    ellipses = np.stack([(right * right).sum(0), (right * below).sum(0), (below * below).sum(0)])
    return image_points * camera.focal + np.array([WIDTH / 2, HEIGHT / 2])[:, None, None], ellipses


def depths(camera: Camera, figure: Figure) -> np.ndarray:
    """Return the mean depth of each hull's ellipsoids in the camera's direction: (S, P)."""
    ellipsoid_depths = (figure.centres - camera.position) @ camera.rotation[2]  # (S, B)
    return ellipsoid_depths[:, figure.members].mean(1)


def outlines(
    figure: Figure,
    centres: np.ndarray,
    ellipses: np.ndarray,
    origins: np.ndarray | None = None,
    directions: int = DIRECTIONS,
) -> np.ndarray:
    """Return the outline of each of the P hulls of a figure in every frame.

    Args:
        centres: (2, S, B), from :func:`project`.
        ellipses: (3, S, B), from :func:`project`.
        origins: int (S, 2), column and row in each picture that are the origin of corners; None: 0.
        directions: K.

    Returns:
        int32 (S, P, K, 2): corners (x, y) in pixels, times ``2 ** SUBPIXEL_BITS``.
    """
    (x, y), (xx, xy, yy) = centres.astype(np.float32), ellipses.astype(np.float32)
    nx, ny = _normals(directions).T[..., None, None]  # (K, 1, 1)
    ex, ey = xx * nx, xy * nx  # (K, S, B)
    ex += xy * ny
    ey += yy * ny
    reach = ex * nx
    reach += ey * ny
    np.sqrt(reach, out=reach)
    support = x * nx
    support += y * ny
    support += reach
    points = np.empty((*reach.shape, 2), np.int32)
    unit = 1 << SUBPIXEL_BITS
    for axis, (centre, extent) in enumerate(((x, ex), (y, ey))):
        extent /= reach
        extent += centre
        extent *= unit
        points[..., axis] = np.rint(extent, out=extent)
        if origins is not None:
            points[..., axis] -= origins[:, axis, None] * unit
    pairs = points.view(np.int64)[..., 0]  # (K, S, B)

    # For each hull, choose the first ellipse with the largest support.
    first, *others = figure.members
    largest, corners = support.take(first, 2), pairs.take(first, 2)  # (K, S, P)
    for other in others:
        candidate = support.take(other, 2)
        np.copyto(corners, pairs.take(other, 2), where=candidate > largest)
        np.maximum(largest, candidate, out=largest)
    return np.ascontiguousarray(corners.transpose(1, 2, 0)).view(np.int32).reshape(*corners.shape[1:], -1, 2)


def bounds(centres: np.ndarray, ellipses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return left and top, and right and bottom, of the body, (2, S) each, from the output of :func:`project`."""
    reach = np.sqrt(ellipses[::2])
    return (centres - reach).min(2), (centres + reach).max(2)


def windows(centres: np.ndarray, ellipses: np.ndarray, margin: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return windows of the pictures that show the body, all of one size.

    Args:
        centres: (2, S, B), from :func:`project`.
        ellipses: (3, S, B), from :func:`project`.
        margin: pixels around the body, fewer at the edge of the picture.

    Returns:
        int32 (S, 2), the first column and row of each window, and their width and height.
    """
    low, high = bounds(centres, ellipses)
    low = np.floor(low).astype(np.int32) - margin
    high = np.ceil(high).astype(np.int32) + margin
    picture = np.array([WIDTH, HEIGHT], np.int32)
    size = np.minimum((high - low).max(1) + 1, picture)
    width, height = size.tolist()
    return np.clip(low.T, 0, picture - size), (width, height)


def fill(picture: np.ndarray, corners: Iterable[np.ndarray], level: int = 255) -> None:
    """Fill outlines from :func:`outlines`, int32 (K, 2) each, in a picture, uint8 (H, W), in place."""
    fill_polygon = cv2.fillConvexPoly
    for outline in corners:
        fill_polygon(picture, outline, level, cv2.LINE_8, SUBPIXEL_BITS)


@functools.cache
def _normals(count: int) -> np.ndarray:
    """Return K unit vectors at equal angles, float32 (K, 2)."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
