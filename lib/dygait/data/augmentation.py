"""Random augmentation of silhouettes: flip, rotation, affine and perspective warps, erasing.

Names, keywords and defaults are OpenGait's, whose GaitBase (Fan et al., "OpenGait: Revisiting Gait Recognition Toward
Better Practicality", CVPR 2023) is trained with them; docs/fidelity.md lists the differences in geometry. The input is
never modified; a transform that is not applied returns its input.

S, H, W: frames, height and width; all channels of frames (S, C, H, W) are transformed alike. Coordinates are OpenCV's:
x to the right, y down, integers at pixel centres, so that a frame extends from -0.5 to W - 0.5 and to H - 0.5.
"""

from __future__ import annotations

import abc
import math
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field

from dygait.data.transforms import TRANSFORMS

# OpenCV 5 supports 128 channels, and processes blocks of 16 and a slower remainder: half a block or more is padded to a
# block. There is at least one block, since OpenCV may interpolate up to 4 channels differently.
_MAX_CHANNELS, _BLOCK = 64, 16

_ERASING_TRIES = 100


Fraction = Annotated[float, Field(ge=0, le=1)]
Degree = Annotated[float, Field(ge=0, le=180)]


class RandomTransform(abc.ABC):
    """A transform that is applied to all frames of a sequence with a probability."""

    divisor = 1.0

    def __init__(self, prob: Fraction = 0.5) -> None:
        self.prob = prob

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return frames if rng.random() >= self.prob else self.apply(frames, rng)

    @abc.abstractmethod
    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the transformed frames, uint8 (S, H, W)."""


@TRANSFORMS.register("RandomHorizontalFlip")
class RandomHorizontalFlip(RandomTransform):
    """Flip all frames of a sequence horizontally.

    Args:
        prob: the probability.
    """

    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = np.ascontiguousarray(frames).reshape(-1, frames.shape[-1])
        return cv2.flip(rows, 1).reshape(frames.shape)


@TRANSFORMS.register("RandomErasing")
class RandomErasing:
    """Erase a rectangle, the same one in all frames or another one in each frame.

    Its area and aspect ratio are sampled, then its position, up to 100 times, until it fits into the frame.

    Args:
        prob: the probability; for a sequence, or for each frame if `per_frame` is true.
        sl: the smallest area, as a fraction of the area of the frame.
        sh: the largest area, as a fraction of the area of the frame.
        r1: the smallest ratio of height to width; the largest is 1 / r1.
        per_frame: whether to sample for every frame independently.
    """

    divisor = 1.0

    def __init__(
        self,
        prob: Fraction = 0.5,
        sl: Fraction = 0.05,
        sh: Fraction = 0.2,
        r1: Annotated[float, Field(gt=0, le=1)] = 0.3,
        per_frame: bool = False,
    ) -> None:
        if sl > sh:
            raise ValueError(f"sl: the smallest area, {sl}, is above the largest, {sh}; lower it or raise `sh`")
        self.prob = prob
        self.areas = (sl, sh)
        self.aspect_ratios = (r1, 1 / r1)
        self.per_frame = per_frame

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = frames.shape[-2:]
        pending: list[Any] = []  # indices of frames, or one slice of all
        if self.per_frame:
            pending = np.flatnonzero(rng.random(len(frames)) < self.prob).tolist()
        elif rng.random() < self.prob:
            pending = [slice(None)]
        if not pending:
            return frames
        erased = frames.copy()
        for _ in range(_ERASING_TRIES):
            samples = zip(pending, rng.random((len(pending), 4)).tolist(), strict=True)
            pending = []
            for index, numbers in samples:
                top, left, rows, columns = self._rectangle(height, width, *numbers)
                if rows < height and columns < width:
                    erased[index, ..., top : top + rows, left : left + columns] = 0
                else:
                    pending.append(index)
            if not pending:
                break
        return erased

    def _rectangle(
        self, height: int, width: int, area: float, ratio: float, top: float, left: float
    ) -> tuple[int, int, int, int]:
        """Return top, left, height and width of a rectangle for four random numbers in 0..1."""
        pixels = _interpolate(*self.areas, area) * height * width
        aspect = _interpolate(*self.aspect_ratios, ratio)
        rows, columns = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        return int(top * (height - rows + 1)), int(left * (width - columns + 1)), rows, columns


class _RandomWarp(RandomTransform):
    """A bilinear warp, the same for all frames, with zeros outside the frame."""

    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = frames.shape[-2:]
        maps = frames.reshape(-1, height, width)
        return warp(maps, self.source(height, width, rng)).reshape(frames.shape)

    @abc.abstractmethod
    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return the matrix (2, 3) or (3, 3) that maps a pixel of the output to the input."""


@TRANSFORMS.register("RandomRotate")
class RandomRotate(_RandomWarp):
    """Rotate all frames of a sequence about the centre.

    Args:
        prob: the probability.
        degree: the largest angle, in both directions.
    """

    def __init__(self, prob: Fraction = 0.5, degree: Degree = 10) -> None:
        super().__init__(prob)
        self.degree = degree

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        angle = _interpolate(-self.degree, self.degree, rng.random())
        return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)


@TRANSFORMS.register("RandomPerspective")
class RandomPerspective(_RandomWarp):
    """Warp a trapezium of full height to the frame, as if the camera were tilted.

    Each corner is up to 10 columns inside a frame of height 64, and proportionally for others.

    Args:
        prob: the probability.
    """

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        corners = _corners(height, width)
        inwards = np.array([[1, 0], [-1, 0], [1, 0], [-1, 0]], np.float32)
        trapezium = corners + inwards * _max_shift(height, width) * rng.random((4, 1), np.float32)
        return cv2.getPerspectiveTransform(corners, trapezium)


@TRANSFORMS.register("RandomAffine")
class RandomAffine(_RandomWarp):
    """Move three corners of the frame, which combines translation, scale and shear.

    A random triangle is mapped to another. The corners of each, top left, top right and bottom left, are up to 10 rows
    and columns inside a frame of height 64, and proportionally for others.

    Args:
        prob: the probability.
        degree: no effect, as in OpenGait; accepted because its configurations contain it.
    """

    def __init__(self, prob: Fraction = 0.5, degree: Degree = 10) -> None:
        super().__init__(prob)

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        inwards = np.array([[1, 1], [-1, 1], [1, -1]], np.float32)
        moves = inwards * _max_shift(height, width) * rng.random((2, 3, 2), np.float32)
        before, after = _corners(height, width)[:3] + moves
        return cv2.getAffineTransform(after, before)


def _interpolate(low: float, high: float, fraction: float) -> float:
    return low + (high - low) * fraction


def _corners(height: int, width: int) -> np.ndarray:
    """Return the corners of a frame, float32 (4, 2) of (x, y): top left, top right, bottom left, bottom right."""
    left, right, top, bottom = -0.5, width - 0.5, -0.5, height - 0.5
    return np.array([(left, top), (right, top), (left, bottom), (right, bottom)], np.float32)


def _max_shift(height: int, width: int) -> float:
    """Return the largest shift of a corner: 10 pixels in 64x64 and 64x44, 20 in 128x128 and 128x88."""
    return 10 * min(height / 64, width / 44)


def warp(frames: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Warp frames, uint8 (S, H, W), together, as the channels of one image: bilinear, zero outside the frame.

    The matrix `source`, float64 (2, 3) or (3, 3), maps a pixel (x, y) of the output to the input.
    """
    count, height, width = frames.shape
    if count > _MAX_CHANNELS:
        parts = range(0, count, _MAX_CHANNELS)
        return np.concatenate([warp(frames[start : start + _MAX_CHANNELS], source) for start in parts])
    remainder = count % _BLOCK
    channels = max(_BLOCK, count if remainder < _BLOCK / 2 else count - remainder + _BLOCK)
    pixels = height * width
    padded = np.empty((channels, height, width), np.uint8)
    padded[:count] = frames
    image = cv2.transpose(padded.reshape(channels, pixels)).reshape(height, width, channels)
    transform = cv2.warpAffine if len(source) == 2 else cv2.warpPerspective
    warped = transform(image, source, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.transpose(warped.reshape(pixels, channels)).reshape(channels, height, width)[:count]
