"""Subjects, their walks, and the rendered sequences.

Each random generator has its own seed: (seed, id) for a subject, (seed, id, type) for a walk, (seed, id, clothes, view)
for the background of a view, and (seed, id, type, view) for other faults. So each sequence is a pure function of
(settings, id, type, view), independent of the order of rendering and the number of workers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from dygait.frames.normalisation import FRAME, scale_and_centre
from dygait.synthetic import any_camera, carried, coats, real_people, renderer
from dygait.synthetic.body import Figure, Physique, build_body
from dygait.synthetic.cameras import HEIGHT, WIDTH, Camera, bend, camera, draw_camera, rows_of_a_body
from dygait.synthetic.displacement import displace
from dygait.synthetic.dressing import Dress, draw_dress
from dygait.synthetic.faults import GAP, MARGIN, Background, apply_faults, draw_background, draw_faults, visible_hulls
from dygait.synthetic.gait import FRAMES_PER_SECOND, SIGNATURE_HARMONICS, Gait, rotation
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.gait_style import Style
from dygait.synthetic.motion import Motion
from dygait.synthetic.population import Person, draw_person, paced, shaped
from dygait.synthetic.presets import CASIA
from dygait.synthetic.segmentation import ROWS, Segmenter, Windows, draw_segmenter, normalise
from dygait.synthetic.settings import Settings
from dygait.synthetic.variation import draw, draw_factors, shifted, vary
from dygait.synthetic.world import People

TYPES = CASIA.people.types
"""The walks of CASIA-B."""

_SUBJECT, _WALK, _BACKGROUND, _FAULTS, _PERSON, _PATH, _CAMERA, _SEGMENTER, _FACTORS = 1, 2, 3, 4, 5, 7, 8, 9, 11
SIGNATURE_DEGREES = 1.3
EVERYONE = 0
"""A subject who is not in the dataset, and whose body or gait all subjects have if `people.differ` excludes it."""


@dataclasses.dataclass(frozen=True)
class SubjectTraits:
    """One subject: body, gait, bag and coat."""

    person: Person
    physique: Physique
    style: Style
    signature: np.ndarray
    bag: carried.Bag
    coat: coats.Coat


@functools.lru_cache(64)
def draw_subject(settings: Settings, subject: int) -> SubjectTraits:
    """Draw a subject, with body or gait of :data:`EVERYONE` if `people.differ` is `gait` or `body`."""
    traits, differ = _draw_traits(settings, subject), settings.world.people.differ
    if differ == "both":
        return traits
    common = _draw_traits(settings, EVERYONE)
    if differ == "gait":
        person = dataclasses.replace(common.person, gait_change=traits.person.gait_change)
        return dataclasses.replace(common, person=person, style=traits.style, signature=traits.signature)
    person = dataclasses.replace(traits.person, gait_change=common.person.gait_change)
    return dataclasses.replace(traits, person=person, style=common.style, signature=common.signature, bag=common.bag)


def _draw_traits(settings: Settings, subject: int) -> SubjectTraits:
    rng = np.random.default_rng([settings.seed, _SUBJECT, subject])
    people = settings.world.people
    factors = draw_factors(rng)
    fade = SIGNATURE_DEGREES / np.arange(1, SIGNATURE_HARMONICS + 1)
    person = draw_person(np.random.default_rng([settings.seed, _PERSON, subject]), people)
    share, spreads, deviations = people.covariance, {}, {}
    if share:
        spreads = dict.fromkeys(real_people.factors(), 1 - share * (1 - real_people.OWN_SPREAD))
        deviations = real_people.draw_deviations(np.random.default_rng([settings.seed, _FACTORS, subject]))
    physique = draw(Physique, rng, factors, people.variety, spreads)
    style = draw(Style, rng, factors, people.variety * people.gait_variety, spreads)
    return SubjectTraits(
        person,
        shaped(shifted(physique, deviations, people.variety * share), person, people),
        paced(shifted(style, deviations, people.variety * people.gait_variety * share), person, people),
        np.clip(rng.standard_normal((2, 3, SIGNATURE_HARMONICS)), -2, 2)
        * (people.variety * people.gait_variety * fade),
        _draw_bag(rng, people),
        _draw_coat(rng, people),
    )


def _draw_bag(rng: np.random.Generator, people: People) -> carried.Bag:
    bag = carried.draw_bag(rng)
    return dataclasses.replace(bag, size=shifted(bag.size, real_people.BAG, people.calibrated))


def _draw_coat(rng: np.random.Generator, people: People) -> coats.Coat:
    return shifted(draw(coats.Coat, rng, {}), real_people.COAT, people.calibrated)


@dataclasses.dataclass(frozen=True)
class Walk:
    """One walk of a subject past the cameras, from which :meth:`figure` builds the body."""

    gait: Gait
    phase: np.ndarray  # (S,), phase of the gait in cycles
    heading: float  # degrees to the left of the x axis
    aside: float  # metres to the left of the origin
    curve: float  # degrees to the left per metre
    bag: carried.Bag | None
    coat: coats.Coat | None
    dress: Dress | None  # outfit and carried things, instead of a bag or a coat over everyday clothes

    def figure(self, motion: Motion, phase: np.ndarray) -> Figure:
        """Build the subject as dressed in this walk; phase (S,) in cycles."""
        body = self.gait.physique
        builder = build_body(body, motion)
        if self.bag is not None:
            carried.add_bag(builder, self.bag, body, motion, phase)
        if self.coat is not None:
            coats.add_coat(builder, self.coat, body, motion)
        if self.dress is not None:
            self.dress.add(builder, body, motion, phase)
        return builder.figure()


def draw_walk(settings: Settings, subject: int, kind: str) -> Walk:
    """Draw one walk of a subject; arguments as for :func:`walk`."""
    traits, people = draw_subject(settings, subject), settings.world.people
    within = people.within
    rng = np.random.default_rng([settings.seed, _WALK, subject, _type_number(kind)])
    physique, style = vary(traits.physique, rng, within), vary(traits.style, rng, within)
    signature = traits.signature * rng.normal(1, 0.06 * within, traits.signature.shape)
    speed = float(np.clip(rng.normal(1, 0.035 * within), 1 - 0.1 * max(within, 1), 1 + 0.1 * max(within, 1)))
    start, heading, aside = rng.random(), rng.normal(0, 1.2 * within), rng.normal(0, 0.06 * within)
    wander = rng.normal(0, 0.012 * within), rng.random()
    count = int(rng.integers(settings.frames[0], settings.frames[1] + 1))

    bag, coat, dress, gait_change = None, None, None, GaitChange()
    same_gait = settings.world.people.differ == "body"  # the gait of all subjects, also in a coat
    if settings.world.wardrobe.outfits:
        dress = _dress(settings, subject, kind)
        physique = dress.outfit.fit(physique)
        gait_change = (_dress(settings, EVERYONE, kind) if same_gait else dress).gait_change
    elif kind.startswith("bg"):
        bag = _draw_bag(rng, people) if rng.random() < 0.25 else traits.bag  # sometimes another bag
        bag = dataclasses.replace(bag, size=vary(bag.size, rng))
        gait_change = carried.gait_change(bag)
    elif kind.startswith("cl"):
        coat = _draw_coat(rng, people) if rng.random() < 0.15 else vary(traits.coat, rng)
        gait_change = coats.gait_change(draw_subject(settings, EVERYONE).coat if same_gait else coat)

    gait = Gait(physique, style, signature, traits.person.gait_change.and_also(gait_change), speed)
    frame_rate, curve = _draw_path(settings, subject, kind)
    cycles_per_frame = gait.cycles_per_frame * (FRAMES_PER_SECOND / frame_rate)
    count = max(min(count, int(settings.world.cameras.metres / (gait.stride_metres * cycles_per_frame))), 1)
    turns = cycles_per_frame * np.arange(count)
    phase = start + turns + wander[0] * np.sin(2 * np.pi * (wander[1] + turns / 3))
    return Walk(gait, phase, heading, aside, curve, bag, coat, dress)


def _draw_path(settings: Settings, subject: int, kind: str) -> tuple[float, float]:
    """Draw the frame rate of a walk, and its curve in degrees per metre."""
    rng = np.random.default_rng([settings.seed, _PATH, subject, _type_number(kind)])
    low, high = settings.world.frame_rate.per_second
    frame_rate = low * (high / low) ** rng.random()
    return frame_rate, rng.uniform(-1, 1) * settings.world.cameras.curve


@functools.lru_cache(512)
def _dress(settings: Settings, subject: int, kind: str) -> Dress:
    """Draw the outfit and carried things of a walk; those of :data:`EVERYONE` if people differ in gait only."""
    if settings.world.people.differ == "gait":
        subject = EVERYONE
    person = draw_subject(settings, subject).person
    return draw_dress(settings.world.wardrobe, person, settings.seed, subject, kind, _type_number(kind))


@functools.lru_cache(128)
def walk(settings: Settings, subject: int, kind: str) -> Figure:
    """Return the figure of one walk of a subject past the cameras.

    Args:
        settings: settings of the dataset.
        subject: the number of the subject.
        kind: one of `settings.types`.

    Returns:
        The figure in S frames, fewer than in the settings if a fast subject leaves the image. It is cached: do not
        change it.
    """
    plan = draw_walk(settings, subject, kind)
    motion = _position_walk(plan.gait.pose(plan.phase), plan.heading, plan.aside)
    return bend(plan.figure(motion, plan.phase), plan.curve)


def camera_of(settings: Settings, subject: int, kind: str, view: str) -> Camera:
    """Return the camera of a sequence."""
    if settings.world.is_plain:
        return camera(view)
    sequence = subject, _type_number(kind), settings.views.index(view)
    return draw_camera(settings.world.cameras, view, np.random.default_rng([settings.seed, _CAMERA, *sequence]))


def render_sequence(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None = None
) -> np.ndarray:
    """Render the silhouettes of a walk in one view, with segmentation faults.

    Args:
        view: one of `settings.views`.
        figure: the walk, from :func:`walk`.
        frames: the indices of the frames to render; None: all S.

    Returns:
        uint8 (S, 240, 320), 0 or 255; S is the number of `frames` if given.
    """
    if not settings.world.is_plain:
        return _centre_windows(_render_any_camera(settings, subject, kind, view, figure, frames)[0])
    canvas, origins = _render(settings, subject, kind, view, figure, frames)
    pictures = np.zeros((len(origins), HEIGHT, WIDTH), np.uint8)
    for position, (x, y) in enumerate(origins.tolist()):
        window = canvas[:, position]
        pictures[position, y : y + window.shape[0], x : x + window.shape[1]] = window
    return pictures


def render_frames(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None = None
) -> np.ndarray:
    """Render normalised frames of a walk in one view, uint8 (S, 64, 64); arguments as for :func:`render_sequence`."""
    if not settings.world.is_plain:
        return normalise(*_render_any_camera(settings, subject, kind, view, figure, frames), FRAME)
    canvas, origins = _render(settings, subject, kind, view, figure, frames)
    normalised = np.zeros((len(origins), FRAME, FRAME), np.uint8)
    for position, x in enumerate(origins[:, 0].tolist()):
        window = canvas[:, position]
        _, top, _, rows = cv2.boundingRect(window)
        if rows:
            body = np.zeros((rows, WIDTH), np.uint8)
            body[:, x : x + window.shape[1]] = window[top : top + rows]
            normalised[position] = scale_and_centre(body, FRAME)
    share = settings.world.cameras.displacement
    return displace(normalised, kind, view, share) if share else normalised


def _render(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Render the windows of F frames' pictures that show the body.

    Returns:
        uint8 (H, F, W), 0 or 255, and int (F, 2), the first column and row of each window.
    """
    number = settings.views.index(view)
    clothes = _dress(settings, subject, kind).number if settings.world.wardrobe.outfits else int(kind.startswith("cl"))
    owner = EVERYONE if settings.world.people.differ == "gait" else subject  # of the clothes
    background = _background(settings, owner, clothes, number)
    rng = np.random.default_rng([settings.seed, _FAULTS, subject, _type_number(kind), number])
    faults = draw_faults(figure, background, rng)
    centres, ellipses = renderer.project(camera(view), figure)
    origins, (width, height) = renderer.windows(centres, ellipses, MARGIN)
    indices = figure.indices(frames)
    centres, ellipses, origins = centres[:, indices], ellipses[:, indices], origins[indices]
    corners = renderer.outlines(figure, centres, ellipses, origins)
    visible = visible_hulls(figure, faults.losses)[indices]
    canvas = np.zeros((height, len(indices), width + GAP), np.uint8)
    for position, (outlines, drawn) in enumerate(zip(corners, visible.tolist(), strict=True)):
        renderer.fill(canvas[:, position, :width], itertools.compress(outlines, drawn))
    apply_faults(canvas, origins, figure, faults, indices.tolist(), centres)
    return canvas[..., :width], origins


def _render_any_camera(
    settings: Settings, subject: int, kind: str, view: str, figure: Figure, frames: Sequence[int] | None
) -> tuple[Windows, Segmenter]:
    """Render the silhouettes of frames with the camera and the segmenter that are drawn for their sequence."""
    sequence_camera = camera_of(settings, subject, kind, view)
    sequence = subject, _type_number(kind), settings.views.index(view)
    rng = np.random.default_rng([settings.seed, _SEGMENTER, *sequence])
    segmenter = draw_segmenter(settings.world.segmentation, figure, min(ROWS, rows_of_a_body(sequence_camera)), rng)
    return any_camera.render(figure, sequence_camera, segmenter, frames), segmenter


def _centre_windows(windows: Windows) -> np.ndarray:
    """Return pictures, uint8 (S, 240, 320), with the windows in the middle."""
    rows, count, columns = windows.canvas.shape
    pictures = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    y, x = (HEIGHT - rows) // 2, (WIDTH - columns) // 2
    pictures[:, y : y + rows, x : x + columns] = windows.canvas.transpose(1, 0, 2)
    return pictures


@functools.lru_cache(512)
def _background(settings: Settings, subject: int, clothes: int, number: int) -> Background:
    """Draw the background of a view, given by its number, for a subject's everyday clothes (0), coat (1) or outfit."""
    return draw_background(np.random.default_rng([settings.seed, _BACKGROUND, subject, clothes, number]))


def _type_number(kind: str) -> int:
    """Return the number of a type in seeds, which does not depend on the other types of the dataset."""
    if kind in TYPES:
        return TYPES.index(kind)
    condition, number = kind.split("-")
    return len(TYPES) + 3 * int(number) + ("nm", "bg", "cl").index(condition)


def _position_walk(motion: Motion, heading: float, aside: float) -> Motion:
    """Centre a walk on the origin, rotated by `heading` degrees and shifted by `aside` metres."""
    pelvis = motion.joints["pelvis"]
    turn = rotation(heading, 0.0, 0.0)
    origin = np.array([(pelvis[0, 0] + pelvis[-1, 0]) / 2, 0.0, 0.0])
    offset = np.array([0.0, aside, 0.0])
    positions = (np.stack(list(motion.joints.values())) - origin) @ turn.T + offset
    frames = turn @ np.stack(list(motion.frames.values()))
    return Motion(dict(zip(motion.joints, positions, strict=True)), dict(zip(motion.frames, frames, strict=True)))
