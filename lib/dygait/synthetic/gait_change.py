"""What a bag, clothes or an impairment change about a gait."""

from __future__ import annotations

import dataclasses
from typing import Any

LEFT, RIGHT = 0, 1


@dataclasses.dataclass(frozen=True)
class GaitChange:
    """The effect of a bag, of clothes or of an impairment on the gait: per side (left, right) and for both.

    Angles in degrees, lengths as fractions of stature; swing, elbow_swing, hip, knee, drop and stride are factors.
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
    toes: tuple[float, float] = (0.0, 0.0)  # how far they are raised while the leg swings
    circumduction: tuple[float, float] = (0.0, 0.0)
    inward: tuple[float, float] = (0.0, 0.0)  # of the forearm
    lag: float = 0.0  # of the right leg, in cycles
    base: float = 0.0  # width of the steps
    drop: float = 1.0  # of the pelvis to the side that swings
    rock: float = 0.0  # of the trunk over the leg that stands
    nod: float = 0.0  # of the head

    def and_also(self, other: GaitChange) -> GaitChange:
        """Return the effect of both."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return GaitChange(**{name: _joined(name in _FACTORS, own, more) for name, own, more in pairs})

    def on(self, side: int) -> GaitChange:
        """Return the effect on a side of what is given as on the left."""
        if side == LEFT:
            return self
        pairs: dict[str, Any] = {name: own[::-1] for name, own in vars(self).items() if isinstance(own, tuple)}
        return dataclasses.replace(self, **pairs, lag=-self.lag, roll=-self.roll)


_FACTORS = ("swing", "elbow_swing", "hip", "knee", "drop", "stride")


def _joined(factor: bool, own: Any, more: Any) -> Any:
    if isinstance(own, tuple):
        return tuple(_joined(factor, *pair) for pair in zip(own, more, strict=True))
    return own * more if factor else own + more
