"""The gait of a subject: curves of joint angles over the gait cycle, and the path of a pelvis whose feet do not slide.

Frames of reference: x forward, y to the subject's left, z up, metres; angles in degrees, flexion positive. The phase of
the gait cycle is counted in cycles: the left heel strikes at whole numbers, the right heel half a cycle later.

The mean curves are rounded from the published means of level walking at a natural pace:
D. A. Winter, *The Biomechanics and Motor Control of Human Gait*, 2nd ed. (1991), for hip, knee and ankle;
J. Perry, *Gait Analysis: Normal and Pathological Function* (1992), for the pelvis;
M. P. Murray, S. B. Sepic and E. J. Barnard, "Patterns of sagittal rotation of the upper limbs in walking",
Physical Therapy 47 (1967), for shoulder and elbow.

Changing a number changes the pictures: increment `settings.VERSION`.

S frames, G points of the gait cycle. What both sides have is an array with the left side first: (2, S).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dygait.synthetic.body import Physique
from dygait.synthetic.gait_change import LEFT, RIGHT, GaitChange
from dygait.synthetic.gait_style import Style
from dygait.synthetic.motion import Motion

SIGN = (1.0, -1.0)
"""The sign of y on the left and on the right side."""
_SIGN = np.array(SIGN)[:, None]

FRAMES_PER_SECOND = 25

# Percent of the gait cycle, and degrees. The hip angle is relative to the vertical, not to the pelvis.
HIP = (
    (0, 10, 20, 30, 40, 50, 55, 60, 70, 80, 90),
    (24, 21, 12, 2, -8, -15, -15, -10, 7, 21, 27),
)
KNEE = (
    (0, 5, 10, 15, 20, 30, 40, 45, 50, 55, 60, 65, 70, 73, 80, 85, 90, 95),
    (4, 10, 17, 19, 18, 11, 6, 7, 11, 22, 39, 53, 62, 63, 52, 34, 15, 4),
)
ANKLE = (
    (0, 5, 10, 20, 30, 40, 45, 50, 55, 60, 63, 70, 75, 80, 85, 90, 95),
    (0, -5, -4, 3, 7, 9, 9, 5, -6, -17, -19, -9, -3, 0, 1, 1, 1),
)


def fourier_series(percents: Sequence[float], values: Sequence[float], harmonics: int) -> np.ndarray:
    """Fit a Fourier series to values at percents of the gait cycle by least squares.

    Returns:
        complex (harmonics + 1,): the coefficients of the mean and the harmonics, for :func:`evaluate`.
    """
    phases = np.array(percents) / 100
    angles = 2 * np.pi * phases[:, None] * np.arange(1, harmonics + 1)
    basis = np.hstack([np.ones((len(phases), 1)), np.cos(angles), np.sin(angles)])
    solution = np.linalg.lstsq(basis, np.array(values, float), rcond=None)[0]
    return np.concatenate([solution[:1], solution[1 : harmonics + 1] - 1j * solution[harmonics + 1 :]])


def evaluate(series: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Evaluate a Fourier series (K + 1,), or J of them (K + 1, J), at phases (in cycles, any shape)."""
    turns = np.exp(2j * np.pi * phase[..., None] * np.arange(len(series)))
    return (turns @ series).real


def _delayed(series: np.ndarray, cycles: float) -> np.ndarray:
    """Return a Fourier series (K + 1,) whose value at a phase is that of the given one, `cycles` later."""
    return series * np.exp(2j * np.pi * cycles * np.arange(len(series)))


HIP_SERIES = fourier_series(*HIP, 3)
KNEE_SERIES = fourier_series(*KNEE, 6)
ANKLE_SERIES = fourier_series(*ANKLE, 6)
SIGNATURE_HARMONICS = 3


def rotation(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> np.ndarray:
    """Return orientations from angles in degrees, of any shapes: yaw to the left, pitch forward, roll to the right.

    Returns:
        float (..., 3, 3).
    """
    cy, sy, cp, sp, cr, sr = (f(np.deg2rad(a)) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    result = np.empty((*np.shape(rows[1][2]), 3, 3))
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            result[..., i, j] = value
    return result


class Gait:
    """The gait of one subject in one sequence: joint angles and positions for any phase of the cycle.

    Args:
        style: the gait traits in this sequence.
        signature: float (2, 3, K), small subject-specific cosine and sine terms in degrees, which are added to the
            first K harmonics of hip, knee and ankle.
        gait_change: the effect of clothes, carried things or an impairment.
        speed: speed relative to the subject's mean; a faster walk has faster and longer strides.
    """

    def __init__(
        self,
        physique: Physique,
        style: Style,
        signature: np.ndarray,
        gait_change: GaitChange | None = None,
        speed: float = 1.0,
    ) -> None:
        self.physique = physique
        self.style = style
        self.gait_change = gait_change or GaitChange()
        extra = np.zeros((3, max(len(KNEE_SERIES), len(ANKLE_SERIES))), complex)
        extra[:, 1 : 1 + signature.shape[2]] = signature[0] - 1j * signature[1]
        stretch = np.sqrt(speed) * self.gait_change.stride
        hip = HIP_SERIES * (style.hip_gain * stretch) + extra[0, : len(HIP_SERIES)]
        hip[0] = HIP_SERIES[0] + style.hip_offset
        hip = np.append(_delayed(hip, style.hip_phase), np.zeros(len(KNEE_SERIES) - len(hip)))
        knee = _delayed(KNEE_SERIES * style.knee_gain + extra[1], style.knee_phase)
        self._series = np.stack([hip, knee, ANKLE_SERIES * style.ankle_gain + extra[2]], 1)
        self.cycles_per_frame = np.sqrt(speed) / (style.stride_seconds * FRAMES_PER_SECOND)
        self._path = self._pelvis_path()

    def leg_angles(self, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the sagittal angles of the legs in degrees.

        Args:
            phase: (S,) in cycles.

        Returns:
            Hip flexion, knee flexion, ankle dorsiflexion and the pitch of the foot (toes up positive), each (2, S).
        """
        style, change = self.style, self.gait_change
        phases = self._phases(phase)
        gain = 1 + _SIGN * style.leg_asymmetry
        hip, knee, ankle = np.moveaxis(evaluate(self._series, phases), -1, 0)
        hip = style.hip_offset + (hip - style.hip_offset) * (gain * _pair(change.hip))
        knee = np.maximum(knee * (gain * _pair(change.knee)) + style.knee_offset, -2.0)
        if any(change.toes):
            ankle = ankle + _pair(change.toes) * _window(phases, 0.6, 1.0, 0.12)
        pitch = hip - knee + ankle
        # From foot flat to heel rise the ground determines the pitch of the foot, and the ankle follows.
        flat = _window(phases, 0.07, 0.40, 0.05)
        correction = -0.9 * flat * (pitch + 1.0)
        return hip, knee, ankle + correction, pitch + correction

    def pose(self, phase: np.ndarray) -> Motion:
        """Return joint positions and orientations of the subject, moving along x.

        Args:
            phase: (S,) in cycles, increasing.

        Returns:
            The motion, with the ground at z = 0 and x = 0 where the pelvis is at phase 0.
        """
        legs = self._lower_body(phase)
        cycle, distance, height = self._path
        cycles = np.floor(phase)
        shift = np.zeros((len(phase), 3))
        shift[:, 0] = cycles * distance[-1] + np.interp(phase - cycles, cycle, distance)
        shift[:, 2] = np.interp(phase - cycles, cycle, height)
        joints = {name: position + shift for name, position in legs.joints.items()}
        self._lift_feet(phase, joints)
        return self._upper_body(phase, Motion(joints, legs.frames))

    @property
    def stride_metres(self) -> float:
        """The distance covered in one cycle."""
        return float(self._path[1][-1])

    def _phases(self, phase: np.ndarray) -> np.ndarray:
        """Return the phases of the left and the right leg, (2, S)."""
        return phase + _pair((0.0, 0.5 + self.style.leg_lag + self.gait_change.lag))

    def _lower_body(self, phase: np.ndarray) -> Motion:
        """Return the motion of pelvis and legs, with the middle of the hips at x = 0 and z = 0."""
        body, style, change = self.physique, self.style, self.gait_change
        turn = 2 * np.pi * phase
        # The hip of the leg that swings forward leads (Perry): left most forward at left heel strike.
        yaw = -style.pelvis_yaw * np.cos(turn)
        # The pelvis drops on the side of the swinging leg: to the right while the left leg stands (phase 0.1 to 0.5).
        list_ = style.pelvis_list * change.drop * np.sin(2 * np.pi * (phase - 0.02))
        pelvis = rotation(yaw, 0.4 * style.lean, list_)
        middle = np.zeros((len(phase), 3))
        middle[:, 1] = style.sway * body.stature * np.cos(turn - 2 * np.pi * 0.27)
        hip_angle, knee_angle, _, pitch = self.leg_angles(phase)
        thigh, shank, pitch = np.deg2rad(hip_angle), np.deg2rad(hip_angle - knee_angle), np.deg2rad(pitch)
        hip = middle + _SIGN[..., None] * (body.hip_spacing / 2 * pelvis[..., 1])  # (2, S, 3)
        swing = _window(self._phases(phase), 0.62, 0.95, 0.12)
        aside = style.circumduction + _pair(change.circumduction)
        track = _SIGN * ((style.step_base + change.base) / 2 + aside * swing) * body.stature
        across = track - hip[..., 1]
        bow = _SIGN * style.bow_leg * body.stature
        knee = hip + np.stack([body.thigh * np.sin(thigh), 0.5 * across + bow, -body.thigh * np.cos(thigh)], -1)
        ankle = knee + np.stack([body.shank * np.sin(shank), 0.5 * across - bow, -body.shank * np.cos(shank)], -1)
        foot = rotation(_SIGN * style.toe_out, -np.rad2deg(pitch), 0.0)  # (2, S, 3, 3)
        # At push-off the toes stay on the ground while the rest of the foot rises.
        bend = np.clip(-pitch, 0, np.deg2rad(38))
        toes = rotation(_SIGN * style.toe_out, -np.rad2deg(pitch + bend), 0.0)
        heel = ankle - body.heel * foot[..., 0] + (body.heel_radius - body.ankle_height) * foot[..., 2]
        ball = ankle + body.ball * foot[..., 0] + (body.ball_radius - body.ankle_height) * foot[..., 2]
        toe = ball + body.toe * toes[..., 0] + (body.toe_radius - body.ball_radius) * toes[..., 2]
        positions = {"hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "ball": ball, "toe": toe}
        joints = {"pelvis": middle, **_by_side(positions)}
        return Motion(joints, {"pelvis": pelvis, **_by_side({"foot": foot})})

    def _sole(self, legs: Motion) -> np.ndarray:
        """Return the lowest points of heels, balls and toes: (S, 6, 3)."""
        body = self.physique
        radii = {"heel": body.heel_radius, "ball": body.ball_radius, "toe": body.toe_radius}
        points = [(f"{name}_{side}", radius) for side in (LEFT, RIGHT) for name, radius in radii.items()]
        return np.stack([legs.joints[name] - np.array([0.0, 0.0, radius]) for name, radius in points], 1)

    def _pelvis_path(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the path of the pelvis over one cycle: phases (G,), and distance and height in metres, (G,) each.

        A foot on the ground does not move, so the pelvis moves forward as fast as the supporting soles move backward
        relative to it, and its height is its height above them. Both are smoothed, for the body's inertia.
        """
        cycle = np.linspace(0, 1, 201)
        sole = self._sole(self._lower_body(cycle))
        standing = _window(self._phases(cycle), -0.01, 0.635, 0.05).T
        lowest = sole[:, :, 2].min(1, keepdims=True)
        # Nearly all weight is at the lowest points of the standing feet.
        weight = np.repeat(standing, 3, 1) * np.exp(-(sole[:, :, 2] - lowest) / 0.006) + 1e-12
        weight /= weight.sum(1, keepdims=True)
        height = _smooth(-(sole[:, :, 2] * weight).sum(1), 0.02)
        speed = _smooth(-(np.gradient(sole[:, :, 0], cycle, axis=0) * weight).sum(1), 0.035)
        speed = np.maximum(speed, 0.4 * speed.mean())
        distance = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(cycle))])
        return cycle, distance, height

    def _lift_feet(self, phase: np.ndarray, joints: dict[str, np.ndarray]) -> None:
        """Lift a swinging foot to a minimum clearance, as additional flexion of hip and knee would, in place."""
        lowest = self._sole(Motion(joints, {}))[:, :, 2].reshape(-1, 2, 3).min(2)
        clearance = 0.012 * _window(self._phases(phase), 0.68, 0.96, 0.08)
        lift = np.maximum(clearance - lowest.T, 0.0)  # (2, S)
        for name, share in (("knee", 0.5), ("ankle", 1.0), ("heel", 1.0), ("ball", 1.0), ("toe", 1.0)):
            for side in (LEFT, RIGHT):
                joints[f"{name}_{side}"][:, 2] += share * lift[side]

    def _upper_body(self, phase: np.ndarray, legs: Motion) -> Motion:
        body, style, gait_change = self.physique, self.style, self.gait_change
        joints, frames = dict(legs.joints), dict(legs.frames)
        turn = 2 * np.pi * phase
        lean = style.lean + gait_change.lean + 0.8 * np.cos(2 * turn - 0.6)
        # The shoulders turn against the pelvis, and the trunk leans over the standing leg.
        thorax = rotation(
            style.thorax_yaw * np.cos(turn - 2 * np.pi * style.arm_phase),
            lean,
            -(style.thorax_roll + gait_change.rock) * np.sin(turn) + gait_change.roll,
        )
        stature = body.stature
        lumbar = joints["pelvis"] + frames["pelvis"] @ np.array([-0.006 * stature, 0.0, body.lumbar])
        above = [style.stoop * stature, 0.0, body.neck_base - 0.4 * abs(style.stoop) * stature]
        neck = lumbar + thorax @ np.array(above)
        nod = style.head_pitch + gait_change.nod + 0.3 * lean + style.head_nod * np.cos(2 * turn + 1.0)
        head_frame = rotation(0.2 * style.thorax_yaw * np.cos(turn), nod, 0.3 * style.thorax_roll * np.sin(turn))
        forward = (style.head_forward + 0.35 * style.stoop) * stature
        head = neck + thorax @ np.array([forward, 0.0, 0.0]) + head_frame @ np.array([0.0, 0.0, body.head_rise])
        joints |= {"lumbar": lumbar, "neck": neck, "head": head}
        frames |= {"thorax": thorax, "head": head_frame}
        ahead, aside = 0.6 * style.stoop * stature - 0.004 * stature, body.shoulder_spacing / 2
        up = body.shoulder_rise + style.shoulder_shrug * stature
        sides = np.array([[ahead, aside, up], [ahead, -aside, up]])
        shoulder = lumbar + np.moveaxis(thorax @ sides.T, -1, 0)  # (2, S, 3)
        gain = _pair(gait_change.swing) * (1 + _SIGN * style.arm_asymmetry)
        # The arm swings with the leg of the other side: furthest back at the heel strike of its own side.
        phases = self._phases(phase) - style.arm_phase
        swing, bend = -np.cos(2 * np.pi * phases), -np.cos(2 * np.pi * (phases - 0.05))
        flexion = style.arm_offset + _pair(gait_change.flexion) + style.arm_swing * gain * swing
        elbow_swing = style.elbow_swing * _pair(gait_change.elbow_swing) * (0.4 + 0.6 * gain)
        elbow_flexion = np.maximum(style.elbow_flexion + _pair(gait_change.elbow) + elbow_swing * bend, 2.0)
        abduction = style.arm_abduction + _pair(gait_change.abduction)
        outward = abduction - style.forearm_inward - _pair(gait_change.inward)
        yaw = rotation(0.6 * style.thorax_yaw * np.cos(turn), 0.0, 0.0)
        directions = _direction(flexion, abduction), _direction(flexion + elbow_flexion, outward)
        upper, lower = ((yaw @ direction[..., None])[..., 0] for direction in directions)
        elbow = shoulder + body.upper_arm * upper
        wrist = elbow + body.forearm * lower
        hand = wrist + 0.55 * body.hand * lower
        joints |= _by_side({"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand})
        return Motion(joints, frames)


def _pair(values: tuple[float, float]) -> np.ndarray:
    """Return the values of the left and the right side, (2, 1)."""
    return np.array(values)[:, None]


def _by_side(positions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split arrays (2, S, ...) into those of the left and the right side."""
    return {f"{name}_{side}": array[side] for name, array in positions.items() for side in (LEFT, RIGHT)}


def _window(phase: np.ndarray, start: float, end: float, edge: float) -> np.ndarray:
    """Return a smooth window over the part of the cycle from ``start`` to ``end``: 0 outside, 1 inside."""
    middle, half = (start + end) / 2, (end - start) / 2
    distance = np.abs((phase - middle + 0.5) % 1 - 0.5)
    ramp = np.clip((half - distance) / edge + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Smooth a periodic curve (G,), which includes both ends, by a Gaussian of a width in cycles."""
    count = len(values) - 1
    frequency = np.fft.rfftfreq(count, 1 / count)
    smooth = np.fft.irfft(np.fft.rfft(values[:-1]) * np.exp(-2 * (np.pi * frequency * width) ** 2), count)
    return np.append(smooth, smooth[0])


def _direction(flexion: np.ndarray, abduction: np.ndarray) -> np.ndarray:
    """Return the directions (2, S, 3) of arm segments, which hang down if both angles are 0."""
    flexion, abduction = np.deg2rad(flexion), np.deg2rad(abduction)
    forward, down = np.sin(flexion) * np.cos(abduction), -np.cos(flexion) * np.cos(abduction)
    return np.stack([forward, np.broadcast_to(_SIGN * np.sin(abduction), down.shape), down], -1)
