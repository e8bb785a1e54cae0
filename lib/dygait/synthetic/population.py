"""The population: women and men, children, old people, overweight people, and gaits changed by illness.

A subject drawn around the mean of CASIA-B's adults (body.py, gait_style.py) is adapted to the person:

- women and men: C. C. Gordon et al., *1988 Anthropometric Survey of U.S. Army Personnel* (NATICK/TR-89/044), means
  relative to stature; gait after M. P. Murray, A. B. Drought and R. C. Kory, "Walking patterns of normal men" (J. Bone
  Joint Surg. 46-A, 1964), M. P. Murray, R. C. Kory and S. B. Sepic, "Walking patterns of normal women" (Arch. Phys.
  Med. Rehabil. 51, 1970), and T. Oberg, A. Karsznia and K. Oberg, "Basic gait parameters" (J. Rehabil. Res. Dev. 30,
  1993);
- children: stature from the growth charts of the CDC (Kuczmarski et al., Vital Health Stat. 11/246, 2002), mean of
  girls and boys; cadence after D. H. Sutherland et al., *The Development of Mature Walking* (1988);
- the old: M. P. Murray, R. C. Kory and B. H. Clarkson, "Walking patterns in healthy old men" (J. Gerontol. 24, 1969),
  and J. H. Hollman, E. M. McDade and R. C. Petersen, "Normative spatiotemporal gait parameters in older adults" (Gait
  Posture 34, 2011);
- gaits changed by illness: qualitatively after J. Perry, *Gait Analysis* (1992).

Values for children are interpolated between the ages of the tables.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dygait.synthetic import real_people
from dygait.synthetic.body import Physique
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.gait_style import Style
from dygait.synthetic.variation import shifted
from dygait.synthetic.world import People

AGES = (4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0)
CHILD_STATURE = (1.02, 1.155, 1.28, 1.385, 1.50, 1.62, 1.68)
"""Stature at each age, in metres."""
CHILD_HEAD = (1.36, 1.27, 1.19, 1.13, 1.08, 1.03, 1.0)
CHILD_LEG = (0.94, 0.96, 0.975, 0.99, 1.0, 1.0, 1.0)
"""Size of the head, and length of the legs, as fractions of stature, relative to adults."""
CHILD_STRIDE = (0.76, 0.81, 0.85, 0.89, 0.93, 0.97, 1.0)
"""Duration of a stride, relative to adults."""

ADULT, OLD, OLDEST = 17.0, 62.0, 88.0
"""Ages in years."""
IMPAIRMENTS: dict[str, dict[str, Any]] = {
    # The stance of the painful leg is short, and the trunk leans over it.
    "limp": {"hip": (-0.25, 0.0), "knee": (-0.2, 0.0), "lag": 0.05, "roll": -2.0, "rock": 2.5, "stride": -0.15},
    # The leg swings around, and the pelvis is hitched.
    "stiff knee": {"knee": (-0.75, 0.0), "circumduction": (0.045, 0.0), "rock": 3.0, "stride": -0.12},
    # The trunk is thrown over the standing leg.
    "waddling": {"rock": 8.0, "drop": 1.0, "base": 0.03, "stride": -0.15},
    # Short steps, feet close to the ground, bent forward, stiff arms.
    "shuffling": {
        "knee": (-0.35, -0.35),
        "swing": (-0.8, -0.8),
        "elbow": (35.0, 35.0),
        "elbow_swing": (-0.7, -0.7),
        "lean": 9.0,
        "stride": -0.45,
    },
    # The leg is lifted high to clear the toes.
    "drop foot": {"hip": (0.25, 0.0), "knee": (0.25, 0.0), "toes": (-16.0, 0.0), "stride": -0.15},
}
"""Values that the severest impairment of the left leg adds to a `dygait.synthetic.gait_change.GaitChange`."""
_MEAN_STATURE = Physique().stature


@dataclasses.dataclass(frozen=True)
class Person:
    """Properties of a subject besides the traits of body and gait."""

    woman: bool
    age: float  # years
    overweight: float  # added to `build`, in standard deviations
    hair: float  # 0 to 1; long hair below a limit, which differs for women and men
    hair_length: float  # 0 to 1, length of long hair
    gait_change: GaitChange  # the effect of an impairment

    @property
    def frailty(self) -> float:
        """The effect of age on the gait: 0 until :data:`OLD`, 1 at :data:`OLDEST`."""
        return min(max((self.age - OLD) / (OLDEST - OLD), 0.0), 1.0)


def draw_person(rng: np.random.Generator, people: People) -> Person:
    """Draw a person; the number of random draws does not depend on the person."""
    woman, group, heavy, impaired = rng.random(4).tolist()
    share, weight, severity, hair, hair_length = rng.random(5).tolist()
    which, side = int(rng.integers(len(IMPAIRMENTS))), int(rng.integers(2))
    if group < people.children:
        age = AGES[0] + share * (ADULT - 1 - AGES[0])
    elif group < people.children + people.old:
        age = OLD + 3 + share * (OLDEST - OLD - 3)
    else:
        age = ADULT + share * (OLD - ADULT)
    overweight = 1.5 + 2.0 * weight if heavy < people.heavy else 0.0
    kind = list(IMPAIRMENTS)[which]
    change = impairment(kind, side, 0.4 + 0.6 * severity) if impaired < people.impaired else GaitChange()
    return Person(woman < 0.5, age, overweight, hair, hair_length, change)


def impairment(kind: str, side: int, severity: float) -> GaitChange:
    """Return the change of a gait by an impairment of one leg, or of both.

    Args:
        kind: one of :data:`IMPAIRMENTS`.
        side: 0 left, 1 right.
        severity: 0 to 1.
    """
    default = GaitChange()
    change: dict[str, Any] = {}
    for name, worst in IMPAIRMENTS[kind].items():
        if isinstance(worst, tuple):
            change[name] = tuple(d + severity * w for d, w in zip(getattr(default, name), worst, strict=True))
        else:
            change[name] = getattr(default, name) + severity * worst
    return GaitChange(**change).on(side)


def shaped(body: Physique, person: Person, people: People) -> Physique:
    """Adapt a body that was drawn around the mean of adults to a person."""
    sign = people.dimorphism * (-1.0 if person.woman else 1.0)
    build = body.build + person.overweight
    body = shifted(body, real_people.BODY, people.calibrated)
    changes = {
        "stature": body.stature * (1 + 0.0375 * sign - 0.02 * person.frailty),
        "shoulder_scale": body.shoulder_scale * (1 + 0.03 * sign),
        "hip_scale": body.hip_scale * (1 - 0.04 * sign),
        "neck_girth": body.neck_girth * (1 + 0.055 * sign),
        "arm_girth": body.arm_girth * (1 + 0.05 * sign),
        "thigh_girth": body.thigh_girth * (1 - 0.023 * sign),
        "waist_girth": body.waist_girth * (1 + 0.025 * sign),
        "foot_scale": body.foot_scale * (1 + 0.0125 * sign),
        "head_width": body.head_width * (1 - 0.01 * sign),
        "seat": body.seat - 0.004 * sign,
        "belly": body.belly + 0.010 * person.overweight + 0.006 * person.frailty,
        "build": build,
    }
    if person.age < ADULT:
        head = float(np.interp(person.age, AGES, CHILD_HEAD))
        changes |= {
            "stature": body.stature / _MEAN_STATURE * float(np.interp(person.age, AGES, CHILD_STATURE)),
            "leg_scale": body.leg_scale * float(np.interp(person.age, AGES, CHILD_LEG)),
            "head_width": body.head_width * head,
            "head_depth": body.head_depth * head,
            "head_length": body.head_length * head,
            "neck_scale": body.neck_scale * (1 - 0.5 * (head - 1)),
            "neck_girth": body.neck_girth * (1 + 0.3 * (head - 1)),
            "shoulder_scale": body.shoulder_scale * (1 - 0.15 * (head - 1)),
            "hip_scale": body.hip_scale * (1 - 0.1 * (head - 1)),
            "foot_scale": body.foot_scale * (1 + 0.1 * (head - 1)),
        }
    return dataclasses.replace(body, **changes)


def paced(style: Style, person: Person, people: People) -> Style:
    """Adapt a gait that was drawn around the mean of adults to a person."""
    sign, frailty = people.dimorphism * (-1.0 if person.woman else 1.0), person.frailty
    style = shifted(style, real_people.GAIT, people.calibrated)
    child = float(np.interp(person.age, AGES, CHILD_STRIDE))
    heavy = person.overweight
    return dataclasses.replace(
        style,
        stride_seconds=style.stride_seconds * (1 + 0.025 * sign) * (1 + 0.07 * frailty) * child,
        hip_gain=style.hip_gain * (1 - 0.2 * frailty) * (1 - 0.02 * heavy),
        knee_offset=style.knee_offset + 4.0 * frailty,
        ankle_gain=style.ankle_gain * (1 - 0.2 * frailty),
        step_base=style.step_base + 0.005 * sign + 0.012 * frailty + 0.009 * heavy,
        toe_out=style.toe_out + 1.5 * sign + 3.0 * frailty + heavy,
        pelvis_yaw=style.pelvis_yaw * (1 - 0.12 * sign) * (1 - 0.25 * frailty),
        pelvis_list=style.pelvis_list * (1 - 0.2 * sign),
        thorax_roll=style.thorax_roll + 0.4 * sign + 0.3 * heavy,
        lean=style.lean + 4.0 * frailty - 0.5 * heavy,
        stoop=style.stoop + 0.02 * frailty,
        head_forward=style.head_forward + 0.012 * frailty,
        arm_swing=style.arm_swing * (1 - 0.2 * frailty),
        arm_abduction=style.arm_abduction + 1.5 * sign + 2.0 * heavy,
        elbow_flexion=style.elbow_flexion + 6.0 * frailty,
    )
