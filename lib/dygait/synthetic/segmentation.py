"""Realistic segmentation: by background subtraction or by a network, at any quality, with normalisation.

:func:`draw_segmenter` draws the properties of one sequence's segmentation (:class:`Segmenter`), :func:`segment` applies
them to the silhouettes of its frames, and :func:`normalise` scales the results. The knobs are those of
:class:`~dygait.synthetic.world.Segmentation`. Unlike faults.py, which draws the simpler faults of the presets `quick`
and `full` on whole pictures, this module draws all kinds of faults, in windows that follow the body.

Displacements of outlines are in pixels of a body of :data:`ROWS` rows. A threshold on a blurred silhouette displaces
its outline; noise that is added to the threshold makes it ragged (fine noise, fixed to the background) or wavy (coarse
noise, fixed to the body, as with networks).

Changing a number changes the pictures: increment `settings.VERSION`. S frames of the sequence, F selected ones.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import cv2
import numpy as np

from dygait.frames.normalisation import scale_and_centre
from dygait.synthetic.body import Figure
from dygait.synthetic.faults import (
    HOLLOW,
    Hole,
    Loss,
    Speck,
    draw_patch,
    draw_span,
    draw_speck,
    fill_hole,
    losable_parts,
)
from dygait.synthetic.world import Segmentation

ROWS = 128
"""The most rows of a body: larger ones are scaled down, as the normalised frame has 64 rows."""
MARGIN = 8
"""Pixels around a body within which outlines move, and between the windows of two frames: the radius of the blur."""
LARGEST = 240
"""The largest width and height of a window, which fits into a picture."""

TOGETHER: tuple[tuple[str, ...], ...] = (
    ("head", "hair", "neck"),
    *(("shank " + side, "foot " + side) for side in "01"),
    *(("upper arm " + side, "forearm " + side, "hand " + side) for side in "01"),
    ("shank 0", "foot 0", "shank 1", "foot 1"),
)
"""Body parts that are lost together."""

_TEXTURE, _UNIT = 512, 32
_FINE, _MIXED, _COARSE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Noise:
    """Displacement of an outline: index of a texture, and standard deviation in pixels."""

    texture: int
    pixels: float


@dataclasses.dataclass(frozen=True)
class Shadow:
    """The shadow of the legs on the ground, which is segmented as a part of the body."""

    light: tuple[float, float]  # metres of shadow per metre of height, along x and y
    level: int  # difference from the background; 255 is that of the body


@dataclasses.dataclass(frozen=True)
class Occluder:
    """Furniture, or the picture's edge: a rectangle, fixed in the picture, that hides the body."""

    frame: int  # the frame whose body box is the unit of the rectangle
    rectangle: tuple[float, float, float, float]  # left, top, right and bottom
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class BoxErrors:
    """Errors of the box for normalisation, as fractions of the body's height."""

    shifts: np.ndarray  # float (S, 3), errors of top, bottom and centre
    # A speck above (negative) or below the body in frames first..last-1, which makes the normalised body smaller.
    speck: tuple[int, int, float] = (0, 0, 0.0)


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """Properties of one sequence's segmentation."""

    blur: float  # standard deviation in pixels
    shift: float  # outward displacement of the outline in pixels
    fixed: Noise  # noise that is the same in all frames, fixed to the background or to the body
    drift: float | None  # pixels per frame by which `fixed` moves on the body; None: it is fixed to the background
    flicker: Noise  # noise that differs between frames
    flickers: np.ndarray  # int (S, 2), offset of `flicker` in its texture
    start: tuple[int, int]  # offset of `fixed` in its texture
    fuse: int  # size of the morphological closing before the threshold; 0: none
    close: int  # size of the morphological closing after the threshold; 0: none
    open: int  # size of the morphological opening after that; 0: none
    median: int  # size of the median filter; 0: none
    trail: tuple[float, float]  # delay of a second exposure of the body in frames, and its weight
    holes: tuple[Hole, ...]
    losses: tuple[Loss, ...]
    specks: tuple[Speck, ...]
    shadow: Shadow | None
    occluder: Occluder | None
    box: BoxErrors | None
    binary: bool  # whether normalised frames are two-valued


def draw_segmenter(knobs: Segmentation, figure: Figure, rows: float, rng: np.random.Generator) -> Segmenter:
    """Draw the properties of one sequence's segmentation; `rows` is the approximate height of the body."""
    frames = len(figure.centres)
    network = bool(rng.random() * (knobs.subtraction + knobs.network) >= knobs.subtraction)
    # Most recordings are good, few are bad.
    strength = rng.uniform(*knobs.strength) * rng.gamma(0.6, 1 / 0.6)
    outline = _draw_network(rng, strength, rows) if network else _draw_subtraction(rng, strength, rows)
    holes, losses, specks = _draw_faults(rng, network, strength, frames, losable_parts(figure))
    trail = (1.0, rng.uniform(0.2, 0.48)) if network and rng.random() < 0.3 else (0.0, 0.0)
    if rng.random() < knobs.motion_blur and not trail[0]:
        trail = (rng.uniform(0.4, 1.0), 0.5)
    shadow = None if network or rng.random() >= knobs.shadow else _draw_shadow(rng)
    median = _odd(rng.choice([3, 5]) * rows / ROWS) if rng.random() < knobs.smoothing else 0
    return Segmenter(
        **outline,
        flickers=rng.integers(_TEXTURE, size=(frames, 2)),
        start=tuple(rng.integers(_TEXTURE, size=2).tolist()),
        median=median,
        trail=trail,
        holes=holes,
        losses=losses,
        specks=specks,
        shadow=shadow,
        occluder=_draw_occluder(rng, frames) if rng.random() < knobs.occlusion else None,
        box=_draw_box(knobs, rng, frames),
        binary=rng.random() < knobs.binary,
    )


def _draw_subtraction(rng: np.random.Generator, strength: float, rows: float) -> dict[str, Any]:
    rough = min(strength, 2.5)
    return {
        "blur": max(0.7, rng.uniform(0.8, 1.6) * rows / ROWS),
        "shift": rng.normal(0.2, 0.5),
        "fixed": Noise(_MIXED if rng.random() < 0.6 else _FINE, rng.uniform(0.05, 0.2 + 0.15 * rough)),
        "drift": None,
        "flicker": Noise(_FINE, rng.uniform(0.05, 0.15 + 0.1 * rough)),
        "fuse": 0,
        "close": _odd(rng.choice([0, 0, 3, 3, 5, 5]) * rows / ROWS),
        "open": _odd(rng.choice([0, 0, 0, 3, 3, 5]) * rows / ROWS),
    }


def _draw_network(rng: np.random.Generator, strength: float, rows: float) -> dict[str, Any]:
    rough = min(strength, 2.5)
    return {
        "blur": max(0.7, rng.uniform(1.2, 2.8) * rows / ROWS),
        "shift": rng.normal(0.2, 0.5),
        "fixed": Noise(_COARSE, rng.uniform(0.1, 0.3 + 0.5 * rough)),
        "drift": rng.uniform(0.2, 1.5),
        "flicker": Noise(_COARSE, rng.uniform(0.0, 0.2 + 0.2 * rough)),
        "fuse": _odd(rng.choice([0, 0, 3, 5, 7]) * rows / ROWS),
        "close": 0,
        "open": 0,
    }


def _odd(size: float) -> int:
    """Round the size of a filter to an odd number; 0 if the filter would have no effect."""
    odd = 2 * round((size - 1) / 2) + 1
    return odd if odd >= 3 else 0


def _draw_faults(
    rng: np.random.Generator, network: bool, strength: float, frames: int, parts: list[str]
) -> tuple[tuple[Hole, ...], tuple[Loss, ...], tuple[Speck, ...]]:
    def count(rate: float) -> int:
        return int(rng.poisson(rate * strength * frames / 60))

    holes = tuple(
        Hole(
            *draw_span(rng, 10, frames),
            str(rng.choice(HOLLOW)),
            draw_patch(rng, 0.022, 0.11 if rng.random() < 0.35 else 0.04),
        )
        for _ in range(0 if network else count(4.5))
    )
    losses: list[Loss] = []
    for _ in range(count(1.3)):
        lost = (str(rng.choice(parts)),) if rng.random() < 0.6 else TOGETHER[rng.integers(len(TOGETHER))]
        span = draw_span(rng, 5, frames)
        losses += [Loss(*span, part) for part in lost]
    if network and "bag" in parts and rng.random() < 0.2:
        losses.append(Loss(0, frames, "bag"))
    specks = tuple(draw_speck(rng, frames) for _ in range(0 if network else count(0.6)))
    return holes, tuple(losses), specks


def _draw_shadow(rng: np.random.Generator) -> Shadow:
    direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.0)
    return Shadow((float(length * np.cos(direction)), float(length * np.sin(direction))), int(rng.uniform(90, 200)))


def _draw_occluder(rng: np.random.Generator, frames: int) -> Occluder:
    kind = rng.integers(4)
    far = 10.0
    if kind == 0:  # the picture's edge, left or right
        cut = rng.uniform(0.15, 0.5)
        rectangle = (-far, -far, cut, far) if rng.random() < 0.5 else (1 - cut, -far, far, far)
    elif kind == 1:  # the picture's edge, above or below
        cut = rng.uniform(0.03, 0.2)
        rectangle = (-far, -far, far, cut) if rng.random() < 0.3 else (-far, 1 - cut, far, far)
    elif kind == 2:  # a table or a wall
        left, wide = rng.uniform(-0.5, 0.8), rng.uniform(0.4, 3)
        rectangle = (left, rng.uniform(0.55, 0.85), left + wide, far)
    else:  # a post
        left, wide = rng.uniform(-0.2, 0.9), rng.uniform(0.1, 0.4)
        rectangle = (left, -far, left + wide, far)
    span = max(1, int(frames * rng.uniform(0.1, 0.6)))
    first = int(rng.integers(0, frames - span + 1))
    return Occluder(first + span // 2, rectangle, first, first + span)


def _draw_box(knobs: Segmentation, rng: np.random.Generator, frames: int) -> BoxErrors | None:
    constant, jitter = rng.normal(0, knobs.box_error, 3), rng.normal(0, 0.2 * knobs.box_error, (frames, 3))
    speck = (0, 0, 0.0)
    if rng.random() < knobs.edge_specks:
        first, span = int(rng.integers(frames)), 1 + int(rng.exponential(6))
        speck = first, min(frames, first + span), float(rng.uniform(0.03, 0.3) * rng.choice([-1, 1]))
    return BoxErrors(constant + jitter, speck) if knobs.box_error or speck[1] else None


@dataclasses.dataclass(frozen=True)
class Windows:
    """The bodies of F frames, each drawn in a window that follows the body."""

    canvas: np.ndarray  # uint8 (H, F, W), grey levels, with at least MARGIN empty columns and rows after each window
    frames: np.ndarray  # int (F,), indices of the frames
    origins: np.ndarray  # int (F, 2), first column and row of each window in the picture, in pixels of the window
    sizes: np.ndarray  # int (F, 2), columns and rows of each window
    scale: np.ndarray  # (F,), pixels of the window per pixel of the picture
    boxes: np.ndarray  # (F, 4), left, top, right and bottom of the body, in pixels of the picture
    centres: np.ndarray  # (2, F, B), projected centres of the ellipsoids, in pixels of the window


def segment(windows: Windows, segmenter: Segmenter, names: list[str], occluded: np.ndarray | None) -> None:
    """Segment the bodies in windows, in place: 0 or 255.

    Args:
        names: names of the ellipsoids.
        occluded: (4,), left, top, right and bottom of the occluder, in pixels of the picture; None: no occluder.
    """
    canvas = windows.canvas
    rows = len(canvas)
    flat = canvas.reshape(rows, -1)
    _draw_patches(windows, segmenter, names)
    if segmenter.fuse:
        flat[:] = _morphology(flat, cv2.MORPH_CLOSE, segmenter.fuse)
    size = 2 * math.ceil(1.6 * segmenter.blur) + 1
    level = cv2.GaussianBlur(flat, (size, size), segmenter.blur, borderType=cv2.BORDER_CONSTANT)
    cv2.compare(level, _thresholds(windows, segmenter), cv2.CMP_GT, dst=flat)
    # Pixels outside a window must not depend on other frames.
    for position, (width, height) in enumerate(windows.sizes.tolist()):
        canvas[:, position, width:] = canvas[height:, position] = 0
    if segmenter.close:
        flat[:] = _morphology(flat, cv2.MORPH_CLOSE, segmenter.close)
    if segmenter.open:
        flat[:] = _morphology(flat, cv2.MORPH_OPEN, segmenter.open)
    if segmenter.median:
        flat[:] = cv2.medianBlur(flat, segmenter.median)
    if occluded is not None:
        _occlude(windows, segmenter, occluded)


def _morphology(flat: np.ndarray, operation: int, size: int) -> np.ndarray:
    return cv2.morphologyEx(flat, operation, np.ones((size, size), np.uint8))


def _thresholds(windows: Windows, segmenter: Segmenter) -> np.ndarray:
    """Return the threshold of each pixel, uint8 (H, F * W), 0 to 254."""
    rows, _, columns = windows.canvas.shape
    slope = 255 / (segmenter.blur * math.sqrt(2 * math.pi))  # grey levels per pixel at an outline
    fixed, flicker = (noise.pixels * slope / _UNIT for noise in (segmenter.fixed, segmenter.flicker))
    middle = 127.5 - segmenter.shift * slope - 128 * (fixed + flicker)
    fixed_texture, flicker_texture = _textures()[segmenter.fixed.texture], _textures()[segmenter.flicker.texture]
    threshold = np.empty(windows.canvas.shape, np.uint8)
    starts = np.array(segmenter.start) + windows.origins[:, ::-1]
    if segmenter.drift is not None:
        starts = np.array(segmenter.start) + np.outer(segmenter.drift * windows.frames, [1, 1]).astype(int)
    offsets = np.hstack([starts % _TEXTURE, segmenter.flickers[windows.frames]])
    for position, (y, x, v, u) in enumerate(offsets.tolist()):
        first, second = fixed_texture[y : y + rows, x : x + columns], flicker_texture[v : v + rows, u : u + columns]
        cv2.addWeighted(first, fixed, second, flicker, middle, dst=threshold[:, position])
    flat = threshold.reshape(rows, -1)
    return cv2.threshold(flat, 254, 0, cv2.THRESH_TRUNC, dst=flat)[1]


def _draw_patches(windows: Windows, segmenter: Segmenter, names: list[str]) -> None:
    """Draw holes and specks, in place."""
    if not (segmenter.holes or segmenter.specks):
        return
    heights = (windows.boxes[:, 3] - windows.boxes[:, 1]) * windows.scale
    for position, (frame, height, (columns, rows)) in enumerate(
        zip(windows.frames.tolist(), heights.tolist(), windows.sizes.tolist(), strict=True)
    ):
        window = windows.canvas[:rows, position, :columns]
        for hole in segmenter.holes:
            if hole.first <= frame < hole.last:
                centre = windows.centres[:, position, names.index(hole.ellipsoid)].tolist()
                fill_hole(window, hole, centre, height)
        for speck in segmenter.specks:
            if speck.frame == frame:
                centre = (round(speck.position[0] * columns), round(MARGIN + speck.position[1] * height))
                cv2.circle(window, centre, round(speck.radius), 255, -1)


def _occlude(windows: Windows, segmenter: Segmenter, occluded: np.ndarray) -> None:
    """Remove pixels behind the occluder, unless little would remain of the body."""
    occluder = segmenter.occluder
    assert occluder is not None
    rows, _, columns = windows.canvas.shape
    corners = np.outer(windows.scale, occluded) - np.tile(windows.origins, 2)
    corners = np.clip(np.rint(corners), 0, np.array([columns, rows] * 2)).astype(int)
    for position, (frame, (left, top, right, bottom)) in enumerate(
        zip(windows.frames.tolist(), corners.tolist(), strict=True)
    ):
        if not occluder.first <= frame < occluder.last:
            continue
        window = windows.canvas[:, position]
        hidden = window[top:bottom, left:right]
        if cv2.countNonZero(hidden) < 0.6 * cv2.countNonZero(window):
            hidden[:] = 0


def normalise(windows: Windows, segmenter: Segmenter, height: int) -> np.ndarray:
    """Scale and centre the silhouettes, with the box errors of the segmenter: uint8 (F, R, R) for a height R."""
    frames = np.zeros((len(windows.frames), height, height), np.uint8)
    for position, (frame, width) in enumerate(zip(windows.frames.tolist(), windows.sizes[:, 0].tolist(), strict=True)):
        window = windows.canvas[:, position, :width]
        _, top, _, rows = cv2.boundingRect(window)
        if rows == 0:
            continue
        if segmenter.box is None:
            frames[position] = scale_and_centre(window[top : top + rows], height)
            continue
        above, below, aside = segmenter.box.shifts[frame].tolist()
        above, below = round(above * rows), round(below * rows)
        body = window[max(top - above, 0) : top + rows + below]
        first, last, speck = segmenter.box.speck
        if first <= frame < last:
            body = _add_speck(body, round(speck * rows))
        frames[position] = _shift(scale_and_centre(body, height), round(aside * height))
    if segmenter.binary:
        flat = frames.reshape(-1, height)
        cv2.threshold(flat, 127, 255, cv2.THRESH_BINARY, dst=flat)
    return frames


def _add_speck(body: np.ndarray, distance: int) -> np.ndarray:
    """Pad a body with rows below, or above if `distance` is negative, and draw a speck at their end."""
    body = cv2.copyMakeBorder(body, max(-distance, 0), max(distance, 0), 0, 0, cv2.BORDER_CONSTANT)
    cv2.circle(body, (body.shape[1] // 2, 1 if distance < 0 else len(body) - 2), 1, 255, -1)
    return body


def _shift(frame: np.ndarray, columns: int) -> np.ndarray:
    """Shift a frame to the right by a number of columns, which can be negative."""
    if columns == 0:
        return frame
    shifted = np.zeros_like(frame)
    width = frame.shape[1]
    shifted[:, max(columns, 0) : width + min(columns, 0)] = frame[:, max(-columns, 0) : width - max(columns, 0)]
    return shifted


@functools.cache
def _textures() -> list[np.ndarray]:
    """Return fine, mixed and coarse periodic noise of mean 128 and deviation 32, for windows at every offset."""
    noises, size = [], _TEXTURE + LARGEST + MARGIN
    for number, smoothness in enumerate((1.2, 5.0)):
        white = np.random.default_rng(number).standard_normal((_TEXTURE, _TEXTURE)).astype(np.float32)
        noise = cv2.GaussianBlur(np.tile(white, (2, 2)), (0, 0), smoothness)[:size, :size]
        noises.append(noise / noise.std())
    fine, coarse = noises
    mixed = (fine + coarse) / math.sqrt(2)
    return [np.clip(128 + _UNIT * noise, 0, 255).astype(np.uint8) for noise in (fine, mixed, coarse)]
