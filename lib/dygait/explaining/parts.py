"""Labels of body parts for each pixel of a frame: 0 none, 1 the first part, 2 the second, ...

S frames of H x W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

STRIPS = {"head": 0.182, "trunk and arms": 0.470, "thighs": 0.715, "shanks": 0.940, "feet": 1.0}
"""Horizontal strips of the silhouette from the top, and the lower end of each as a fraction of the height.

The ends are the heights of shoulder, hip and knee of Drillis and Contini (1966), as in D. A. Winter, *Biomechanics and
Motor Control of Human Movement* (4th ed. 2009, figure 4.1); the ankle's is raised to include the instep in the foot.
"""
BEYOND = "beyond"
"""The region further than `REACH` from the silhouette."""
REACH = 1 / 8
"""Distance from the silhouette, as a fraction of the frame's height, up to which pixels belong to its nearest part.

A branch that compares frames also responds beside the silhouette, where a limb was in another frame.
"""


def strips(frames: np.ndarray) -> np.ndarray:
    """Label the silhouettes of normalised frames, uint8 (S, H, W), by the strips of `STRIPS`: uint8 (S, H, W)."""
    height = frames.shape[1]
    row_centres = (np.arange(height) + 0.5) / height
    label_of_row = 1 + np.searchsorted(list(STRIPS.values()), row_centres).astype(np.uint8)
    return np.where(frames > 127, label_of_row[:, None], np.uint8(0))


def with_surroundings(labels: np.ndarray) -> np.ndarray:
    """Extend labels, uint8 (S, H, W), to pixels within `REACH`, which get the label of the nearest labelled pixel."""
    return np.stack([_spread(frame, REACH * labels.shape[1]) for frame in labels])


def _spread(labels: np.ndarray, reach: float) -> np.ndarray:
    body = labels > 0
    if not body.any():
        return labels
    distance, nearest = cv2.distanceTransformWithLabels(
        (~body).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of_pixel = np.zeros(int(nearest.max()) + 1, np.uint8)
    label_of_pixel[nearest[body]] = labels[body]
    return np.where(distance <= reach, label_of_pixel[nearest], np.uint8(0))
