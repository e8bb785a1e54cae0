"""Changes of a gait by a bag, clothes or an impairment."""

from __future__ import annotations

import dataclasses
from typing import Any

LEFT, RIGHT = 0, 1


@dataclasses.dataclass(frozen=True)
class GaitChange:
    """The effect of a bag, of clothes or of an impairment on the gait; pairs are for the left and the right side.

    Angles are in degrees, lengths are fractions of stature; swing, elbow_swing, hip, knee, drop and stride are factors.
    """

    swing: tuple[float, float] = (1.0, 1.0)
    elbow: tuple[float, float] = (0.0, 0.0)
    elbow_swing: tuple[float, float] = (1.0, 1.0)
    abduction: tuple[float, float] = (0.0, 0.0)
    flexion: tuple[float, float] = (0.0, 0.0)
    lean: float = 0.0
    roll: float = 0.0
    stride: float = 1.0
    hip: tuple[float, float] = (1.0, 1.0)  # range of motion
    knee: tuple[float, float] = (1.0, 1.0)  # range of motion
    toes: tuple[float, float] = (0.0, 0.0)  # angle by which the toes are raised while the leg swings
    circumduction: tuple[float, float] = (0.0, 0.0)
    inward: tuple[float, float] = (0.0, 0.0)  # inward angle of the forearm
    lag: float = 0.0  # lag of the right leg, in cycles
    base: float = 0.0  # width of the steps
    drop: float = 1.0  # drop of the pelvis on the side of the swinging leg
    rock: float = 0.0  # lean of the trunk over the standing leg
    nod: float = 0.0  # nod of the head

    def and_also(self, other: GaitChange) -> GaitChange:
        """Return the combined effect of both."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return GaitChange(**{name: _combine(name in _FACTORS, first, second) for name, first, second in pairs})

    def on(self, side: int) -> GaitChange:
        """Return the change for a side; the original is for the left side."""
        if side == LEFT:
            return self
        mirrored: dict[str, Any] = {name: pair[::-1] for name, pair in vars(self).items() if isinstance(pair, tuple)}
        return dataclasses.replace(self, **mirrored, lag=-self.lag, roll=-self.roll)


_FACTORS = ("swing", "elbow_swing", "hip", "knee", "drop", "stride")


def _combine(is_factor: bool, first: Any, second: Any) -> Any:
    if isinstance(first, tuple):
        return tuple(_combine(is_factor, *pair) for pair in zip(first, second, strict=True))
    return first * second if is_factor else first + second
