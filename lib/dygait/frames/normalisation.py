"""Silhouette normalisation, as published results use it.

Other frames need another `VERSION` in preprocess/prepare.py and in synthetic/settings.py.
"""

from __future__ import annotations

import cv2
import numpy as np

from dygait.errors import UserError

FRAME = 64
"""The default height and width of a normalised frame."""

MINIMUM_SUM = 10_000
"""A picture whose grey levels sum to at most this (40 white pixels) is empty."""


def normalise_silhouette(image: np.ndarray, height: int = FRAME) -> np.ndarray | None:
    """Scale one silhouette to a fixed height and centre it horizontally on its mass.

    The steps are those of the common gait datasets in pickle form, and give the same pixels: crop to the rows that
    contain foreground, resize to `height` rows at the same aspect ratio (cubic; the width rounded down), find the first
    column at which the cumulative column sum exceeds half of the total, and keep `height` columns around it, with zeros
    outside the picture.

    Args:
        image: uint8 (H, W), any levels 0..255. A mask of zeros and ones is read as one of 0 and 255.
        height: R, even and positive.

    Returns:
        uint8 (R, R), or None if the picture has no usable foreground (the levels add up to `MINIMUM_SUM` or less).

    Raises:
        UserError: `image` is not a two-dimensional uint8 array, or `height` is not even and positive.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 2:
        received = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f"a silhouette must be a uint8 array of shape (H, W), not {received}: convert it to 8-bit grey first"
        )
    if height < 2 or height % 2:
        raise UserError(f"height={height} cannot be centred: use an even number of rows, such as 64 or 128")
    if image.size == 0:
        return None

    total = cv2.sumElems(image)[0]
    # Only a picture that sums to at most one per pixel can be a mask of zeros and ones; skip the maximum for others.
    if total <= image.size and image.max() == 1:
        image, total = image * np.uint8(255), total * 255
    if total <= MINIMUM_SUM:
        return None

    _, top, _, rows = cv2.boundingRect(image)
    if height * image.shape[1] < rows:
        return None
    return scale_and_centre(image[top : top + rows], height)


def is_normalised(frames: np.ndarray) -> bool:
    """Return whether silhouettes fill the rows of their frames, as `normalise_silhouette` leaves them.

    Args:
        frames: uint8 (S, H, W), S at least 1.

    Returns:
        True if there is foreground in the first and in the last row of at least half of the frames.
    """
    touches = frames[:, 0].any(axis=1) & frames[:, -1].any(axis=1)  # (S,)
    return bool(touches.mean() >= 0.5)


def scale_and_centre(image: np.ndarray, height: int) -> np.ndarray:
    """Scale a picture whose first and last row contain foreground, as :func:`normalise_silhouette`.

    Args:
        image: uint8 (H, W), R * W at least H.
        height: R, even and positive.

    Returns:
        uint8 (R, R).
    """
    columns = height * image.shape[1] // image.shape[0]
    scaled = cv2.resize(image, (columns, height), interpolation=cv2.INTER_CUBIC)

    mass = cv2.reduce(scaled, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0].cumsum()
    # In integers: "more than half of the total" is "at least half, rounded down, plus one".
    centre = int(mass.searchsorted(mass[-1] // 2 + 1))
    frame = np.zeros((height, height), np.uint8)
    left = centre - height // 2
    first, last = max(left, 0), min(left + height, columns)
    frame[:, first - left : last - left] = scaled[:, first:last]
    return frame
