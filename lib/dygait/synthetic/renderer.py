"""Silhouettes of hulls of ellipsoids: exact outlines of all frames at once, filled by OpenCV.

Under the projection linearised at its centre, an ellipsoid with shape matrix A and centre c projects to the ellipse
with shape ``J A J^T`` around the image of c. The point of an ellipse (centre m, shape E) furthest in direction n is
``m + E n / sqrt(n^T E n)``, and the support point of a convex hull of ellipses in a direction is that of one of
them. So K directions give the outline of a hull as a polygon of K corners.

Legend: S frames, B ellipsoids, P hulls of M ellipsoids each, K directions.
"""

from __future__ import annotations

import cv2
import numpy as np

from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import HEIGHT, WIDTH, Camera

DIRECTIONS = 18
SUBPIXEL_BITS = 4

_ANGLES = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1).astype(np.float32)


def project(camera: Camera, centres: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project ellipsoids to the image of a camera.

    Args:
        camera: the camera.
        centres: float (S, B, 3), metres.
        shapes: float (S, B, 3, 3), metres squared.

    Returns:
        Centres (S, B, 2) and shapes (S, B, 3) of the ellipses (xx, xy, yy), in pixels.
    """
    seen = (centres - camera.position) @ camera.rotation.T
    scale = camera.focal / seen[..., 2:]
    flat = seen[..., :2] / seen[..., 2:]
    jacobian = scale[..., None] * (camera.rotation[:2] - flat[..., None] * camera.rotation[2])  # (S, B, 2, 3)
    half = jacobian @ shapes
    ellipses = np.stack(
        [
            (half[..., 0, :] * jacobian[..., 0, :]).sum(-1),
            (half[..., 0, :] * jacobian[..., 1, :]).sum(-1),
            (half[..., 1, :] * jacobian[..., 1, :]).sum(-1),
        ],
        -1,
    )
    return flat * camera.focal + np.array([WIDTH / 2, HEIGHT / 2]), ellipses


def outlines(camera: Camera, figure: Figure) -> np.ndarray:
    """Return the outline of every hull of a figure in every frame.

    Args:
        camera: the camera.
        figure: S frames of P hulls.

    Returns:
        int32 (S, P, K, 2): corners (x, y) in pixels, times ``2 ** SUBPIXEL_BITS``.
    """
    centres, ellipses = project(camera, figure.centres, figure.shapes)
    centres, ellipses = centres.astype(np.float32), ellipses.astype(np.float32)
    nx, ny = _NORMALS[:, 0], _NORMALS[:, 1]
    ex = ellipses[..., :1] * nx + ellipses[..., 1:2] * ny
    ey = ellipses[..., 1:2] * nx + ellipses[..., 2:] * ny
    reach = np.sqrt(ex * nx + ey * ny)  # (S, B, K)
    support = centres[..., :1] * nx + centres[..., 1:] * ny + reach
    points = np.stack([centres[..., :1] + ex / reach, centres[..., 1:] + ey / reach], -1)  # (S, B, K, 2)

    members = max(len(hull) for hull in figure.hulls)
    # Hulls of fewer ellipsoids are padded with their last one.
    table = np.array([hull + hull[-1:] * (members - len(hull)) for hull in figure.hulls])  # (P, M)
    best = support[:, table].argmax(2)  # (S, P, K)
    chosen = table[np.arange(len(table))[:, None], best]
    corners = np.take_along_axis(points, chosen[..., None], 1)
    return np.rint(corners * (1 << SUBPIXEL_BITS)).astype(np.int32)


def fill(corners: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """Fill the outlines of hulls: a perfect silhouette.

    Args:
        corners: int32 (P, K, 2), one frame of :func:`outlines`.
        visible: bool (P,), which hulls to draw; all by default.

    Returns:
        uint8 (240, 320), 0 or 255.
    """
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index in range(len(corners)) if visible is None else np.flatnonzero(visible):
        cv2.fillConvexPoly(picture, corners[index], 255, cv2.LINE_8, SUBPIXEL_BITS)
    return picture
