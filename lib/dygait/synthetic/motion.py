"""The motion of a skeleton, which a gait returns, and around which a body is built."""

from __future__ import annotations

import dataclasses

import numpy as np

Place = tuple[np.ndarray, np.ndarray]
"""An origin in metres, (S, 3), and axes, (S, 3, 3)."""


@dataclasses.dataclass(frozen=True)
class Motion:
    """Joint positions and orientations in each frame; names of paired joints end in ``_0`` (left), ``_1`` (right)."""

    joints: dict[str, np.ndarray]  # float (S, 3) in metres
    frames: dict[str, np.ndarray]  # float (S, 3, 3), axes of pelvis, thorax, head and feet: forward, left, up

    def place(self, joint: str) -> Place:
        """Return the position of a joint of pelvis, trunk or head, and the orientation of its segment."""
        return self.joints[joint], self.frames[joint if joint in ("pelvis", "head") else "thorax"]
