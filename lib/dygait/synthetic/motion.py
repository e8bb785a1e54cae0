"""A walk as bones know it: what a gait gives, and what a body is fleshed on."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Motion:
    """Where the joints of a walker are in each frame.

    Attributes:
        joints: name -> float (S, 3) in metres; the names of paired joints end in ``_0`` (left) and ``_1`` (right).
        frames: name -> float (S, 3, 3), the orientations of pelvis, thorax, head and the two feet (columns: forward,
            left, up).
    """

    joints: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
