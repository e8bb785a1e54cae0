"""COCO's 17 key points of a walker."""

import numpy as np

BODY = np.array(
    [(0, 10), (3, 7), (-3, 7), (6, 9), (-6, 9), (12, 25), (-12, 25), (18, 45), (-16, 44), (20, 62), (-22, 60),
     (8, 65), (-8, 65), (12, 95), (-10, 94), (9, 124), (-16, 120)], float,
)  # fmt: skip


def walk(frames: int = 5, confidence: float = 0.75) -> np.ndarray:
    """Return (S, 17, 3): a body 114 pixels high whose points move at random."""
    steps = np.random.default_rng(0).normal(0, 2, (frames, 17, 2))
    return np.concatenate([BODY + np.array([300, 200]) + steps, np.full((frames, 17, 1), confidence)], 2)
