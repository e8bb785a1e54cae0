"""Walkers, and films of their walks.

Everything random comes from generators seeded by what it belongs to: a walker by (seed, id), a walk by (seed, id,
type), the backdrop of a film by (seed, id, coat or not, view), its other faults by (seed, id, type, view). So each
sequence is a pure function of (seed, id, type, view), whatever the order of work and the number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dygait.synthetic import renderer, wear
from dygait.synthetic.body import Figure, Physique, flesh
from dygait.synthetic.cameras import VIEWS, camera
from dygait.synthetic.faults import draw_backdrop, draw_faults, shown, spoil
from dygait.synthetic.gait import SIGNATURE_HARMONICS, Burden, Gait, Style, rotation
from dygait.synthetic.motion import Motion
from dygait.synthetic.traits import draw, draw_factors, vary

TYPES = ("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "nm-06", "bg-01", "bg-02", "cl-01", "cl-02")

WAY = 4.0
"""Metres of the walk that are in the picture of the camera at the side."""

_PERSON, _WALK, _BACKDROP, _FILM = 1, 2, 3, 4
SIGNATURE_DEGREES = 1.3


@dataclasses.dataclass(frozen=True)
class Walker:
    """One person: body, way of walking, bag and coat."""

    physique: Physique
    style: Style
    signature: np.ndarray
    bag: wear.Bag
    coat: wear.Coat


def walker(seed: int, subject: int) -> Walker:
    """The person with a number."""
    rng = np.random.default_rng([seed, _PERSON, subject])
    factors = draw_factors(rng)
    fade = SIGNATURE_DEGREES / np.arange(1, SIGNATURE_HARMONICS + 1)
    return Walker(
        draw(Physique, rng, factors),
        draw(Style, rng, factors),
        np.clip(rng.standard_normal((2, 3, SIGNATURE_HARMONICS)), -2, 2) * fade,
        wear.draw_bag(rng),
        wear.draw_coat(rng),
    )


def walk(seed: int, subject: int, kind: str, frames: tuple[int, int]) -> Figure:
    """One walk of a person past the cameras.

    Args:
        seed: of the whole data set.
        subject: the person's number.
        kind: one of :data:`TYPES`.
        frames: the fewest and the most frames; a quick walker crosses the picture in fewer.

    Returns:
        The figure in S frames.
    """
    person = walker(seed, subject)
    rng = np.random.default_rng([seed, _WALK, subject, TYPES.index(kind)])
    physique, style = vary(person.physique, rng), vary(person.style, rng)
    signature = person.signature * rng.normal(1, 0.06, person.signature.shape)
    speed = float(np.clip(rng.normal(1, 0.035), 0.9, 1.1))
    start, heading, aside = rng.random(), rng.normal(0, 1.2), rng.normal(0, 0.06)
    wander = rng.normal(0, 0.012), rng.random()
    count = int(rng.integers(frames[0], frames[1] + 1))

    bag, coat = person.bag, person.coat
    burden = Burden()
    if kind.startswith("bg"):
        if rng.random() < 0.25:  # now and then somebody takes another bag
            bag = wear.draw_bag(rng)
        bag = dataclasses.replace(bag, size=vary(bag.size, rng))
        burden = wear.bag_burden(bag)
    elif kind.startswith("cl"):
        coat = wear.draw_coat(rng) if rng.random() < 0.15 else vary(coat, rng)
        burden = wear.coat_burden(coat)

    gait = Gait(physique, style, signature, burden, speed)
    count = max(min(count, int(WAY / (gait.stride_metres * gait.cycles_per_frame))), 1)
    turns = gait.cycles_per_frame * np.arange(count)
    phase = start + turns + wander[0] * np.sin(2 * np.pi * (wander[1] + turns / 3))
    motion = _place(gait.pose(phase), heading, aside)
    make = flesh(physique, motion)
    if kind.startswith("bg"):
        wear.add_bag(make, bag, physique, motion, phase)
    elif kind.startswith("cl"):
        wear.add_coat(make, coat, physique, motion)
    return make.figure()


def film(
    seed: int, subject: int, kind: str, view: str, figure: Figure, moments: Sequence[int] | None = None
) -> np.ndarray:
    """What the camera of a view and a fallible segmentation make of a walk.

    Args:
        seed: of the whole data set.
        subject: the person's number.
        kind: one of :data:`TYPES`.
        view: one of :data:`~dygait.synthetic.cameras.VIEWS`.
        figure: the walk, from :func:`walk`.
        moments: which frames to draw; all S by default.

    Returns:
        uint8 (S, 240, 320), 0 or 255, or as many as there are moments.
    """
    number = VIEWS.index(view)
    coat = int(kind.startswith("cl"))
    backdrop = draw_backdrop(np.random.default_rng([seed, _BACKDROP, subject, coat, number]))
    faults = draw_faults(figure, backdrop, np.random.default_rng([seed, _FILM, subject, TYPES.index(kind), number]))
    eye = camera(view)
    centres, _ = renderer.project(eye, figure.centres, figure.shapes)
    corners = renderer.outlines(eye, figure)
    return np.stack(
        [
            spoil(renderer.fill(corners[frame], shown(figure, faults, frame)), figure, faults, frame, centres[frame])
            for frame in (range(len(corners)) if moments is None else moments)
        ]
    )


def _place(motion: Motion, heading: float, aside: float) -> Motion:
    """Centre a walk on the origin, turned by some degrees and moved aside by some metres."""
    pelvis = motion.joints["pelvis"]
    turn = rotation(*np.array([[heading], [0.0], [0.0]]))[0]
    origin = np.array([(pelvis[0, 0] + pelvis[-1, 0]) / 2, 0.0, 0.0])
    joints = {name: (where - origin) @ turn.T + np.array([0.0, aside, 0.0]) for name, where in motion.joints.items()}
    return Motion(joints, {name: turn @ frame for name, frame in motion.frames.items()})
