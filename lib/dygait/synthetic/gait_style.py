"""Gait traits: cadence, stride, and posture and range of every joint, with their variation between people and walks.

Changing a number changes the pictures: increment `settings.VERSION`.
"""

from __future__ import annotations

import dataclasses

from dygait.synthetic.variation import trait


@dataclasses.dataclass(frozen=True)
class Style:
    """The gait traits of one subject. Angles are in degrees, lengths are fractions of stature."""

    stride_seconds: float = trait(1.08, 0.086, 0.013, vigour=-0.65)
    hip_gain: float = trait(1.0, 0.08, 0.017, vigour=0.9)
    hip_offset: float = trait(0.0, 1.9, 0.42, posture=0.65)
    hip_phase: float = trait(0.0, 0.0073, 0.0017)
    knee_gain: float = trait(0.97, 0.046, 0.013, vigour=0.65)
    knee_offset: float = trait(2.5, 2.5, 0.51, low=-3.0, posture=0.85)
    knee_phase: float = trait(0.0, 0.0073, 0.0017)
    ankle_gain: float = trait(1.0, 0.12, 0.025, vigour=0.65)
    leg_asymmetry: float = trait(0.0, 0.031, 0.0085)
    leg_lag: float = trait(0.0, 0.0061, 0.0026)
    step_base: float = trait(0.056, 0.014, 0.0026, low=0.012, posture=0.65)
    toe_out: float = trait(8.0, 4.2, 0.85, posture=0.65)
    bow_leg: float = trait(0.0, 0.0073, 0.00085)
    circumduction: float = trait(0.008, 0.0049, 0.00085, low=0.0, vigour=0.5)
    sway: float = trait(0.011, 0.0037, 0.00085, low=0.0, vigour=0.65)
    pelvis_yaw: float = trait(5.0, 1.4, 0.34, vigour=0.85)
    pelvis_list: float = trait(4.0, 1.0, 0.26)
    thorax_yaw: float = trait(4.5, 1.5, 0.42, vigour=0.85)
    thorax_roll: float = trait(1.2, 0.85, 0.17)
    lean: float = trait(2.5, 2.0, 0.59, posture=0.85)
    stoop: float = trait(0.0, 0.008, 0.0013, posture=0.9)
    head_forward: float = trait(0.022, 0.008, 0.0017, posture=0.9)
    head_pitch: float = trait(2.0, 3.7, 1.3, posture=0.75)
    head_nod: float = trait(1.0, 0.37, 0.17)
    arm_swing: float = trait(17.0, 5.2, 1.5, low=2.0, vigour=0.9)
    arm_offset: float = trait(-5.0, 3.1, 0.85, posture=-0.5)
    arm_abduction: float = trait(9.0, 2.7, 0.68, low=2.0, vigour=0.85)
    arm_phase: float = trait(0.0, 0.019, 0.0051)
    arm_asymmetry: float = trait(0.0, 0.14, 0.043)
    elbow_flexion: float = trait(21.0, 6.1, 1.7, low=4.0, vigour=0.65)
    elbow_swing: float = trait(12.0, 3.7, 1.0, low=1.0, vigour=0.85)
    forearm_inward: float = trait(7.0, 3.1, 0.68, posture=0.75)
    shoulder_shrug: float = trait(0.0, 0.0043, 0.00085, posture=0.9)
