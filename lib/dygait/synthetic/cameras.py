"""Eleven cameras around the walk, as in CASIA-B, or randomly drawn ones; and walks along curves.

The subject moves along x past the origin. View 000 is from the front, 090 from the left, 180 from behind.
Changing a number changes the pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from dygait.synthetic.body import Figure
from dygait.synthetic.world import Cameras

VIEWS = tuple(f"{angle:03d}" for angle in range(0, 181, 18))
"""Names of the views: degrees between the direction of the walk and the direction to the camera."""

WIDTH, HEIGHT = 320, 240
FOCAL = 360.0
"""Focal length in pixels."""
_MIDDLE = 0.88
"""Height of the middle of a body above the ground, in metres."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    position: np.ndarray  # float (3,), metres
    rotation: np.ndarray  # float (3, 3), rows: right, down and forward of the camera in the world
    focal: float  # pixels


POSITIONS = {
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
"""View -> degrees off the nominal angle, metres from the origin, metres above the ground.

Real cameras deviate from their nominal positions; without deviations, mirrored views (000 and 180) would show nearly
the same outline.
"""


@functools.cache
def camera(view: str) -> Camera:
    """Return the camera of one of :data:`VIEWS`.

    A subject of 1.7 m at the origin is about 100 pixels tall, as in CASIA-B, and 5 m of the walk are visible.
    """
    error, distance, height = POSITIONS[view]
    angle = np.deg2rad(float(view) + error)
    position = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    return _camera_looking_at(position, np.array([0.0, 0.0, _MIDDLE]), FOCAL)


def _camera_looking_at(position: np.ndarray, target: np.ndarray, focal: float, roll: float = 0.0) -> Camera:
    forward = target - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    if roll:
        sine, cosine = np.sin(np.deg2rad(roll)), np.cos(np.deg2rad(roll))
        right, down = cosine * right + sine * down, cosine * down - sine * right
    return Camera(position, np.stack([right, down, forward]), focal)


STATURE = 1.7
"""Stature in metres of a subject whose height in pixels is `cameras.pixels`."""
NEAREST = 2.2
"""Least distance to the nearest point of the walk in metres; at a smaller one, parts of the body leave the picture."""


def draw_camera(knobs: Cameras, view: str, rng: np.random.Generator) -> Camera:
    """Draw a random camera around the nominal direction of a view."""
    error, nominal_distance, height = POSITIONS[view]
    angle = float(view) + error + rng.normal(0, knobs.deviation)
    if rng.random() < knobs.anywhere:
        angle = rng.uniform(-180, 180)
    if rng.random() < knobs.mirrored:
        angle = -angle
    along, across = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    distance = nominal_distance
    if knobs.distance is not None:
        # The distance is to the nearest point of the walk, which is its end for a camera in front of the subject.
        distance = max(rng.uniform(*knobs.distance), NEAREST) + abs(along) * knobs.metres / 2
    if knobs.height is not None:
        highest = _MIDDLE + np.tan(np.deg2rad(knobs.pitch)) * (distance - abs(along) * knobs.metres / 2)
        height = min(rng.uniform(*knobs.height), highest)
    position = np.array([distance * along, distance * across, height])
    target = np.array([0.0, 0.0, _MIDDLE]) + rng.normal(0, knobs.aim, 3) * (1.0, 1.0, 0.4)
    focal = FOCAL
    if knobs.pixels is not None:
        low, high = np.log(knobs.pixels)
        focal = float(np.exp(rng.uniform(low, high))) * float(np.linalg.norm(target - position)) / STATURE
    return _camera_looking_at(position, target, focal, rng.normal(0, knobs.roll))


def rows_of_a_body(camera: Camera) -> float:
    """Return the approximate height of a subject in the middle of the walk, in pixels of the picture."""
    return camera.focal * STATURE / float(np.linalg.norm(camera.position - (0, 0, _MIDDLE)))


def bend(figure: Figure, degrees: float) -> Figure:
    """Bend a walk along x to the left, by `degrees` per metre, so that feet on the ground do not slide."""
    if degrees == 0:
        return figure
    radius = 1 / np.deg2rad(degrees)
    x, y, z = np.moveaxis(figure.centres, 2, 0)
    angle = x / radius
    sine, cosine = np.sin(angle), np.cos(angle)
    centres = np.stack([(radius - y) * sine, radius - (radius - y) * cosine, z], 2)
    rotation = np.zeros((*angle.shape, 3, 3))
    rotation[..., 0, 0], rotation[..., 0, 1], rotation[..., 1, 0], rotation[..., 1, 1] = cosine, -sine, sine, cosine
    rotation[..., 2, 2] = 1
    return dataclasses.replace(figure, centres=centres, axes=rotation @ figure.axes)
