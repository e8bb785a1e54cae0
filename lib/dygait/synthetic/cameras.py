"""Eleven cameras around the walk, as in CASIA-B.

The subject moves along x past the origin. View 000 is from the front, 090 from the left, 180 from behind.
Other numbers give other pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

VIEWS = tuple(f"{angle:03d}" for angle in range(0, 181, 18))
"""Names of the views: degrees between the direction of the walk and the direction to the camera."""

WIDTH, HEIGHT = 320, 240
FOCAL = 360.0
"""Pixels."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    position: np.ndarray  # float (3,), metres
    rotation: np.ndarray  # float (3, 3), rows: right, down and forward of the camera in the world
    focal: float  # pixels


_POSITIONS = {
    "000": (2.0, 6.7, 1.55),
    "018": (-1.5, 6.3, 1.05),
    "036": (1.5, 6.6, 1.35),
    "054": (-2.0, 6.4, 0.95),
    "072": (1.0, 6.5, 1.25),
    "090": (0.0, 6.4, 1.10),
    "108": (2.0, 6.5, 1.40),
    "126": (2.5, 6.4, 1.60),
    "144": (-2.5, 6.7, 0.90),
    "162": (-1.5, 6.3, 1.50),
    "180": (-3.0, 6.4, 1.00),
}
"""View: degrees off the nominal angle, metres from the origin, metres above the ground.

Real cameras deviate from their nominal positions; without deviations, mirrored views (000 and 180) would show nearly
the same outline.
"""


@functools.cache
def camera(view: str) -> Camera:
    """Return the camera of one of :data:`VIEWS`.

    A subject of 1.7 m at the origin is about 100 pixels tall, as in CASIA-B, and 5 m of the walk are visible.
    """
    error, distance, height = _POSITIONS[view]
    angle = np.deg2rad(float(view) + error)
    position = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    forward = np.array([0.0, 0.0, 0.88]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return Camera(position, np.stack([right, np.cross(forward, right), forward]), FOCAL)
