"""Faults of segmentation: what stands between a body and the silhouette that a background subtraction finds.

Ragged outlines (the background's texture, fixed in the picture, and the noise of each frame), an outline too wide or
too narrow, holes where clothes look like the background, limbs lost for a while, specks beside the body.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from dygait.synthetic.body import Figure

MARGIN = 7
"""Pixels around the body within which faults happen."""
TEXTURE_SIZE = 512

SPOTS = 0.8
"""Mean number of patches of a person's clothes that look like one camera's background."""
SPOT_RADIUS = 0.05
"""The largest of them, as a fraction of the body's height."""

BIAS = 25.0
"""Grey levels, of 255, by which the threshold between body and background is off: one or two pixels of outline."""

LOSABLE = ("hand", "forearm", "foot", "head", "hair", "shank", "bag")
HOLLOW = (
    "skull",
    "chest",
    "waist",
    "hips",
    "thigh_0",
    "thigh_1",
    "knee_0",
    "knee_1",
    "calf_0",
    "calf_1",
    "shoulder_0",
    "shoulder_1",
    "elbow_0",
    "elbow_1",
    "hand_0",
    "hand_1",
    "toe_0",
    "toe_1",
)


Patch = tuple[tuple[float, float, float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class Hole:
    """A patch of the body taken for background: frames first..last-1, on a blob.

    A patch is a few ellipses (x, y, radius, radius, degrees), in fractions of the body's height.
    """

    first: int
    last: int
    blob: str
    patch: Patch


@dataclasses.dataclass(frozen=True)
class Loss:
    """A part of the body not found: frames first..last-1."""

    first: int
    last: int
    part: str


@dataclasses.dataclass(frozen=True)
class Speck:
    """Background taken for body: one frame, at fractions of the body's box, radius in pixels."""

    frame: int
    where: tuple[float, float]
    radius: float


@dataclasses.dataclass(frozen=True)
class Faults:
    """The faults of one sequence in one view."""

    shift: float
    ragged: float
    flicker: float
    texture: tuple[int, int]
    flickers: tuple[tuple[int, int], ...]
    holes: tuple[Hole, ...]
    losses: tuple[Loss, ...]
    specks: tuple[Speck, ...]


@dataclasses.dataclass(frozen=True)
class Backdrop:
    """What the background of one camera does to one person's clothes, in every sequence in which he wears them.

    Attributes:
        shift: bias of the threshold between body and background, in grey levels.
        spots: what looks like the background: a blob, a patch on it, and the share of the time for which it is missed.
    """

    shift: float
    spots: tuple[tuple[str, Patch, float], ...]


def draw_backdrop(rng: np.random.Generator) -> Backdrop:
    """Draw what one camera's background does to one person's clothes."""
    spots = tuple(
        (HOLLOW[rng.integers(len(HOLLOW))], _patch(rng, 0.022, SPOT_RADIUS), float(rng.uniform(0.2, 0.9)))
        for _ in range(rng.poisson(SPOTS))
    )
    return Backdrop(float(np.clip(rng.normal(0, BIAS), -1.5 * BIAS, 1.5 * BIAS)), spots)


def draw_faults(figure: Figure, backdrop: Backdrop, rng: np.random.Generator) -> Faults:
    """Draw the faults of one sequence in one view.

    Args:
        figure: who is seen, in S frames.
        backdrop: what the view's background does to his clothes.
        rng: the sequence's and the view's own.
    """
    frames = len(figure.centres)
    parts = sorted({part for part in figure.parts if part.split()[0] in LOSABLE})
    # Few recordings are bad and many are good.
    quality = float(rng.gamma(1.5, 1 / 1.5))

    def span(mean: int) -> tuple[int, int]:
        first = int(rng.integers(1 - mean, frames))
        return max(first, 0), min(frames, first + 1 + int(rng.exponential(mean)))

    holes = [
        Hole(*span(14), blob, patch)
        for blob, patch, share in backdrop.spots
        for _ in range(rng.poisson(share * frames / 10))
    ]
    holes += [
        Hole(*span(12), HOLLOW[rng.integers(len(HOLLOW))], _patch(rng, 0.02, 0.035))
        for _ in range(rng.poisson(0.9 * quality * frames / 60))
    ]
    losses = [Loss(*span(5), parts[rng.integers(len(parts))]) for _ in range(rng.poisson(0.9 * quality * frames / 60))]
    specks = [
        Speck(int(rng.integers(frames)), tuple(rng.uniform(0, 1, 2).tolist()), float(rng.uniform(0.6, 2.2)))
        for _ in range(rng.poisson(3.0 * quality * frames / 60))
    ]
    return Faults(
        shift=backdrop.shift + float(rng.normal(0, 6)),
        ragged=float(rng.uniform(8, 22)),
        flicker=float(rng.uniform(6, 18)),
        texture=tuple(rng.integers(TEXTURE_SIZE, size=2).tolist()),
        flickers=tuple((row, column) for row, column in rng.integers(TEXTURE_SIZE, size=(frames, 2)).tolist()),
        holes=tuple(holes),
        losses=tuple(losses),
        specks=tuple(specks),
    )


def _patch(rng: np.random.Generator, offset: float, radius: float) -> Patch:
    middle, size = rng.normal(0, offset, 2), rng.uniform(0.3, 0.85) * radius
    lobes = np.column_stack(
        [
            middle + rng.normal(0, 0.6 * size, (3, 2)),
            rng.uniform(0.35, 1.0, (3, 2)) * size,
            rng.uniform(0, 180, 3),
        ]
    )
    return tuple(tuple(lobe) for lobe in lobes.tolist())


def shown(figure: Figure, faults: Faults, frame: int) -> np.ndarray:
    """Which hulls (P,) of the figure the segmentation finds in a frame, bool."""
    lost = {loss.part for loss in faults.losses if loss.first <= frame < loss.last}
    return np.array([part not in lost for part in figure.parts])


def spoil(picture: np.ndarray, figure: Figure, faults: Faults, frame: int, centres: np.ndarray) -> np.ndarray:
    """Put the faults of a frame into its perfect silhouette.

    Args:
        picture: uint8 (H, W), 0 or 255; changed in place.
        figure: who is seen.
        faults: of the sequence.
        frame: which frame of it.
        centres: (B, 2), where the blobs are seen, in pixels.

    Returns:
        The picture.
    """
    left, top, width, height = cv2.boundingRect(picture)
    if width == 0:
        return picture
    x0, y0 = max(left - MARGIN, 0), max(top - MARGIN, 0)
    x1, y1 = min(left + width + MARGIN, picture.shape[1]), min(top + height + MARGIN, picture.shape[0])
    part = picture[y0:y1, x0:x1]
    for hole in faults.holes:
        if hole.first <= frame < hole.last:
            middle = centres[figure.names.index(hole.blob)] - (x0, y0)
            for x, y, *radii, angle in hole.patch:
                where = (round(middle[0] + x * height), round(middle[1] + y * height))
                axes = (max(1, round(radii[0] * height)), max(1, round(radii[1] * height)))
                cv2.ellipse(part, where, axes, angle, 0, 360, 0, -1)
    for speck in faults.specks:
        if speck.frame == frame:
            where = (round(speck.where[0] * (x1 - x0)), MARGIN + round(speck.where[1] * height))
            cv2.circle(part, where, round(speck.radius), 255, -1)
    level = cv2.GaussianBlur(part, (5, 5), 0).astype(np.float32)
    noise = faults.ragged * _cut(faults.texture, x0, y0, x1, y1)
    noise += faults.flicker * _cut(faults.flickers[frame], x0, y0, x1, y1)
    # Noise moves the outline; where there is none it would only pepper the picture.
    noise[(level == 0) | (level == 255)] = 0
    part[...] = np.where(level + noise > 127.5 + faults.shift, 255, 0)
    return picture


@functools.cache
def _texture() -> np.ndarray:
    """Smooth noise of unit deviation, repeated once so that any window of the picture's size can be cut from it."""
    white = np.random.default_rng(0).standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(white, (2, 2)), (0, 0), 1.2)
    return noise / np.float32(noise.std())


def _cut(corner: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    row, column = corner
    return _texture()[row + y0 : row + y1, column + x0 : column + x1]
