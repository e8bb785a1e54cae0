"""Random changes of silhouettes in training: mirrored, turned, sheared, seen from elsewhere, partly hidden.

Names, keywords and defaults are OpenGait's, whose GaitBase (Fan et al., "OpenGait: Revisiting Gait Recognition Toward
Better Practicality", CVPR 2023) is trained with them; docs/fidelity.md tells where the geometry differs.

What is drawn is drawn once for a sequence, and a warp turns all of its frames at once: they become the channels of one
image, so that where a pixel comes from is worked out once. The frames given are never written to; a transform that
does not strike returns them as they are.

S, H, W: frames, rows and columns. Coordinates are OpenCV's: x to the right, y down, whole numbers at pixel centres, so
that a frame reaches from -0.5 to W - 0.5 and to H - 0.5.
"""

from __future__ import annotations

import abc
import math
import threading
from typing import Any

import cv2
import numpy as np

from dygait.data.transforms import TRANSFORMS

# OpenCV 5 admits 128 channels. It takes 16 at a time, and what is over costs more each, so that half a block is filled
# up. One block at least: up to four channels it may interpolate in another way.
_MOST_CHANNELS, _BLOCK = 64, 16

_ERASING_TRIES = 100


def _check_probability(prob: float) -> None:
    if not 0 <= prob <= 1:
        raise ValueError(f"prob: must be a probability, from 0 to 1, got {prob}")


def _check_degree(degree: float) -> None:
    if not 0 <= degree <= 180:
        raise ValueError(f"degree: must be from 0 to 180; it is for both sides, -degree..degree, got {degree}")


class _OfWholeSequences(abc.ABC):
    """What strikes a sequence with some probability, all of its frames alike, or leaves it as it is.

    Args:
        prob: how often.
    """

    divisor = 1.0

    def __init__(self, prob: float = 0.5) -> None:
        _check_probability(prob)
        self.prob = prob

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uint8 (S, H, W), changed or not."""
        return frames if rng.random() >= self.prob else self.change(frames, rng)

    @abc.abstractmethod
    def change(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uint8 (S, H, W), changed."""


@TRANSFORMS.register("RandomHorizontalFlip")
class RandomHorizontalFlip(_OfWholeSequences):
    """Mirror the whole sequence left to right.

    Args:
        prob: how often.
    """

    def change(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the mirror image."""
        rows = np.ascontiguousarray(frames).reshape(-1, frames.shape[2])
        return cv2.flip(rows, 1).reshape(frames.shape)


@TRANSFORMS.register("RandomErasing")
class RandomErasing:
    """Blacken a rectangle, the same one in all frames or one of its own in each frame.

    Its area and its shape are drawn, then a place inside the frame; again, up to 100 times, while it does not fit.

    Args:
        prob: how often; of a sequence, or of a frame where `per_frame` is true.
        sl: the smallest area, as a share of the frame's.
        sh: the largest area, as a share of the frame's.
        r1: the smallest height over width; the largest is 1 / r1.
        per_frame: whether every frame is drawn for on its own.
    """

    divisor = 1.0

    def __init__(
        self, prob: float = 0.5, sl: float = 0.05, sh: float = 0.2, r1: float = 0.3, per_frame: bool = False
    ) -> None:
        _check_probability(prob)
        for name, share in (("sl", sl), ("sh", sh)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: must be a share of the frame's area, from 0 to 1, got {share}")
        if sl > sh:
            raise ValueError(f"sl: the smallest area, {sl}, is above the largest, {sh}; lower it or raise `sh`")
        if not 0 < r1 <= 1:
            raise ValueError(f"r1: must be above 0 and at most 1 (a square; 1 / r1 is the other end), got {r1}")
        self.prob = prob
        self.areas = (sl, sh)
        self.shapes = (r1, 1 / r1)
        self.per_frame = per_frame

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uint8 (S, H, W), with or without black rectangles."""
        _, height, width = frames.shape
        pending: list[Any] = []  # indices of frames, or one slice of all
        if self.per_frame:
            pending = np.flatnonzero(rng.random(len(frames)) < self.prob).tolist()
        elif rng.random() < self.prob:
            pending = [slice(None)]
        if not pending:
            return frames
        erased = frames.copy()
        for _ in range(_ERASING_TRIES):
            tries = zip(pending, rng.random((len(pending), 4)).tolist(), strict=True)
            pending = []
            for which, draws in tries:
                top, left, rows, columns = self._rectangle(height, width, *draws)
                if rows < height and columns < width:
                    erased[which, top : top + rows, left : left + columns] = 0
                else:
                    pending.append(which)
            if not pending:
                break
        return erased

    def _rectangle(
        self, height: int, width: int, area_part: float, shape_part: float, down: float, right: float
    ) -> tuple[int, int, int, int]:
        """Return top, left, height and width for four draws from 0..1; a place inside the frame, if it fits."""
        area = _between(*self.areas, area_part) * height * width
        shape = _between(*self.shapes, shape_part)
        rows, columns = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        return int(down * (height - rows + 1)), int(right * (width - columns + 1)), rows, columns


class _RandomWarp(_OfWholeSequences):
    """What the warps share: bilinear, black where nothing was, the same for all frames."""

    def change(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the frames, warped."""
        _, height, width = frames.shape
        return warp(frames, self.source(height, width, rng))

    @abc.abstractmethod
    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return the matrix (2, 3) or (3, 3) that says where a pixel of the result lies in the frame given."""


@TRANSFORMS.register("RandomRotate")
class RandomRotate(_RandomWarp):
    """Turn the whole sequence about the middle of the frame.

    Args:
        prob: how often.
        degree: the largest angle, to either side.
    """

    def __init__(self, prob: float = 0.5, degree: float = 10) -> None:
        super().__init__(prob)
        _check_degree(degree)
        self.degree = degree

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return a rotation (2, 3)."""
        angle = _between(-self.degree, self.degree, rng.random())
        return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)


@TRANSFORMS.register("RandomPerspective")
class RandomPerspective(_RandomWarp):
    """Stretch a trapezium of the sequence, of its full height, to the whole frame, as if the camera were tilted.

    Each corner lies up to 10 columns inside the frame at a height of 64, in proportion at others.

    Args:
        prob: how often.
    """

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return a homography (3, 3)."""
        corners = _corners(height, width)
        inwards = np.array([[1, 0], [-1, 0], [1, 0], [-1, 0]], np.float32)
        trapezium = corners + inwards * _reach(height, width) * rng.random((4, 1), np.float32)
        return cv2.getPerspectiveTransform(corners, trapezium)


@TRANSFORMS.register("RandomAffine")
class RandomAffine(_RandomWarp):
    """Move three corners of the sequence: shift, scale and shear together.

    Two triangles are drawn, and the first is laid on the second. The corners of each, top left, top right and bottom
    left, lie up to 10 rows and columns inside the frame at a height of 64, in proportion at others.

    Args:
        prob: how often.
        degree: without effect, as in OpenGait, where nothing reads it; accepted because its files have it.
    """

    def __init__(self, prob: float = 0.5, degree: float = 10) -> None:
        super().__init__(prob)
        _check_degree(degree)

    def source(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return an affine matrix (2, 3)."""
        inwards = np.array([[1, 1], [-1, 1], [1, -1]], np.float32)
        moves = inwards * _reach(height, width) * rng.random((2, 3, 2), np.float32)
        before, after = _corners(height, width)[:3] + moves
        return cv2.getAffineTransform(after, before)


def _between(low: float, high: float, part: float) -> float:
    return low + (high - low) * part


def _corners(height: int, width: int) -> np.ndarray:
    """Return the corners of a frame, float32 (4, 2) of (x, y): top left, top right, bottom left, bottom right."""
    left, right, top, bottom = -0.5, width - 0.5, -0.5, height - 0.5
    return np.array([(left, top), (right, top), (left, bottom), (right, bottom)], np.float32)


def _reach(height: int, width: int) -> float:
    """Return how far a corner moves: 10 pixels in 64x64 and 64x44, 20 in 128x128 and 128x88."""
    return 10 * min(height / 64, width / 44)


class _Scratch(threading.local):
    """Two buffers for each thread, kept: the page faults of fresh memory would make a warp a fifth slower."""

    def __init__(self) -> None:
        self._buffers = np.empty((2, 0), np.uint8)

    def pair(self, size: int) -> np.ndarray:
        """Return two buffers, uint8 (2, size), with anything in them."""
        if self._buffers.shape[1] < size:
            self._buffers = np.empty((2, size), np.uint8)
        return self._buffers[:, :size]


_SCRATCH = _Scratch()


def warp(frames: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Warp all frames alike: bilinear between pixels, black beyond the frame.

    Args:
        frames: uint8 (S, H, W), any strides; only read.
        source: float64 (2, 3) or (3, 3), where a pixel (x, y) of the result lies in the frame given.

    Returns:
        uint8 (S, H, W).
    """
    count, height, width = frames.shape
    if count > _MOST_CHANNELS:
        parts = range(0, count, _MOST_CHANNELS)
        return np.concatenate([warp(frames[start : start + _MOST_CHANNELS], source) for start in parts])
    over = count % _BLOCK
    channels = max(_BLOCK, count if over < _BLOCK / 2 else count - over + _BLOCK)
    pixels = height * width
    one, other = _SCRATCH.pair(channels * pixels)
    one[: frames.size].reshape(frames.shape)[...] = frames
    image = cv2.transpose(one.reshape(channels, pixels), other.reshape(pixels, channels))
    move = cv2.warpAffine if len(source) == 2 else cv2.warpPerspective
    warped = move(
        image.reshape(height, width, channels),
        source,
        (width, height),
        one.reshape(height, width, channels),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return cv2.transpose(warped.reshape(pixels, channels)).reshape(channels, height, width)[:count]
