"""Segmentation faults of background subtraction.

Noisy outlines (due to the background's texture, fixed in the picture, and to the noise of each frame), a biased
threshold, holes where clothes resemble the background, missing limbs, and specks beside the body.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np

from dygait.synthetic.body import Figure
from dygait.synthetic.cameras import HEIGHT, WIDTH

MARGIN = 7
"""Width in pixels of the region around the body in which faults occur."""
GAP = 2
"""Empty columns that separate the windows of two frames: the reach of the blur."""
TEXTURE_SIZE = 512

SPOTS = 0.8
"""Mean number of patches of a subject's clothes that resemble a camera's background."""
SPOT_RADIUS = 0.05
"""The largest radius of a patch, as a fraction of the body's height."""

BIAS = 25.0
"""Standard deviation of the threshold between body and background, in grey levels; it moves outlines by 1-2 pixels."""

LOSABLE = ("hand", "forearm", "foot", "head", "hair", "shank", "bag")
HOLLOW = (
    *("skull", "chest", "waist", "hips"),
    *(f"{name}_{side}" for name in ("thigh", "knee", "calf", "shoulder", "elbow", "hand", "toe") for side in (0, 1)),
)
"""Ellipsoids on which holes occur."""

Patch = tuple[tuple[float, float, float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class Hole:
    """A patch of the body classified as background: frames first..last-1, on an ellipsoid.

    A patch is a few ellipses (x, y, radius, radius, degrees), in fractions of the body's height.
    """

    first: int
    last: int
    ellipsoid: str
    patch: Patch


@dataclasses.dataclass(frozen=True)
class Loss:
    """A part of the body that is not detected: frames first..last-1."""

    first: int
    last: int
    part: str


@dataclasses.dataclass(frozen=True)
class Speck:
    """Background classified as body: one frame, at fractions of the body's box, radius in pixels."""

    frame: int
    position: tuple[float, float]
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
class Background:
    """The effect of the background of one camera on the clothes of one subject, the same in every sequence."""

    shift: float  # bias of the threshold between body and background, in grey levels
    # Patches that resemble the background: ellipsoid, patch, and the share of frames in which the patch is missing.
    spots: tuple[tuple[str, Patch, float], ...]


def draw_background(rng: np.random.Generator) -> Background:
    """Draw the effect of one camera's background on one subject's clothes."""
    spots = tuple(
        (HOLLOW[rng.integers(len(HOLLOW))], draw_patch(rng, 0.022, SPOT_RADIUS), rng.uniform(0.2, 0.9))
        for _ in range(rng.poisson(SPOTS))
    )
    return Background(float(np.clip(rng.normal(0, BIAS), -1.5 * BIAS, 1.5 * BIAS)), spots)


def draw_faults(figure: Figure, background: Background, rng: np.random.Generator) -> Faults:
    """Draw the faults of one sequence in one view."""
    frames = len(figure.centres)
    parts = losable_parts(figure)
    # Most recordings are good, few are bad.
    quality = rng.gamma(1.5, 1 / 1.5)
    holes = [
        Hole(*draw_span(rng, 14, frames), ellipsoid, patch)
        for ellipsoid, patch, share in background.spots
        for _ in range(rng.poisson(share * frames / 10))
    ]
    holes += [
        Hole(*draw_span(rng, 12, frames), HOLLOW[rng.integers(len(HOLLOW))], draw_patch(rng, 0.02, 0.035))
        for _ in range(rng.poisson(0.9 * quality * frames / 60))
    ]
    losses = [
        Loss(*draw_span(rng, 5, frames), parts[rng.integers(len(parts))])
        for _ in range(rng.poisson(0.9 * quality * frames / 60))
    ]
    specks = [draw_speck(rng, frames) for _ in range(rng.poisson(3.0 * quality * frames / 60))]
    return Faults(
        shift=background.shift + rng.normal(0, 6),
        ragged=rng.uniform(8, 22),
        flicker=rng.uniform(6, 18),
        texture=tuple(rng.integers(TEXTURE_SIZE, size=2).tolist()),
        flickers=tuple((row, column) for row, column in rng.integers(TEXTURE_SIZE, size=(frames, 2)).tolist()),
        holes=tuple(holes),
        losses=tuple(losses),
        specks=tuple(specks),
    )


def losable_parts(figure: Figure) -> list[str]:
    """Return the names of the body parts that can be lost by the segmentation."""
    return sorted({part for part in figure.parts if part.split()[0] in LOSABLE})


def draw_span(rng: np.random.Generator, mean: int, frames: int) -> tuple[int, int]:
    """Draw the first and the last frame + 1 of a fault that lasts `mean` frames on average."""
    first = int(rng.integers(1 - mean, frames))
    return max(first, 0), min(frames, first + 1 + int(rng.exponential(mean)))


def draw_speck(rng: np.random.Generator, frames: int) -> Speck:
    """Draw a speck in one of the frames."""
    return Speck(int(rng.integers(frames)), tuple(rng.uniform(0, 1, 2).tolist()), rng.uniform(0.6, 2.2))


def draw_patch(rng: np.random.Generator, offset: float, radius: float) -> Patch:
    """Draw a patch of the body: `offset` scales its distance from the centre of an ellipsoid, `radius` its radii."""
    middle, size = rng.normal(0, offset, 2), rng.uniform(0.3, 0.85) * radius
    centres, radii = middle + rng.normal(0, 0.6 * size, (3, 2)), rng.uniform(0.35, 1.0, (3, 2)) * size
    return tuple(tuple(lobe) for lobe in np.column_stack([centres, radii, rng.uniform(0, 180, 3)]).tolist())


def fill_hole(picture: np.ndarray, hole: Hole, centre: tuple[float, float], height: float) -> None:
    """Draw a hole in a picture (H, W), in place; `centre` (x, y) is that of its ellipsoid, `height` the body's."""
    for x, y, *radii, angle in hole.patch:
        middle = (round(centre[0] + x * height), round(centre[1] + y * height))
        axes = (max(1, round(radii[0] * height)), max(1, round(radii[1] * height)))
        cv2.ellipse(picture, middle, axes, angle, 0, 360, 0, -1)


def visible_hulls(figure: Figure, losses: Sequence[Loss]) -> np.ndarray:
    """Return whether each hull is detected in each frame, bool (S, P)."""
    visible = np.ones((len(figure.centres), len(figure.parts)), bool)
    parts = np.array(figure.parts)
    for loss in losses:
        visible[loss.first : max(loss.last, 0), parts == loss.part] = False
    return visible


def apply_faults(
    canvas: np.ndarray, origins: np.ndarray, figure: Figure, faults: Faults, frames: Sequence[int], centres: np.ndarray
) -> None:
    """Apply faults to perfect silhouettes, in place.

    Args:
        canvas: uint8 (H, F, W), 0 or 255: windows of F frames' pictures, with at least :data:`MARGIN` empty pixels
            around the body except at the edges of the picture, and always :data:`GAP` empty columns at the right.
        origins: int (F, 2), the first column and row of each window in its picture.
        frames: the indices of the F frames.
        centres: (2, F, B), the projected centres of the ellipsoids, in pixels of the pictures.
    """
    rows, _, columns = canvas.shape
    separate = _draw_patches(canvas, origins, figure, faults, frames, centres)
    # All frames are blurred at once, as margins separate them; those with specks or edges have no margin.
    level = cv2.GaussianBlur(canvas.reshape(rows, -1), (5, 5), 0).reshape(canvas.shape)
    for box in separate:
        level[:, box[1]] = 0
        level[box] = cv2.GaussianBlur(canvas[box], (5, 5), 0)

    row, column = faults.texture
    ragged = faults.ragged * _texture()[row : row + HEIGHT, column : column + WIDTH + GAP]
    noisy = np.empty(canvas.shape, np.float32)
    for position, (frame, (x, y)) in enumerate(zip(frames, origins.tolist(), strict=True)):
        row, column = faults.flickers[frame][0] + y, faults.flickers[frame][1] + x
        texture = _texture()[row : row + rows, column : column + columns]
        np.multiply(texture, faults.flicker, out=noisy[:, position])
        cv2.add(noisy[:, position], ragged[y : y + rows, x : x + columns], noisy[:, position])
    noisy += level
    # Noise moves outlines only; elsewhere it would add isolated pixels.
    inside = (noisy > 127.5 + faults.shift) & (level > 0) | (level == 255)
    np.multiply(inside.view(np.uint8), 255, out=canvas)


def _draw_patches(
    canvas: np.ndarray, origins: np.ndarray, figure: Figure, faults: Faults, frames: Sequence[int], centres: np.ndarray
) -> list[tuple[slice, int, slice]]:
    """Draw holes and specks; return the regions of bodies that have specks or touch the picture's edge."""
    columns = canvas.shape[2]
    separate = []
    for position, (frame, (x, y)) in enumerate(zip(frames, origins.tolist(), strict=True)):
        holes = [hole for hole in faults.holes if hole.first <= frame < hole.last]
        specks = [speck for speck in faults.specks if speck.frame == frame]
        at_edge = x == 0 or x + columns - GAP == WIDTH
        if not (holes or specks or at_edge):
            continue
        left, top, width, height = cv2.boundingRect(canvas[:, position])
        if width == 0:
            continue
        x0, y0, x1 = max(left - MARGIN, 0), max(top - MARGIN, 0), min(left + width + MARGIN, WIDTH - x)
        box = (slice(y0, top + height + MARGIN), position, slice(x0, x1))
        for hole in holes:
            across, down = centres[:, position, figure.names.index(hole.ellipsoid)].tolist()
            fill_hole(canvas[box], hole, (across - (x + x0), down - (y + y0)), height)
        for speck in specks:
            middle = (round(speck.position[0] * (x1 - x0)), MARGIN + round(speck.position[1] * height))
            cv2.circle(canvas[box], middle, round(speck.radius), 255, -1)
        if specks or at_edge:
            separate.append(box)
    return separate


@functools.cache
def _texture() -> np.ndarray:
    """Return smooth periodic noise of unit deviation, large enough for a picture at every offset."""
    white = np.random.default_rng(0).standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(white, (2, 2)), (0, 0), 1.2)
    noise = noise / np.float32(noise.std())
    return noise[: TEXTURE_SIZE + HEIGHT, : TEXTURE_SIZE + WIDTH + GAP].copy()
