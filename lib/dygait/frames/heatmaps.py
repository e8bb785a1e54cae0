"""Heat maps of limbs and joints, drawn from 2-D key points as SkeletonGait takes them.

Fan et al., *SkeletonGait: Gait Recognition Using Skeleton Maps*, AAAI 2024, https://arxiv.org/abs/2311.13444. The steps
are those of OpenGait's datasets/pretreatment_heatmap.py with its settings, and give the same pixels, but for one level
in a few, which depends on the CPU.

Other pixels need another `VERSION` in synthetic/settings.py.
"""

from __future__ import annotations

import cv2
import numpy as np

from dygait.errors import UserError

FRAME = 64
"""Height and width of a heat map."""
HEAT_MAPS, SILHOUETTES = "0_heatmap.pkl", "1_sil.pkl"
"""Names of the two files of a sequence that has both, by which they are sorted."""

_CANVAS = 128
_SIGMA = 8.0
_HEIGHT = _CANVAS // 1.5  # of a body, from its highest key point to its lowest
_MIN_CONFIDENCE = 1e-3  # of a key point or limb that is drawn
_NEIGHBOURS = 4

_LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15),
    (6, 12), (12, 14), (14, 16), (11, 12),
)  # fmt: skip
"""Of COCO's 17 key points."""
_HIPS = [11, 12]
_OPENPOSE_OF_COCO = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
"""OpenPose's number of each of COCO's 17 key points."""

_GREY = (np.linspace(0, 1, 256) * 255 / 255 * 255).astype(np.uint8)
"""The level of each of 256 steps: the reference draws with a colour map whose steps are not all whole levels."""


def draw_heat_maps(poses: np.ndarray) -> np.ndarray:
    """Draw a body's key points in each frame: centred on the hips, at one height, and cut to its rows.

    Coordinates that are exactly zero are missing, and imputed from the frames whose other key points are nearest.

    Args:
        poses: (S, 17, 3) of COCO's 17 key points, x, y and confidence in 0..1, or (S, 18, 3) of OpenPose's 18; without
            the confidences, (S, V, 2), all are 1.

    Returns:
        uint8 (S, 2, 64, 64): the limbs and the joints. A frame whose key points are all at one height is empty.

    Raises:
        UserError: `poses` has another shape.
    """
    if poses.ndim != 3 or poses.shape[1] not in (17, 18) or poses.shape[2] not in (2, 3) or not len(poses):
        raise UserError(f"key points must be (S, 17, 3) or (S, 18, 3), of x, y and confidence, not {poses.shape}")
    poses = poses[:, _OPENPOSE_OF_COCO].astype(np.float64) if poses.shape[1] == 18 else poses
    poses = poses if poses.dtype == np.float32 else poses.astype(np.float64)
    points = _scaled(_imputed(poses[..., :2]))
    levels = poses[..., 2] if poses.shape[2] == 3 else np.ones(points.shape[:2], points.dtype)
    frames = np.zeros((len(points), 2, FRAME, FRAME), np.uint8)
    for frame, body, confidences in zip(frames, points, levels, strict=True):
        if not np.isfinite(body).all():
            continue
        limbs, joints = np.zeros((2, _CANVAS, _CANVAS), np.float32)
        for a, b in _LIMBS:
            _draw_limb(limbs, body[a], body[b], confidences[a], confidences[b])
        for point, confidence in zip(body, confidences, strict=True):
            _draw_joint(joints, point, confidence)
        frame[:] = _normalised(limbs), _normalised(joints)
    return frames


def _imputed(points: np.ndarray) -> np.ndarray:
    """Return (S, V, 2) with zeros imputed, unless a coordinate is zero in all frames."""
    flat = points.reshape(len(points), -1)
    missing = flat == 0
    if not missing.any() or missing.all(0).any():
        return points
    from sklearn.impute import KNNImputer  # takes a second to import

    imputer = KNNImputer(missing_values=0.0, n_neighbors=_NEIGHBOURS, weights="distance")
    return imputer.fit_transform(flat).reshape(points.shape)


def _scaled(points: np.ndarray) -> np.ndarray:
    """Return (S, V, 2) around the middle of the canvas; not finite where a body has no height."""
    points = points - (points[:, _HIPS[:1]] + points[:, _HIPS[1:]]) / 2.0
    height = np.ptp(points[..., 1], axis=1)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return points * (_HEIGHT / height) + _CANVAS // 2


def _window(low: float, high: float) -> tuple[slice, np.ndarray]:
    """Return slice and positions of the canvas between two coordinates, extended by three sigma on both sides."""
    first = min(max(int(low - 3 * _SIGMA), 0), _CANVAS)
    last = max(min(int(high + 3 * _SIGMA) + 1, _CANVAS), first)
    return slice(first, last), np.arange(first, last, dtype=np.float32)


def _draw_joint(canvas: np.ndarray, point: np.ndarray, level: float) -> None:
    (columns, x), (rows, y) = (_window(coordinate, coordinate) for coordinate in point)
    _draw(canvas, rows, columns, (x - point[0]) ** 2 + (y[:, None] - point[1]) ** 2, level)


def _draw_limb(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, level: float, level_of_end: float) -> None:
    """Draw a line by its distance from each pixel; of a limb shorter than a pixel, its start."""
    if min(level, level_of_end) < _MIN_CONFIDENCE:
        return
    (columns, x), (rows, y) = (_window(min(a, b), max(a, b)) for a, b in zip(start, end, strict=True))
    y = y[:, None]
    squared_length = (start[0] - end[0]) ** 2 + (start[1] - end[1]) ** 2
    if squared_length < 1:
        _draw_joint(canvas, start, level)
        return
    from_start, from_end = ((x - point[0]) ** 2 + (y - point[1]) ** 2 for point in (start, end))
    along = (from_start - from_end + squared_length) / 2.0 / squared_length
    nearest_x, nearest_y = (a + along * (b - a) for a, b in zip(start, end, strict=True))
    from_line = (x - nearest_x) ** 2 + (y - nearest_y) ** 2
    distances = np.where(along <= 0, from_start, np.where(along >= 1, from_end, from_line))
    _draw(canvas, rows, columns, distances, min(level, level_of_end))


def _draw(canvas: np.ndarray, rows: slice, columns: slice, squared: np.ndarray, level: float) -> None:
    """Raise pixels to the levels of a Gaussian of their squared distances."""
    if level >= _MIN_CONFIDENCE:
        window = canvas[rows, columns]
        window[:] = np.maximum(window, np.exp(-squared / 2.0 / _SIGMA**2) * level)


def _normalised(canvas: np.ndarray) -> np.ndarray:
    """Quantise a canvas, cut it to its rows and as many columns around its middle, and resize it: uint8 (64, 64)."""
    grey = _GREY[np.minimum((canvas * 256).astype(int), 255)] / 255.0
    rows = np.flatnonzero(grey.any(1))
    if not len(rows):
        return np.zeros((FRAME, FRAME), np.uint8)
    half_width, middle = (rows[-1] - rows[0] + 1) // 2, _CANVAS // 2
    body = grey[rows[0] : rows[-1] + 1, middle - half_width : middle + half_width + 1]
    return (cv2.resize(body, (FRAME, FRAME), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
