"""Carried things, and positions of the hands: bags, boxes, trolleys, umbrellas, phones, pockets.

Each is a :class:`Bag` of some kind, and changes the gait. Lengths are fractions of stature.
Changing a number changes the pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dygait.synthetic.body import FigureBuilder, Physique
from dygait.synthetic.gait import SIGN
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.motion import Motion
from dygait.synthetic.variation import draw, trait

KINDS = {"back": 0.22, "shoulder": 0.27, "hand": 0.22, "crossbody": 0.16, "box": 0.06, "trolley": 0.07}
"""Kinds of carried things, and their shares."""
HANDS = ("pockets", "pocket", "phone at the ear", "phone in front")


@dataclasses.dataclass(frozen=True)
class BagSize:
    """Size and position of a bag."""

    length: float = trait(0.19, 0.03, 0.0051, low=0.10)
    height: float = trait(0.16, 0.026, 0.0051, low=0.09)
    thickness: float = trait(0.065, 0.013, 0.0026, low=0.025)
    drop: float = trait(0.0, 0.019, 0.0051)
    forward: float = trait(-0.035, 0.017, 0.0068)


@dataclasses.dataclass(frozen=True)
class Bag:
    """A carried thing, or a position of the hands."""

    kind: str  # a key of GAIT_CHANGES
    side: int  # 0 left, 1 right
    held: bool  # whether the hands are on the straps
    size: BagSize  # size and position


def draw_bag(rng: np.random.Generator) -> Bag:
    """Draw a bag."""
    kind = ("shoulder", "hand", "back")[rng.integers(3)]
    return Bag(kind, int(rng.integers(2)), rng.random() < 0.3, draw(BagSize, rng, {}))


def draw_carried(rng: np.random.Generator, umbrellas: float) -> Bag:
    """Draw a thing to carry, an open umbrella with probability `umbrellas`."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    side, held, umbrella = int(rng.integers(2)), rng.random() < 0.3, rng.random() < umbrellas
    return Bag("umbrella" if umbrella else kind, side, held, _draw_size(rng))


def _draw_size(rng: np.random.Generator) -> BagSize:
    """Draw the size of a bag; if worn at the side, it hangs behind the hip."""
    z = rng.standard_normal(5).clip(-2, 2).tolist()
    return BagSize(
        length=0.20 + 0.035 * z[0],
        height=0.175 + 0.03 * z[1],
        thickness=0.068 + 0.016 * z[2],
        drop=-0.045 + 0.024 * z[3],
        forward=-0.075 + 0.028 * z[4],
    )


def draw_hands(rng: np.random.Generator, carried: Bag | None) -> Bag | None:
    """Draw the position of the hands that carry nothing; None if no hand is free."""
    kind, side = HANDS[rng.integers(len(HANDS))], int(rng.integers(2))
    if carried is not None:
        if carried.kind == "box" or carried.held:
            return None
        if carried.kind not in ("back", "crossbody"):
            kind, side = "pocket" if kind == "pockets" else kind, 1 - carried.side
    return Bag(kind, side, False, BagSize())


def _one_arm(
    swing: float, elbow: float, flexion: float, abduction: float, inward: float = 0.0, **changes: Any
) -> GaitChange:
    """Return a change of the left arm only, while the right arm swings as before."""
    return GaitChange(
        (swing, 1.0), (elbow, 0.0), (swing, 1.0), (abduction, 0.0), (flexion, 0.0), inward=(inward, 0.0), **changes
    )


GAIT_CHANGES = {
    "back": GaitChange((0.9, 0.9), (4.0, 4.0), abduction=(2.0, 2.0), lean=3.0, stride=0.98),
    "shoulder": GaitChange((0.7, 1.0), (4.0, 0.0), (0.8, 1.0), (7.0, 0.0), roll=-1.2, stride=0.985),
    "hand": GaitChange((0.35, 1.05), (-12.0, 0.0), (0.3, 1.0), (3.0, 1.0), roll=2.0, stride=0.985),
    "crossbody": GaitChange((0.95, 0.95), stride=0.99),
    "box": GaitChange((0.05, 0.05), (62.0, 62.0), (0.1, 0.1), (2.0, 2.0), (16.0, 16.0), lean=-3.0, stride=0.95),
    "trolley": _one_arm(0.12, -14.0, -24.0, 5.0, lean=1.5, stride=0.98),
    "umbrella": _one_arm(0.08, 85.0, 22.0, -3.0, 12.0, stride=0.98),
    "pockets": GaitChange((0.12, 0.12), (20.0, 20.0), (0.1, 0.1), (7.0, 7.0), (-6.0, -6.0)),
    "pocket": _one_arm(0.12, 20.0, -6.0, 7.0),
    "phone at the ear": _one_arm(0.05, 116.0, 66.0, 10.0, 52.0),
    "phone in front": _one_arm(0.1, 76.0, 20.0, -2.0, 18.0, nod=12.0),
}
"""Effect of each kind on the gait, for the left side."""
_HANDS_ON_STRAPS: dict[str, dict[str, Any]] = {
    "back": {"swing": (0.3, 0.3), "elbow": (85.0, 85.0), "elbow_swing": (0.15, 0.15)},
    "shoulder": {"swing": (0.35, 1.0), "elbow": (60.0, 0.0), "elbow_swing": (0.2, 1.0), "flexion": (8.0, 0.0)},
}


def gait_change(thing: Bag) -> GaitChange:
    """Return the effect of a carried thing, or of a position of the hands, on the gait."""
    held = _HANDS_ON_STRAPS.get(thing.kind, {}) if thing.held else {}
    return dataclasses.replace(GAIT_CHANGES[thing.kind], **held).on(thing.side)


def add_carried(builder: FigureBuilder, thing: Bag, body: Physique, motion: Motion, phase: np.ndarray) -> None:
    """Add a carried thing to a figure; it swings with the phase (S,) of the gait in cycles."""
    if thing.kind == "box":
        _add_box(builder, thing, body, motion)
    elif thing.kind == "trolley":
        _add_trolley(builder, thing, body, motion)
    elif thing.kind == "umbrella":
        _add_umbrella(builder, thing, body, motion)
    elif thing.kind not in HANDS:
        add_bag(builder, thing, body, motion, phase)


def add_bag(builder: FigureBuilder, bag: Bag, body: Physique, motion: Motion, phase: np.ndarray) -> None:
    """Add a bag to a figure; it swings with the phase (S,) of the gait in cycles."""
    size, side, stature = bag.size, bag.side, body.stature
    radius = size.thickness / 2
    corners = ("bag_0", "bag_1", "bag_2", "bag_3")
    if bag.kind == "back":
        behind = -0.052 * body.depth - radius
        middle = (0.5 * body.shoulder_rise + 0.02 * stature) / stature + 0.3 * size.drop
        layout = ((0.05, 0.10, 0.8), (-0.05, 0.10, 0.8), (0.055, -0.085, 1.25), (-0.055, -0.085, 1.25))
        for name, (across, up, thick) in zip(corners, layout, strict=True):
            offset = (behind - (thick - 0.8) * radius, across, middle + up * size.height / 0.14)
            builder.ellipsoid(name, motion.place("lumbar"), offset, (thick * radius + 0.012, 0.022, 0.022))
        builder.hull("bag", *corners)
        return

    if bag.kind == "hand":
        anchor, top = motion.joints[f"hand_{side}"], 0.030
        builder.sphere("hang", anchor, 0.006)
    else:
        sideways = SIGN[side] * (0.100 * body.breadth * body.hip_scale + 0.9 * radius)
        pelvis, axes = motion.place("pelvis")
        offset = (size.forward, sideways, 0.055 + size.drop + size.height / 2)
        anchor, top = pelvis + axes @ (np.array(offset) * stature), 0.0
        over = 1 - side if bag.kind == "crossbody" else side
        strap = motion.joints[f"shoulder_{over}"] + np.array([0.0, 0.0, 0.026]) * stature
        builder.sphere("hang", strap, 0.008)
    swing = np.deg2rad(6.0) * np.cos(2 * np.pi * (phase - 0.1 - 0.5 * side))
    forward = np.stack([np.cos(swing), 0 * swing, np.sin(swing)], -1)
    down = np.stack([np.sin(swing), 0 * swing, -np.cos(swing)], -1)
    bottom = top + size.height - radius
    for name, along, below in zip(corners, (0.8, -0.8, -1.0, 1.0), (top, top, bottom, bottom), strict=True):
        position = anchor + stature * (along * (size.length / 2 - radius) * forward + (below + 0.5 * radius) * down)
        builder.sphere(name, position, radius)
        if below == top:
            builder.sphere(f"{name}_tie", position, 0.008)
            builder.hull("bag", "hang", f"{name}_tie")
    builder.hull("bag", *corners)


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
    higher = np.array([0.0, 0.0, 1.0]) * (1.03 * unit - hand[:, 2:].mean())
    above = hand + higher + (motion.joints["head"] - hand) * [0.6, 0.6, 0.0]
    builder.sphere("grip", hand, 0.006)
    builder.disc("canopy", above, 0.20 + 0.5 * thing.size.length, 0.012)
    builder.sphere("tip", above + np.array([0.0, 0.0, 0.10 * unit]), 0.012)
    builder.hull("canopy", "canopy", "tip")
    builder.hull("canopy", "grip", "tip")
