"""Coats, from thin jackets to long down coats: a condition of CASIA-B, or a part of an outfit.

Sizes are fractions of the subject's stature. Changing a number changes the pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dygait.synthetic.body import FigureBuilder, Physique
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.motion import Motion
from dygait.synthetic.variation import trait


@dataclasses.dataclass(frozen=True)
class Coat:
    """A coat, trousers and headwear; ``thickness`` is added to each side of the trunk."""

    thickness: float = trait(0.026, 0.01, 0.0013, low=0.006)
    depth: float = trait(0.026, 0.011, 0.0013, low=0.004)
    length: float = trait(0.12, 0.064, 0.0026, low=0.03)
    flare: float = trait(0.012, 0.011, 0.0017, low=-0.004)
    waist: float = trait(0.0, 0.0072, 0.00085)
    sleeve: float = trait(0.014, 0.0054, 0.00068, low=0.002)
    shoulder: float = trait(0.008, 0.0054, 0.00051, low=0.0)
    collar: float = trait(0.010, 0.009, 0.00085, low=0.0)
    trousers: float = trait(0.008, 0.0054, 0.00051, low=0.0)
    hood: float = trait(-0.3, 1.0)
    hat: float = trait(-0.8, 1.0)


def gait_change(coat: Coat) -> GaitChange:
    """Return the effect of a coat on the gait: arms further from the body, shorter strides."""
    stiff = min(coat.thickness / 0.03, 1.0)
    return GaitChange(
        swing=(1 - 0.25 * stiff,) * 2,
        elbow=(5.0 * stiff,) * 2,
        abduction=(2.0 + 4.5 * stiff,) * 2,
        stride=1 - 0.04 * stiff,
    )


def add_coat(builder: FigureBuilder, coat: Coat, body: Physique, motion: Motion) -> None:
    """Add a coat, thick trousers and headwear to a figure."""
    add_jacket(builder, coat, body, motion)
    _thick_trousers(builder, coat, body, motion)
    _headwear(builder, coat, body, motion)


def add_jacket(builder: FigureBuilder, coat: Coat, body: Physique, motion: Motion) -> None:
    """Add trunk, sleeves and collar of a coat to a figure."""
    joints, hips, chest = motion.joints, motion.place("pelvis"), motion.place("lumbar")
    height = body.neck_base / (0.226 * body.stature)
    wide = coat.thickness + 0.092 * body.breadth * (0.5 + 0.25 * body.shoulder_scale + 0.25 * body.hip_scale)
    deep = coat.depth + 0.064 * body.depth
    builder.ellipsoid("coat_chest", chest, (0.004, 0.0, 0.105 * height), (deep, wide, 0.055))
    builder.ellipsoid("coat_top", chest, (-0.004, 0.0, 0.170 * height), (deep - 0.008, wide - 0.004, 0.03))
    belt = (deep + abs(body.belly) / 2 + coat.waist, wide - 0.006 + coat.waist, 0.03)
    builder.ellipsoid("coat_belt", chest, (body.belly / 2, 0.0, -0.005), belt)
    builder.ellipsoid("coat_hips", hips, (-0.006, 0.0, 0.0), (deep + body.seat, wide + 0.3 * coat.flare, 0.03))
    # The hem follows the thighs and widens with the stride.
    share = min(coat.length * body.stature / body.thigh, 1.0)
    thighs = [joints[f"hip_{side}"] + share * (joints[f"knee_{side}"] - joints[f"hip_{side}"]) for side in (0, 1)]
    spread = 0.5 * np.abs(thighs[0][:, 0] - thighs[1][:, 0]) / body.stature
    hem = (deep - 0.006 + coat.flare + 0.75 * spread, wide - 0.004 + coat.flare, 0.012)
    builder.ellipsoid("coat_hem", (0.5 * (thighs[0] + thighs[1]), hips[1]), (0.0, 0.0, 0.0), hem)
    builder.chain("trunk", "coat_top", "coat_chest", "coat_belt", "coat_hips", "coat_hem")
    collar = (0.0, 0.0, 0.012 + coat.collar)
    builder.ellipsoid("collar", motion.place("neck"), collar, (0.040, 0.042, 0.016))
    arm = body.arm_girth * body.limb
    for side in (0, 1):
        padded = 0.0330 * body.limb + coat.shoulder + 0.4 * coat.sleeve
        lift = np.array([0.0, 0.0, 0.4 * coat.shoulder * body.stature])
        builder.sphere(f"coat_shoulder_{side}", joints[f"shoulder_{side}"] + lift, padded)
        builder.sphere(f"coat_elbow_{side}", joints[f"elbow_{side}"], 0.0255 * arm + coat.sleeve)
        builder.sphere(f"coat_cuff_{side}", joints[f"wrist_{side}"], 0.0205 * arm + 0.8 * coat.sleeve)
        builder.hull(f"upper arm {side}", f"coat_shoulder_{side}", f"coat_elbow_{side}")
        builder.hull(f"forearm {side}", f"coat_elbow_{side}", f"coat_cuff_{side}")
    builder.hull("trunk", "coat_top", "coat_shoulder_0", "coat_shoulder_1")
    builder.hull("trunk", "coat_shoulder_0", "coat_shoulder_1", "collar")


def _thick_trousers(builder: FigureBuilder, coat: Coat, body: Physique, motion: Motion) -> None:
    joints, leg = motion.joints, body.limb * body.thigh_girth
    for side in (0, 1):
        hip, knee, ankle = (joints[f"{name}_{side}"] for name in ("hip", "knee", "ankle"))
        builder.sphere(f"coat_thigh_{side}", 0.6 * hip + 0.4 * knee, 0.0470 * leg + coat.trousers)
        builder.sphere(f"coat_knee_{side}", knee, 0.0390 * leg + coat.trousers)
        cuff = 0.0310 * body.limb + body.trouser_hem + coat.trousers
        builder.sphere(f"coat_ankle_{side}", 0.06 * knee + 0.94 * ankle, cuff)
        builder.hull(f"thigh {side}", f"coat_thigh_{side}", f"coat_knee_{side}")
        builder.hull(f"shank {side}", f"coat_knee_{side}", f"coat_ankle_{side}")


def _headwear(builder: FigureBuilder, coat: Coat, body: Physique, motion: Motion) -> None:
    head, neck = motion.place("head"), motion.place("neck")
    if coat.hood > 1.2:  # over the head
        builder.ellipsoid("hood", head, (-0.012, 0.0, 0.012), (0.064, 0.058, 0.062))
        builder.ellipsoid("hood_foot", neck, (-0.01, 0.0, 0.01), (0.05, 0.06, 0.02))
        builder.hull("head", "hood", "hood_foot")
        return
    if coat.hood > 0:
        builder.ellipsoid("hood", neck, (-0.045, 0.0, 0.012), (0.026, 0.052, 0.028))
        builder.hull("trunk", "hood", "collar")
    if coat.hat > 0:
        hat = (0.056 * body.head_depth, 0.048 * body.head_width, 0.040)
        builder.ellipsoid("hat", head, (-0.006, 0.0, 0.034 + 0.006 * coat.hat), hat)
        builder.hull("head", "hat")
    if coat.hat > 0.5:
        builder.ellipsoid("brim", head, (0.058, 0.0, 0.024), (0.026, 0.034, 0.006))
        builder.hull("head", "hat", "brim")
