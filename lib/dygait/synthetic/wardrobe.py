"""Outfits: clothes from hair to shoes, several per subject (`wardrobe` in world.py).

An outfit replaces the everyday clothes that the body was drawn with (:meth:`Outfit.fit`), adds clothes that hang from
the body or are worn over it (:func:`add_outfit`), and changes the gait slightly. Lengths are fractions of stature.

S frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dygait.synthetic import coats
from dygait.synthetic.body import FigureBuilder, Physique
from dygait.synthetic.coats import Coat
from dygait.synthetic.gait import SIGN
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.motion import Motion
from dygait.synthetic.population import ADULT, Person
from dygait.synthetic.world import Wardrobe

HATS = ("cap", "hat", "woollen hat", "hood")
LOOSE = 0.003
"""Trousers looser than this are drawn as separate hulls around the legs."""
_BARE_LEG, _BARE_ARM = -0.0095, -0.0025
"""Values of `trouser_hem` and `sleeve` without cloth."""
_THIGH = 0.5
"""Share of the leg that is thigh."""


@dataclasses.dataclass(frozen=True)
class Skirt:
    """A skirt, or the lower half of a dress; `reach` is the share of the leg that it covers."""

    reach: float
    flare: float


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Clothes, shoes and hair."""

    fitted: dict[str, float]  # traits of the body that are replaced: tight clothes, and hair
    sole: float  # height of the soles
    boots: float  # share of the shank that boots cover; 0: shoes
    loose: float  # looseness of trousers on each side of the leg
    shorts: float  # share of the leg that shorts cover; 0: long trousers, or none
    sleeve: float  # share of the upper arm that short sleeves cover; 0: long sleeves
    skirt: Skirt | None
    coat: Coat | None  # coat, jacket or sweater
    coat_reach: float  # share of the leg that a long coat covers; 0: a short coat
    open_by: float  # width by which the coat's front is open; 0: closed
    hat: str  # one of HATS; empty for none
    tail: float  # length of tied hair; 0: not tied
    gait_change: GaitChange

    def fit(self, body: Physique) -> Physique:
        """Return the body of a subject in this outfit."""
        return dataclasses.replace(body, **self.fitted, foot_height=body.foot_height + self.sole)


def draw_outfit(rng: np.random.Generator, knobs: Wardrobe, person: Person, usual: bool = False) -> Outfit:
    """Draw one outfit of a person; the usual outfit has a coat half as often."""
    woman = person.woman
    skirt = _draw_skirt(rng) if rng.random() < knobs.skirts * (1.0 if woman else 0.1) else None
    fitted, loose, shorts = _draw_trousers(rng, knobs.shorts, skirt is not None)
    bare_arms, has_coat = rng.random() < knobs.bare_arms, rng.random() < knobs.coats * (0.5 if usual else 1.0)
    fitted |= {
        "shirt_length": float(np.clip(rng.normal(0.03, 0.03), -0.015, 0.1)),
        "shirt_width": abs(rng.normal(0.003, 0.006)),
        "sleeve": _BARE_ARM if bare_arms and not has_coat else rng.uniform(-0.002, 0.006),
    }
    coat, reach, open_by = _draw_coat(rng, knobs) if has_coat else (_draw_sweater(rng, bare_arms), 0.0, 0.0)
    hair, tail = _draw_hair(rng, person)
    heels = rng.random() < knobs.heels and woman and person.age >= ADULT
    boots = rng.uniform(0.15, 0.75) if rng.random() < knobs.boots else 0.0
    hat = HATS[rng.integers(len(HATS))] if rng.random() < knobs.hats else ""
    change = coats.gait_change(coat) if coat is not None else GaitChange()
    tight = 1.0 if skirt is None else min(0.88 + 4 * max(skirt.flare, 0.0), 1.0)
    change = change.and_also(GaitChange(stride=tight * (0.94 if heels else 1.0)))
    return Outfit(
        fitted=fitted | hair,
        sole=rng.uniform(0.02, 0.045) if heels else rng.uniform(0.0, 0.01) + (0.005 if boots else 0.0),
        boots=boots,
        loose=loose,
        shorts=shorts,
        sleeve=rng.uniform(0.3, 0.9) if bare_arms and not has_coat else 0.0,
        skirt=skirt,
        coat=coat,
        coat_reach=reach,
        open_by=open_by,
        hat=hat,
        tail=tail,
        gait_change=change,
    )


def _draw_skirt(rng: np.random.Generator) -> Skirt:
    low, high = ((0.27, 0.42), (0.42, 0.58), (0.58, 0.78), (0.78, 0.96))[rng.choice(4, p=(0.28, 0.4, 0.2, 0.12))]
    return Skirt(rng.uniform(low, high), rng.uniform(-0.004, 0.06))


def _draw_trousers(rng: np.random.Generator, shorts: float, skirt: bool) -> tuple[dict[str, float], float, float]:
    """Draw trousers: the traits that are replaced, `Outfit.loose` and `Outfit.shorts`."""
    kind = rng.choice(4, p=(0.3, 0.4, 0.17, 0.13))
    hem, loose = rng.random(), rng.random()
    short, reach = rng.random() < shorts, rng.uniform(0.26, 0.56)
    if skirt:
        return {"trouser_hem": _BARE_LEG}, 0.0, 0.0
    if short:
        return {"trouser_hem": _BARE_LEG}, 0.004 + 0.014 * loose, reach
    if kind == 0:  # slim
        return {"trouser_hem": -0.008 + 0.008 * hem}, 0.0, 0.0
    if kind == 1:  # straight
        return {"trouser_hem": 0.012 * hem}, 0.005 * loose, 0.0
    if kind == 2:  # wide
        return {"trouser_hem": 0.010 + 0.018 * hem}, 0.005 + 0.010 * loose, 0.0
    return {"trouser_hem": -0.004 + 0.004 * hem}, 0.005 + 0.009 * loose, 0.0  # gathered at the ankle


def _draw_coat(rng: np.random.Generator, knobs: Wardrobe) -> tuple[Coat, float, float]:
    """Draw a coat: the coat, `Outfit.coat_reach` and `Outfit.open_by`."""
    long, is_open = rng.random() < knobs.long_coats, rng.random() < knobs.open_coats
    thick = rng.random() ** 1.5
    coat = Coat(
        thickness=0.006 + 0.036 * thick,
        depth=0.005 + 0.038 * thick,
        length=rng.uniform(0.02, 0.13),
        flare=float(np.clip(rng.normal(0.008, 0.011), -0.006, 0.035)),
        waist=rng.normal(0, 0.007),
        sleeve=0.004 + 0.018 * thick,
        shoulder=0.002 + 0.012 * thick,
        collar=rng.uniform(0, 0.025),
        hood=rng.normal(-0.25, 0.6),
    )
    if long:
        coat = dataclasses.replace(coat, length=0.10)
    reach = rng.uniform(0.5, 0.85) if long else 0.0
    return coat, reach, rng.uniform(0.02, 0.09) if is_open else 0.0


def _draw_sweater(rng: np.random.Generator, bare_arms: bool) -> Coat | None:
    """Draw a sweater or a hooded jacket, which is a thin short coat; None: neither."""
    thick, worn = rng.uniform(0.002, 0.012), rng.random() < 0.25
    if bare_arms or not worn:
        return None
    return Coat(
        thickness=thick,
        depth=thick,
        length=rng.uniform(0.0, 0.05),
        flare=-0.004,
        sleeve=0.6 * thick,
        shoulder=0.3 * thick,
        collar=rng.uniform(0, 0.01),
        hood=rng.normal(0, 0.5),
    )


def _draw_hair(rng: np.random.Generator, person: Person) -> tuple[dict[str, float], float]:
    """Draw the traits of the hair, and the length of tied hair; the person determines whether hair is long."""
    long = person.hair < (0.65 if person.woman else 0.07)
    top, back, length = rng.random(3).tolist()
    hairstyle = rng.choice(3, p=(0.5, 0.3, 0.2))  # loose, tied, in a knot
    hair = {"hair_top": 0.014 * top**2 + (0.004 if long else 0.0), "hair_back": 0.016 * back, "hair_knot": -1.0}
    hair["hair_length"] = 0.01 + 0.13 * person.hair_length if long and hairstyle == 0 else -0.05
    if long and hairstyle == 2:
        hair["hair_knot"] = 0.004 + 0.03 * length
    return hair, 0.05 + 0.11 * person.hair_length if long and hairstyle == 1 else 0.0


def add_outfit(builder: FigureBuilder, outfit: Outfit, body: Physique, motion: Motion, phase: np.ndarray) -> None:
    """Add an outfit to a figure whose body is from :meth:`Outfit.fit`; open coats flap with the phase (S,)."""
    _add_trousers(builder, outfit, body, motion)
    if outfit.skirt is not None:
        _add_tube(builder, "skirt", "hips", outfit.skirt, body, motion)
    if outfit.sleeve:
        for side in (0, 1):
            shoulder, elbow = motion.joints[f"shoulder_{side}"], motion.joints[f"elbow_{side}"]
            end = shoulder + outfit.sleeve * (elbow - shoulder)
            builder.sphere(f"sleeve_{side}", end, 0.031 * body.arm_girth * body.limb + 0.5 * body.shirt_width)
            builder.hull(f"upper arm {side}", f"shoulder_{side}", f"sleeve_{side}")
    if outfit.coat is not None:
        coat = dataclasses.replace(outfit.coat, length=0.03) if outfit.open_by else outfit.coat
        coats.add_jacket(builder, coat, body, motion)
        if outfit.open_by:
            _add_open_front(builder, outfit, body, motion, phase)
        elif outfit.coat_reach:
            cloth = Skirt(outfit.coat_reach, outfit.coat.thickness + outfit.coat.flare)
            _add_tube(builder, "coat_skirt", "coat_hem", cloth, body, motion)
        if outfit.coat.hood > 0 and outfit.hat != "hood":
            builder.ellipsoid("hood", motion.place("neck"), (-0.042, 0.0, 0.012), (0.024, 0.048, 0.026))
            builder.hull("trunk", "hood", "collar")
    _add_head(builder, outfit, body, motion)


def _leg_point(motion: Motion, side: int, reach: float) -> np.ndarray:
    """Return the point on a leg's axis at a share of its length, (S, 3)."""
    hip, knee, ankle = (motion.joints[f"{name}_{side}"] for name in ("hip", "knee", "ankle"))
    if reach <= _THIGH:
        return hip + reach / _THIGH * (knee - hip)
    return knee + (reach - _THIGH) / (1 - _THIGH) * (ankle - knee)


def _add_trousers(builder: FigureBuilder, outfit: Outfit, body: Physique, motion: Motion) -> None:
    thigh, calf = body.thigh_girth * body.limb, body.calf_girth * body.limb
    loose = outfit.loose
    for side in (0, 1):
        if loose > LOOSE:
            reach = outfit.shorts or _THIGH
            radius = (0.053 - 0.028 * reach) * thigh + loose
            builder.disc(f"trouser_{side}", _leg_point(motion, side, reach), radius, 0.012)
            builder.hull(f"thigh {side}", f"hip_{side}", f"trouser_{side}")
            if not outfit.shorts:
                builder.disc(f"trouser_end_{side}", _leg_point(motion, side, 0.9), 0.031 * calf + loose / 2, 0.012)
                builder.hull(f"shank {side}", f"trouser_{side}", f"trouser_end_{side}")
        if outfit.boots:
            builder.sphere(f"boot_{side}", _leg_point(motion, side, 1 - 0.5 * outfit.boots), 0.037 * calf)
            builder.sphere(f"boot_foot_{side}", _leg_point(motion, side, 0.97), 0.028)
            builder.hull(f"shank {side}", f"boot_{side}", f"boot_foot_{side}")


def _add_tube(builder: FigureBuilder, name: str, top: str, cloth: Skirt, body: Physique, motion: Motion) -> None:
    """Add cloth around both legs, from the ellipsoid `top` to a hem; long cloth bends at the knees."""
    above: tuple[str, ...] = (top,)
    reaches = (cloth.reach,) if cloth.reach < _THIGH + 0.1 else (_THIGH, cloth.reach)
    for number, reach in enumerate(reaches):
        points = [_leg_point(motion, side, reach) for side in (0, 1)]
        level = 0.5 * (points[0] + points[1])[:, 2]
        radius = (0.054 - 0.024 * reach) * body.limb + cloth.flare * reach / cloth.reach
        ring = (f"{name}_{number}_0", f"{name}_{number}_1")
        for label, point in zip(ring, points, strict=True):
            point[:, 2] = 0.35 * point[:, 2] + 0.65 * level
            builder.disc(label, point, radius, 0.008)
        builder.hull("skirt", *above, *ring)
        above = ring


def _add_open_front(builder: FigureBuilder, outfit: Outfit, body: Physique, motion: Motion, phase: np.ndarray) -> None:
    """Add the lower half of an open coat: a sheet behind the legs, and a flapping front on each side."""
    assert outfit.coat is not None
    stature, coat = body.stature, outfit.coat
    reach = outfit.coat_reach or min(coat.length * stature / (body.thigh + body.shank), 0.45)
    points = [_leg_point(motion, side, reach) for side in (0, 1)]
    level = 0.5 * (points[0] + points[1])[:, 2]
    rear = np.minimum(points[0][:, 0], points[1][:, 0])
    behind, ahead = (0.035 + coat.depth) * stature, (0.045 + coat.depth) * stature
    wide = (0.085 * body.breadth * body.hip_scale + coat.thickness + 0.4 * outfit.open_by) * stature
    middle = motion.joints["pelvis"]
    for side in (0, 1):
        flap = 0.35 * outfit.open_by * stature * (1 - np.cos(2 * np.pi * (2 * phase - 0.15)))
        sideways = middle[:, 1] + SIGN[side] * wide
        back = np.stack([0.5 * (rear + middle[:, 0]) - behind, sideways, level], -1)
        front = np.stack([0.4 * points[side][:, 0] + 0.6 * middle[:, 0] + ahead + flap, sideways, level], -1)
        top = (0.03 + 0.5 * coat.depth, SIGN[side] * 0.07 * body.breadth * body.hip_scale, 0.0)
        builder.ellipsoid(f"coat_side_{side}", motion.place("pelvis"), top, (0.03, 0.02 + coat.thickness, 0.03))
        builder.disc(f"coat_back_{side}", back, 0.012, 0.008)
        builder.disc(f"coat_front_{side}", front, 0.012, 0.008)
        builder.hull("skirt", f"coat_side_{side}", f"coat_front_{side}", f"coat_back_{side}")
    builder.hull("skirt", "coat_hips", "coat_back_0", "coat_back_1")


def _add_head(builder: FigureBuilder, outfit: Outfit, body: Physique, motion: Motion) -> None:
    """Add tied hair and headwear."""
    head, wide, deep, high = motion.place("head"), body.head_width, body.head_depth, body.head_length
    if outfit.tail and outfit.hat != "hood":
        start, end = (-0.058 * deep - body.hair_back, 0.0, 0.014), (-0.068 * deep - body.hair_back, 0.0, -outfit.tail)
        builder.ellipsoid("tail", head, start, (0.014, 0.014, 0.014))
        builder.ellipsoid("tail_end", head, end, (0.013, 0.017, 0.012))
        builder.hull("hair", "tail", "tail_end")
    if outfit.hat == "hood":
        builder.ellipsoid("hood_up", head, (-0.012, 0.0, 0.012), (0.064 * deep, 0.057 * wide, 0.062 * high))
        builder.ellipsoid("hood_foot", motion.place("neck"), (-0.01, 0.0, 0.01), (0.05, 0.06, 0.02))
        builder.hull("head", "hood_up", "hood_foot")
    elif outfit.hat:
        size = 0.044 if outfit.hat == "woollen hat" else 0.036
        builder.ellipsoid("hat", head, (-0.004, 0.0, 0.032 * high), (0.057 * deep, 0.0495 * wide, size * high))
        builder.hull("head", "hat")
    if outfit.hat == "cap":
        builder.ellipsoid("brim", head, (0.060 * deep, 0.0, 0.026), (0.026, 0.034 * wide, 0.005))
        builder.hull("head", "hat", "brim")
    elif outfit.hat == "hat":
        builder.ellipsoid("brim", head, (0.0, 0.0, 0.028), (0.093 * deep, 0.084 * wide, 0.006))
        builder.hull("head", "brim")
