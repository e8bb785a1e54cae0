"""Subjects, their walks, and the rendered sequences.

Random generators are seeded by what they draw: a subject by (seed, id), a walk by (seed, id,
type), the background of a view by (seed, id, coat or not, view), its other faults by (seed, id, type, view). So each
sequence is a pure function of (seed, id, type, view), independent of the order of work and the number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dygait.synthetic import renderer, wear
from dygait.synthetic.body import Figure, Physique, build_body
from dygait.synthetic.cameras import VIEWS, camera
from dygait.synthetic.faults import apply_faults, draw_background, draw_faults, visible_hulls
from dygait.synthetic.gait import SIGNATURE_HARMONICS, Gait, GaitChange, Style, rotation
from dygait.synthetic.motion import Motion
from dygait.synthetic.traits import draw, draw_factors, vary

TYPES = ("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "nm-06", "bg-01", "bg-02", "cl-01", "cl-02")

VISIBLE_METRES = 4.0
"""Metres of the walk that are visible to the camera at the side."""

_SUBJECT, _WALK, _BACKGROUND, _FILM = 1, 2, 3, 4
SIGNATURE_DEGREES = 1.3


@dataclasses.dataclass(frozen=True)
class SubjectTraits:
    """One subject: body, gait, bag and coat."""

    physique: Physique
    style: Style
    signature: np.ndarray
    bag: wear.Bag
    coat: wear.Coat


def draw_subject(seed: int, subject: int) -> SubjectTraits:
    """Return the subject of a number."""
    rng = np.random.default_rng([seed, _SUBJECT, subject])
    factors = draw_factors(rng)
    fade = SIGNATURE_DEGREES / np.arange(1, SIGNATURE_HARMONICS + 1)
    return SubjectTraits(
        draw(Physique, rng, factors),
        draw(Style, rng, factors),
        np.clip(rng.standard_normal((2, 3, SIGNATURE_HARMONICS)), -2, 2) * fade,
        wear.draw_bag(rng),
        draw(wear.Coat, rng, {}),
    )


def walk(seed: int, subject: int, kind: str, frames: tuple[int, int]) -> Figure:
    """Return one walk of a subject past the cameras.

    Args:
        seed: of the whole dataset.
        subject: its number.
        kind: one of :data:`TYPES`.
        frames: the fewest and the most frames; a fast subject leaves the image in fewer.

    Returns:
        The figure in S frames.
    """
    traits = draw_subject(seed, subject)
    rng = np.random.default_rng([seed, _WALK, subject, TYPES.index(kind)])
    physique, style = vary(traits.physique, rng), vary(traits.style, rng)
    signature = traits.signature * rng.normal(1, 0.06, traits.signature.shape)
    speed = float(np.clip(rng.normal(1, 0.035), 0.9, 1.1))
    start, heading, aside = rng.random(), rng.normal(0, 1.2), rng.normal(0, 0.06)
    wander = rng.normal(0, 0.012), rng.random()
    count = int(rng.integers(frames[0], frames[1] + 1))

    bag, coat = traits.bag, traits.coat
    gait_change = GaitChange()
    if kind.startswith("bg"):
        if rng.random() < 0.25:  # sometimes another bag
            bag = wear.draw_bag(rng)
        bag = dataclasses.replace(bag, size=vary(bag.size, rng))
        gait_change = wear.bag_gait_change(bag)
    elif kind.startswith("cl"):
        coat = draw(wear.Coat, rng, {}) if rng.random() < 0.15 else vary(coat, rng)
        gait_change = wear.coat_gait_change(coat)

    gait = Gait(physique, style, signature, gait_change, speed)
    count = max(min(count, int(VISIBLE_METRES / (gait.stride_metres * gait.cycles_per_frame))), 1)
    turns = gait.cycles_per_frame * np.arange(count)
    phase = start + turns + wander[0] * np.sin(2 * np.pi * (wander[1] + turns / 3))
    motion = _position_walk(gait.pose(phase), heading, aside)
    builder = build_body(physique, motion)
    if kind.startswith("bg"):
        wear.add_bag(builder, bag, physique, motion, phase)
    elif kind.startswith("cl"):
        wear.add_coat(builder, coat, physique, motion)
    return builder.figure()


def render_sequence(
    seed: int, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None = None
) -> np.ndarray:
    """Return the silhouettes of a walk in one view, with segmentation faults.

    Args:
        seed: of the whole dataset.
        subject: its number.
        kind: one of :data:`TYPES`.
        view: one of :data:`~dygait.synthetic.cameras.VIEWS`.
        figure: the walk, from :func:`walk`.
        frames: the indices of the frames to render; None: all S.

    Returns:
        uint8 (S, 240, 320), 0 or 255; S is the number of `frames` if given.
    """
    number = VIEWS.index(view)
    coat = int(kind.startswith("cl"))
    background = draw_background(np.random.default_rng([seed, _BACKGROUND, subject, coat, number]))
    faults = draw_faults(figure, background, np.random.default_rng([seed, _FILM, subject, TYPES.index(kind), number]))
    viewer = camera(view)
    centres, _ = renderer.project(viewer, figure.centres, figure.shapes)
    corners = renderer.outlines(viewer, figure)
    return np.stack(
        [
            apply_faults(
                renderer.fill(corners[frame], visible_hulls(figure, faults, frame)),
                figure,
                faults,
                frame,
                centres[frame],
            )
            for frame in (range(len(corners)) if frames is None else frames)
        ]
    )


def _position_walk(motion: Motion, heading: float, aside: float) -> Motion:
    """Centre a walk on the origin, rotated by `heading` degrees and shifted by `aside` metres."""
    pelvis = motion.joints["pelvis"]
    turn = rotation(*np.array([[heading], [0.0], [0.0]]))[0]
    origin = np.array([(pelvis[0, 0] + pelvis[-1, 0]) / 2, 0.0, 0.0])
    joints = {name: (where - origin) @ turn.T + np.array([0.0, aside, 0.0]) for name, where in motion.joints.items()}
    return Motion(joints, {name: turn @ frame for name, frame in motion.frames.items()})
