"""What is carried, and where the hands are: bags, boxes, trolleys, umbrellas, phones, pockets.

Everything is a :class:`~dygait.synthetic.wear.Bag` of a kind, and changes the gait. Lengths are fractions of stature.
"""

from __future__ import annotations

import numpy as np

from dygait.synthetic import wear
from dygait.synthetic.body import FigureBuilder, Physique
from dygait.synthetic.gait import GaitChange
from dygait.synthetic.motion import Motion
from dygait.synthetic.wear import Bag, BagSize

KINDS = {"back": 0.22, "shoulder": 0.27, "hand": 0.22, "crossbody": 0.16, "box": 0.06, "trolley": 0.07}
"""What is carried, with its share."""
HANDS = ("pockets", "pocket", "phone at the ear", "phone in front")


def draw_carried(rng: np.random.Generator, umbrellas: float) -> Bag:
    """Draw something to carry, an open umbrella with a probability."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    side, held, umbrella = int(rng.integers(2)), bool(rng.random() < 0.3), rng.random() < umbrellas
    return Bag("umbrella" if umbrella else kind, side, held, _draw_size(rng))


def _draw_size(rng: np.random.Generator) -> BagSize:
    """Draw the size of a bag; worn at the side, it hangs behind the hip."""
    z = rng.standard_normal(5).clip(-2, 2).tolist()
    return BagSize(
        length=0.20 + 0.035 * z[0],
        height=0.175 + 0.03 * z[1],
        thickness=0.068 + 0.016 * z[2],
        drop=-0.045 + 0.024 * z[3],
        forward=-0.075 + 0.028 * z[4],
    )


def draw_hands(rng: np.random.Generator, carried: Bag | None) -> Bag | None:
    """Draw where the hands are that carry nothing; none if none is free."""
    kind, side = HANDS[rng.integers(len(HANDS))], int(rng.integers(2))
    if carried is not None:
        if carried.kind == "box" or carried.held:
            return None
        if carried.kind not in ("back", "crossbody"):
            kind, side = "pocket" if kind == "pockets" else kind, 1 - carried.side
    return Bag(kind, side, False, BagSize())


def gait_change(thing: Bag) -> GaitChange:
    """Return the effect of what is carried, or of where the hands are, on the gait."""

    def arm(
        swing: float,
        elbow: float,
        flexion: float,
        abduction: float,
        inward: float = 0.0,
        lean: float = 0.0,
        nod: float = 0.0,
        stride: float = 1.0,
    ) -> GaitChange:
        """Return the change of one arm, for which the other one swings as before."""

        def on_side(own: float, free: float) -> tuple[float, float]:
            return (own, free) if thing.side == 0 else (free, own)

        return GaitChange(
            swing=on_side(swing, 1.0),
            elbow=on_side(elbow, 0.0),
            elbow_swing=on_side(swing, 1.0),
            flexion=on_side(flexion, 0.0),
            abduction=on_side(abduction, 0.0),
            inward=on_side(inward, 0.0),
            lean=lean,
            nod=nod,
            stride=stride,
        )

    if thing.kind == "box":
        return GaitChange((0.05,) * 2, (62.0,) * 2, (0.1,) * 2, (2.0,) * 2, (16.0,) * 2, lean=-3.0, stride=0.95)
    if thing.kind == "crossbody":
        return GaitChange(swing=(0.95, 0.95), stride=0.99)
    if thing.kind == "pockets":
        return GaitChange((0.12,) * 2, (20.0,) * 2, (0.1,) * 2, (7.0,) * 2, (-6.0,) * 2)
    if thing.kind in _ARMS:
        return arm(**_ARMS[thing.kind])
    return wear.bag_gait_change(thing)


_ARMS: dict[str, dict[str, float]] = {
    "trolley": {"swing": 0.12, "elbow": -14.0, "flexion": -24.0, "abduction": 5.0, "lean": 1.5, "stride": 0.98},
    "umbrella": {"swing": 0.08, "elbow": 85.0, "flexion": 22.0, "abduction": -3.0, "inward": 12.0, "stride": 0.98},
    "pocket": {"swing": 0.12, "elbow": 20.0, "flexion": -6.0, "abduction": 7.0},
    "phone at the ear": {"swing": 0.05, "elbow": 116.0, "flexion": 66.0, "abduction": 10.0, "inward": 52.0},
    "phone in front": {"swing": 0.1, "elbow": 76.0, "flexion": 20.0, "abduction": -2.0, "inward": 18.0, "nod": 12.0},
}
"""The arm that has something in its hand."""


def add_carried(builder: FigureBuilder, thing: Bag, body: Physique, motion: Motion, phase: np.ndarray) -> None:
    """Add what is carried to a figure; it swings with the phase (S,) of the gait in cycles."""
    if thing.kind == "box":
        _add_box(builder, thing, body, motion)
    elif thing.kind == "trolley":
        _add_trolley(builder, thing, body, motion)
    elif thing.kind == "umbrella":
        _add_umbrella(builder, thing, body, motion)
    elif thing.kind not in HANDS:
        wear.add_bag(builder, thing, body, motion, phase)


def _add_box(builder: FigureBuilder, thing: Bag, body: Physique, motion: Motion) -> None:
    near = 0.07 * body.depth + max(body.belly, 0.0) + 0.012
    far, half = near + 0.6 * thing.size.length + 0.02, 0.55 * thing.size.length
    low, high = 0.03, 0.03 + 0.7 * thing.size.height
    corners = {"bag_0": (near, low), "bag_1": (near, high), "bag_2": (far, low), "bag_3": (far, high)}
    for name, (ahead, up) in corners.items():
        builder.ellipsoid(name, motion.place("lumbar"), (ahead, 0.0, up), (0.012, half, 0.012))
    builder.hull("bag", *corners)


def _add_trolley(builder: FigureBuilder, thing: Bag, body: Physique, motion: Motion) -> None:
    stature, hand = body.stature, motion.joints[f"hand_{thing.side}"]
    back = -motion.frames["pelvis"][:, :, 0] * [1.0, 1.0, 0.0]
    wheel = hand + 0.30 * stature * back
    wheel[:, 2] = 0.05 * stature
    along = (hand - wheel) / np.linalg.norm(hand - wheel, axis=1, keepdims=True)
    behind = np.stack([-along[:, 2], 0 * along[:, 2], along[:, 0]], -1)
    tall, deep, radius = (0.24 + 0.5 * thing.size.height) * stature, (0.05 + thing.size.thickness) * stature, 0.035
    for number, (up, out) in enumerate(((0.0, 0.0), (tall, 0.0), (0.0, deep), (tall, deep))):
        builder.sphere(f"bag_{number}", wheel + up * along + out * behind, radius)
    builder.hull("bag", "bag_0", "bag_1", "bag_2", "bag_3")
    builder.sphere("handle", hand, 0.008)
    builder.hull("bag", "handle", "bag_1")


def _add_umbrella(builder: FigureBuilder, thing: Bag, body: Physique, motion: Motion) -> None:
    hand, unit = motion.joints[f"hand_{thing.side}"], body.stature
    above = (
        hand
        + np.array([0.0, 0.0, 1.0]) * (1.03 * unit - hand[:, 2:].mean())
        + (motion.joints["head"] - hand)
        * [
            0.6,
            0.6,
            0.0,
        ]
    )
    builder.sphere("grip", hand, 0.006)
    builder.disc("canopy", above, 0.20 + 0.5 * thing.size.length, 0.012)
    builder.sphere("tip", above + np.array([0.0, 0.0, 0.10 * unit]), 0.012)
    builder.hull("canopy", "canopy", "tip")
    builder.hull("canopy", "grip", "tip")
