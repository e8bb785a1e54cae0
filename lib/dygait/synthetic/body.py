"""The body of a subject: its traits (:class:`Physique`), and its ellipsoids around the joints (:func:`build_body`).

A body is a set of ellipsoids joined by convex hulls: a thigh is the hull of a sphere at the hip and a smaller sphere at
the knee. The outlines of such hulls can be computed exactly and fast (renderer.py).

Proportions are drawn around published means. Lengths of segments: R. Drillis and R. Contini, *Body Segment Parameters*
(New York University, 1966), as reproduced in D. A. Winter, *Biomechanics and Motor Control of Human Movement* (4th ed.
2009, figure 4.1). Breadths, depths and girths: C. C. Gordon et al., *1988 Anthropometric Survey of U.S. Army Personnel*
(NATICK/TR-89/044), with a layer of clothing added.

Changing a number changes the pictures: increment `settings.VERSION`.

Legend: S frames, B ellipsoids.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dygait.synthetic.motion import Motion, Place
from dygait.synthetic.variation import trait

Triple = tuple[float, float, float]
"""Forward, left and up, as fractions of stature."""
Radii = tuple[float | np.ndarray, float, float]
"""Along the same axes, as fractions of stature; the first may be (S,), different for each frame."""


def _length(fraction: Callable[[Physique], float]) -> Any:
    """Declare a length in metres from its fraction of stature."""
    return property(lambda body: fraction(body) * body.stature)


@dataclasses.dataclass(frozen=True)
class Physique:
    """Body and everyday clothes of one subject.

    ``stature`` is in metres, and other lengths are fractions of it; ``*_scale``, ``*_girth`` and the sizes of the head
    are factors on the population's mean; ``build`` ranges from slight to heavy.
    """

    stature: float = trait(1.69, 0.07)
    leg_scale: float = trait(1.0, 0.036)
    shin_share: float = trait(0.5, 0.014)
    arm_scale: float = trait(1.0, 0.04)
    forearm_share: float = trait(0.44, 0.012)
    shoulder_scale: float = trait(1.0, 0.075, frame=0.9)
    shoulder_slope: float = trait(0.0, 0.008)
    hip_scale: float = trait(1.0, 0.09, frame=0.75)
    neck_scale: float = trait(1.0, 0.14)
    head_width: float = trait(1.0, 0.061, frame=0.85)
    head_depth: float = trait(1.0, 0.061, frame=0.85)
    head_length: float = trait(1.0, 0.051)
    chin: float = trait(0.0, 0.004)
    build: float = trait(0.0, 1.0)
    waist_girth: float = trait(1.0, 0.07, 0.0034)
    chest_girth: float = trait(1.0, 0.061, 0.0034, frame=0.85)
    belly: float = trait(0.0, 0.008)
    seat: float = trait(0.0, 0.006)
    arm_girth: float = trait(1.0, 0.1, 0.0068)
    thigh_girth: float = trait(1.0, 0.08, 0.0051)
    calf_girth: float = trait(1.0, 0.09, 0.0051)
    neck_girth: float = trait(1.0, 0.1, frame=0.65)
    trouser_hem: float = trait(0.0, 0.007, 0.00051, low=-0.006)
    shirt_length: float = trait(0.03, 0.021, 0.0017, low=-0.01)
    shirt_width: float = trait(0.005, 0.0054, 0.00051, low=0.0)
    sleeve: float = trait(0.0, 0.0051, 0.00034, low=-0.003)
    foot_scale: float = trait(1.0, 0.061, frame=0.75)
    foot_height: float = trait(0.0, 0.004)
    hair_top: float = trait(0.006, 0.0051, 0.00034, low=0.0)
    hair_back: float = trait(0.008, 0.007, 0.00051, low=0.0)
    hair_length: float = trait(-0.035, 0.064, 0.00085)
    hair_knot: float = trait(-0.008, 0.015, 0.00034)

    @property
    def breadth(self) -> float:
        """Factor on the widths of the trunk, from ``build``."""
        return float(np.exp(0.055 * self.build))

    @property
    def depth(self) -> float:
        """Factor on the depths of the trunk, from ``build``."""
        return float(np.exp(0.1 * self.build))

    @property
    def limb(self) -> float:
        """Factor on the girths of the limbs, from ``build``."""
        return float(np.exp(0.06 * self.build))

    @property
    def trunk(self) -> float:
        """Factor on the heights of the trunk that keeps the stature for every length of the legs."""
        return 1 - (self.leg_scale - 1) * 0.53 / 0.29

    # Trunk: between the hip joints; hips to waist; waist to shoulder joints and to the root of the neck; between the
    # shoulder joints; root of the neck to the middle of the head.
    hip_spacing = _length(lambda body: 0.100 * body.hip_scale)
    lumbar = _length(lambda body: 0.085 * body.trunk)
    shoulder_rise = _length(lambda body: 0.192 * body.trunk - body.shoulder_slope)
    neck_base = _length(lambda body: 0.226 * body.trunk)
    shoulder_spacing = _length(lambda body: 0.200 * body.shoulder_scale)
    head_rise = _length(lambda body: 0.046 + 0.046 * body.neck_scale)
    # Limbs (the means are 0.245, 0.246, 0.186, 0.146 and 0.108 of stature); the fingers are half closed.
    thigh = _length(lambda body: 0.490 * body.leg_scale * (1 - body.shin_share))
    shank = _length(lambda body: 0.492 * body.leg_scale * body.shin_share)
    upper_arm = _length(lambda body: 0.332 * body.arm_scale * (1 - body.forearm_share))
    forearm = _length(lambda body: 0.332 * body.arm_scale * body.forearm_share)
    hand = _length(lambda body: 0.090 * body.arm_scale)
    # Feet: sole to ankle; ankle to the middle of the heel and to the ball; ball to the middle of the toecap; radii.
    ankle_height = _length(lambda body: 0.039 + body.foot_height)
    heel = _length(lambda body: 0.022 * body.foot_scale)
    ball = _length(lambda body: 0.066 * body.foot_scale)
    toe = _length(lambda body: 0.032 * body.foot_scale)
    heel_radius = _length(lambda body: 0.0195)
    ball_radius = _length(lambda body: 0.0170)
    toe_radius = _length(lambda body: 0.0135)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A body in every frame: B ellipsoids ``{c + L u, |u| <= 1}``, and P convex hulls of them."""

    names: list[str]  # of the ellipsoids
    centres: np.ndarray  # c, float (S, B, 3), metres
    axes: np.ndarray  # L, float (S, B, 3, 3), metres
    members: np.ndarray  # int (M, P), indices of the ellipsoids of each hull, padded by repeating the last
    parts: list[str]  # the body part of each hull

    def indices(self, frames: Sequence[int] | None) -> np.ndarray:
        """Return the indices of the given frames as an array; None: of all S."""
        return np.arange(len(self.centres)) if frames is None else np.array(frames)

    def at(self, frames: slice | np.ndarray) -> Figure:
        """Return the figure in the given frames."""
        return dataclasses.replace(self, centres=self.centres[frames], axes=self.axes[frames])


class FigureBuilder:
    """Collects ellipsoids and hulls; :meth:`figure` returns them as arrays.

    Args:
        frames: S.
        unit: metres per unit of radii and offsets: the stature, as these are fractions of it.
    """

    def __init__(self, frames: int, unit: float) -> None:
        self.unit = unit
        self._upright = np.broadcast_to(np.eye(3), (frames, 3, 3))
        self._ellipsoids: dict[str, tuple[Place, Triple, Radii]] = {}
        self._hulls: list[tuple[str, tuple[str, ...]]] = []

    def sphere(self, name: str, centre: np.ndarray, radius: float) -> None:
        """Add a sphere with its centre at (S, 3), in metres."""
        self.ellipsoid(name, (centre, self._upright), (0.0, 0.0, 0.0), (radius, radius, radius))

    def disc(self, name: str, centre: np.ndarray, radius: float, thickness: float) -> None:
        """Add a horizontal disc, such as a hem, with its centre at (S, 3), in metres."""
        self.ellipsoid(name, (centre, self._upright), (0.0, 0.0, 0.0), (radius, radius, thickness))

    def ellipsoid(self, name: str, place: Place, offset: Triple, radii: Radii) -> None:
        """Add an ellipsoid at an offset from the place's origin; offset and radii are along the place's axes."""
        self._ellipsoids[name] = place, offset, radii

    def hull(self, part: str, *names: str) -> None:
        """Add the convex hull of the named ellipsoids to ``part``."""
        self._hulls.append((part, names))

    def chain(self, part: str, *names: str) -> None:
        """Add the convex hull of each named ellipsoid and the next one to ``part``."""
        for pair in itertools.pairwise(names):
            self.hull(part, *pair)

    def figure(self) -> Figure:
        """Return the figure."""
        names = list(self._ellipsoids)
        places, offsets, radii = zip(*self._ellipsoids.values(), strict=True)
        origins, axes = (np.stack(arrays, 1) for arrays in zip(*places, strict=True))
        shifts = np.array(offsets).T[..., None] * self.unit  # (3, B, 1)
        lengths = np.empty(origins.shape)
        for index, (forward, left, up) in enumerate(radii):
            lengths[:, index, 0], lengths[:, index, 1], lengths[:, index, 2] = forward, left, up
        centres = origins + sum(axes[..., i] * offset for i, offset in enumerate(shifts))
        axes = axes * (lengths * self.unit)[..., None, :]
        longest = max(len(hull) for _, hull in self._hulls)
        indices = {name: index for index, name in enumerate(names)}
        members = [[indices[name] for name in hull + hull[-1:] * (longest - len(hull))] for _, hull in self._hulls]
        return Figure(names, centres, axes, np.array(members).T, [part for part, _ in self._hulls])


def build_body(body: Physique, motion: Motion) -> FigureBuilder:
    """Build the body and everyday clothes around the joints; carried.py and coats.py add bags and coats."""
    joints, stature = motion.joints, body.stature
    builder = FigureBuilder(len(joints["pelvis"]), stature)
    _trunk(builder, body, motion)
    _head(builder, body, motion)
    arm, thigh, calf = body.arm_girth * body.limb, body.thigh_girth * body.limb, body.calf_girth * body.limb
    for side in (0, 1):
        shoulder, elbow, wrist, hand = (joints[f"{name}_{side}"] for name in ("shoulder", "elbow", "wrist", "hand"))
        builder.sphere(f"elbow_{side}", elbow, 0.0245 * arm + body.sleeve)
        builder.sphere(f"upper_arm_{side}", 0.6 * shoulder + 0.4 * elbow, 0.030 * arm + body.sleeve)
        builder.sphere(f"wrist_{side}", wrist, 0.0170 * arm + 0.8 * body.sleeve)
        builder.sphere(f"hand_{side}", hand, 0.0185)
        builder.chain(f"upper arm {side}", f"shoulder_{side}", f"upper_arm_{side}", f"elbow_{side}")
        builder.hull(f"forearm {side}", f"elbow_{side}", f"wrist_{side}")
        builder.hull(f"hand {side}", f"wrist_{side}", f"hand_{side}")

        hip, knee, ankle = (joints[f"{name}_{side}"] for name in ("hip", "knee", "ankle"))
        back = motion.frames["pelvis"] @ np.array([-0.008, 0.0, 0.0]) * stature
        builder.sphere(f"hip_{side}", hip + back, 0.0500 * thigh)
        builder.sphere(f"thigh_{side}", 0.55 * hip + 0.45 * knee, 0.0465 * thigh)
        builder.sphere(f"knee_{side}", knee, 0.0385 * (0.5 * thigh + 0.5 * calf))
        # The calf lies behind the line from knee to ankle.
        shin = ankle - knee
        behind = np.stack([shin[:, 2], 0 * shin[:, 0], -shin[:, 0]], -1) / body.shank * 0.007 * stature
        builder.sphere(f"calf_{side}", 0.68 * knee + 0.32 * ankle + behind, 0.0375 * calf + 0.5 * body.trouser_hem)
        builder.sphere(f"hem_{side}", 0.06 * knee + 0.94 * ankle, 0.0310 * calf + body.trouser_hem)
        builder.sphere(f"heel_{side}", joints[f"heel_{side}"], body.heel_radius / stature)
        for name, thick, width in (("ball", body.ball_radius, 0.027), ("toe", body.toe_radius, 0.022)):
            place = joints[f"{name}_{side}"], motion.frames[f"foot_{side}"]
            builder.ellipsoid(f"{name}_{side}", place, (0, 0, 0), (thick / stature, width, thick / stature))
        builder.sphere(f"instep_{side}", ankle, 0.020)
        builder.chain(f"thigh {side}", f"hip_{side}", f"thigh_{side}", f"knee_{side}")
        builder.chain(f"shank {side}", f"knee_{side}", f"calf_{side}", f"hem_{side}")
        builder.hull(f"foot {side}", f"instep_{side}", f"heel_{side}", f"ball_{side}")
        builder.hull(f"foot {side}", f"ball_{side}", f"toe_{side}")
    return builder


def _trunk(builder: FigureBuilder, body: Physique, motion: Motion) -> None:
    hips, chest = motion.place("pelvis"), motion.place("lumbar")
    wide, deep, height = body.breadth, body.depth, body.neck_base / (0.226 * body.stature)
    wide_hips, wide_chest = wide * body.hip_scale, wide * (0.5 + 0.5 * body.shoulder_scale) * body.chest_girth
    builder.ellipsoid("crotch", hips, (0.0, 0.0, -0.030), (0.050 * deep, 0.070 * wide_hips, 0.022))
    seat = (0.068 * deep + body.seat, 0.095 * wide_hips, 0.040)
    builder.ellipsoid("hips", hips, (-0.008 - body.seat / 2, 0.0, 0.012), seat)
    waist = (0.062 * deep * body.waist_girth + abs(body.belly) / 2, 0.084 * wide * body.waist_girth, 0.035)
    builder.ellipsoid("waist", chest, (0.002 + body.belly, 0.0, 0.0), waist)
    ribs = (0.068 * deep * body.chest_girth, 0.092 * wide_chest, 0.05)
    builder.ellipsoid("chest", chest, (0.006, 0.0, 0.110 * height), ribs)
    builder.ellipsoid("upper_chest", chest, (-0.004, 0.0, 0.172 * height), (0.054 * deep, 0.086 * wide_chest, 0.03))
    builder.sphere("neck_root", motion.joints["neck"], 0.040)
    for side in (0, 1):
        builder.sphere(f"shoulder_{side}", motion.joints[f"shoulder_{side}"], 0.0330 * body.limb + 0.5 * body.sleeve)
    builder.chain("trunk", "crotch", "hips", "waist", "chest", "upper_chest")
    builder.hull("trunk", "upper_chest", "shoulder_0", "shoulder_1")
    builder.hull("trunk", "shoulder_0", "shoulder_1", "neck_root")
    # The shirt or jacket reaches over the hips.
    shirt = (0.068 * deep + body.seat / 2 + body.shirt_width, 0.095 * wide_hips + body.shirt_width, 0.012)
    builder.ellipsoid("shirt", hips, (0.0, 0.0, -body.shirt_length), shirt)
    builder.hull("trunk", "shirt", "waist")


def _head(builder: FigureBuilder, body: Physique, motion: Motion) -> None:
    head = motion.place("head")
    skull = (0.053 * body.head_depth, 0.0455 * body.head_width, 0.051 * body.head_length)
    builder.ellipsoid("skull", head, (-0.004, 0.0, 0.012), skull)
    face = (0.014 + body.chin, 0.0, -0.030 * body.head_length)
    builder.ellipsoid("face", head, face, (0.032, 0.034 * body.head_width, 0.034))
    nape = (0.030 * body.neck_girth, 0.030 * body.neck_girth, 0.03)
    builder.ellipsoid("nape", head, (-0.010, 0.0, -0.040), nape)
    builder.sphere("neck_foot", motion.joints["neck"], 0.034 * body.neck_girth)
    builder.hull("head", "skull", "face")
    builder.hull("neck", "nape", "neck_foot")
    top, back = body.hair_top, body.hair_back
    hair = (
        0.051 * body.head_depth + back / 2,
        0.0470 * body.head_width + 0.4 * top,
        0.050 * body.head_length + top / 2,
    )
    builder.ellipsoid("hair", head, (-0.010 - back / 2, 0.0, 0.016 + top / 2), hair)
    builder.hull("hair", "hair")
    if body.hair_length > 0:
        # Long hair hangs behind the neck, as wide as the head.
        end = (-0.036 - back / 2, 0.0, -0.030 - body.hair_length)
        builder.ellipsoid("mane", head, end, (0.020, 0.036, 0.02))
        builder.hull("hair", "hair", "mane")
    if body.hair_knot > 0:
        builder.ellipsoid("knot", head, (-0.062 - back, 0.0, 0.022), (0.012 + 0.5 * body.hair_knot,) * 3)
        builder.hull("hair", "knot")
