"""The exact key points of synthetic walkers, and their heat maps.

Changing a point changes the heat maps: increment `settings.VERSION`.

S frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dygait.frames.heatmaps import draw_heat_maps
from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import HEIGHT, WIDTH
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import camera_of

_PAIRED = ("shoulder", "elbow", "wrist", "hip", "knee", "instep")

_PLACES: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("face", (1.0, 0.0, 0.0)),  # the nose
    ("skull", (0.8, 0.4, 0.0)), ("skull", (0.8, -0.4, 0.0)),  # the eyes
    ("skull", (0.0, 1.0, 0.0)), ("skull", (0.0, -1.0, 0.0)),  # the ears
    *((f"{name}_{side}", (0.0, 0.0, 0.0)) for name in _PAIRED for side in (0, 1)),
)  # fmt: skip
"""Ellipsoid of the body, and position in it in units of its radii (forward, left, up), of each COCO key point."""


def key_points(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None = None
) -> np.ndarray:
    """Return COCO's 17 key points of a walk in one view, float64 (S, 17, 2): x and y in pixels of the picture.

    Key points that the body hides are exact, too. Arguments as for `walker.render_sequence`.
    """
    selected = figure.at(figure.indices(frames))
    indices = {name: position for position, name in enumerate(figure.names)}
    bodies = [indices[name] for name, _ in _PLACES]
    positions = np.array([place for _, place in _PLACES])
    points = selected.centres[:, bodies] + (selected.axes[:, bodies] @ positions[..., None])[..., 0]  # (S, 17, 3)
    camera = camera_of(settings, subject, kind, view)
    across, down, depth = np.moveaxis((points - camera.position) @ camera.rotation.T, 2, 0)
    return np.stack([across, down], 2) * (camera.focal / depth)[..., None] + (WIDTH / 2, HEIGHT / 2)


def render_heat_maps(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None = None
) -> np.ndarray:
    """Return the heat maps of a walk in one view, uint8 (S, 2, 64, 64); arguments as for `walker.render_sequence`."""
    return draw_heat_maps(key_points(settings, subject, kind, view, figure, frames))
