"""The motion of a skeleton: the output of a gait, and the input of a body."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Motion:
    """Joint positions and orientations in each frame.

    Attributes:
        joints: name -> float (S, 3) in metres; the names of paired joints end in ``_0`` (left) and ``_1`` (right).
        frames: name -> float (S, 3, 3), the orientations of pelvis, thorax, head and the two feet (columns: forward,
            left, up).
    """

    joints: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
