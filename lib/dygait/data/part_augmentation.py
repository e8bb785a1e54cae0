"""Random augmentation of a band of rows that simulates clothes: dilation, and blur with a threshold.

Names, keywords and defaults are OpenGait's, whose GaitSSB is pre-trained with them: Fan et al., *Learning Gait
Representation from Massive Unlabelled Walking Videos: A Benchmark*, TPAMI 2023. Rows are counted from the top, and
defaults are for silhouettes of height 64.
"""

from __future__ import annotations

import abc
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from dygait.data.augmentation import (
    Fraction,
    RandomAffine,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomTransform,
)
from dygait.data.transforms import TRANSFORMS, BaseSilCuttingTransform, Compose
from dygait.errors import UserError

Rows = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]

# (width, height) of the kernels of each shape.
_KERNELS = {
    cv2.MORPH_RECT: ((5, 3), (5, 5), (3, 5)),
    cv2.MORPH_CROSS: ((3, 3), (3, 5), (5, 3)),
    cv2.MORPH_ELLIPSE: ((3, 3), (3, 5), (5, 3)),
}
_THRESHOLD = 0.2 * 255
_DILATED, _BLURRED, _GAITSSB = ([12, 16], [36, 40]), ([9, 20], [29, 40]), ([9, 20], [39, 50])  # (top, bottom) ranges


class _RandomPart(RandomTransform):
    """A change of the rows from a random top to a random bottom, independent of the rows around them."""

    def __init__(self, prob: Fraction, top_range: Rows, bot_range: Rows) -> None:
        for key, (first, last) in (("top_range", top_range), ("bot_range", bot_range)):
            if first > last:
                raise ValueError(f"{key}: the first row, {first}, is below the last, {last}")
        if top_range[1] >= bot_range[0]:
            raise ValueError(f"top_range: must end above bot_range, which starts at {bot_range[0]}")
        super().__init__(prob)
        self.top_range, self.bot_range = top_range, bot_range

    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = frames.shape[-2:]
        if height <= self.top_range[1]:
            raise UserError(f"frames are {height} high: set `top_range` to rows that they have")
        top, bottom = (int(rng.integers(first, last + 1)) for first, last in (self.top_range, self.bot_range))
        result = np.array(frames, order="C")
        part = result[..., top:bottom, :]
        part[:] = self.change(part.reshape(-1, part.shape[-2], width), rng).reshape(part.shape)
        return result

    @abc.abstractmethod
    def change(self, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed rows, uint8 (S, H', W)."""


@TRANSFORMS.register("RandomPartDilate")
class RandomPartDilate(_RandomPart):
    """Dilate a part of the body with a rectangle, a cross or an ellipse of 3 or 5 pixels.

    Args:
        prob: the probability.
        top_range: the first and the last row at which the part may start.
        bot_range: the first and the last row before which it may end.
    """

    def __init__(self, prob: Fraction = 0.5, top_range: Rows = _DILATED[0], bot_range: Rows = _DILATED[1]) -> None:
        super().__init__(prob, top_range, bot_range)

    def change(self, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shape = list(_KERNELS)[rng.integers(len(_KERNELS))]
        kernel = cv2.getStructuringElement(shape, _KERNELS[shape][rng.integers(3)])
        return np.stack([cv2.dilate(frame, kernel) for frame in part])


@TRANSFORMS.register("RandomPartBlur")
class RandomPartBlur(_RandomPart):
    """Blur a part of the body with a Gaussian of 3x3 pixels, and binarise it at 0.2.

    Args:
        prob: the probability; for a sequence, or for each frame if `per_frame` is true.
        top_range: the first and the last row at which the part may start.
        bot_range: the first and the last row before which it may end.
        per_frame: whether to sample for every frame independently.
    """

    def __init__(
        self,
        prob: Fraction = 0.5,
        top_range: Rows = _BLURRED[0],
        bot_range: Rows = _BLURRED[1],
        per_frame: bool = False,
    ) -> None:
        super().__init__(prob, top_range, bot_range)
        self.per_frame = per_frame

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.per_frame:
            return super().__call__(frames, rng)
        return np.concatenate([super(RandomPartBlur, self).__call__(frame[None], rng) for frame in frames])

    def change(self, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # In float32, which is exact; in uint8 OpenCV rounds the result.
        blurred = [cv2.GaussianBlur(frame, (3, 3), 0) for frame in part.astype(np.float32)]
        return np.where(np.stack(blurred) > _THRESHOLD, 255, 0).astype(np.uint8)


@TRANSFORMS.register("DA4GaitSSB")
class DA4GaitSSB(Compose):
    """The augmentation of GaitSSB's pre-training.

    In turn: `RandomAffine`, `RandomPerspective`, `BaseSilCuttingTransform`, `RandomHorizontalFlip`, `RandomPartDilate`,
    `RandomPartBlur`.

    Args:
        cutting: number of columns to cut from each side; by default according to the width of the frame.
        ra_prob: the probability of the affine warp.
        rp_prob: the probability of the perspective warp.
        rhf_prob: the probability of the flip.
        rpd_prob: the probability of the dilation.
        rpb_prob: the probability of the blur.
        top_range: the first and the last row at which a part may start.
        bot_range: the first and the last row before which it may end.
    """

    def __init__(
        self,
        cutting: int | None = None,
        ra_prob: Fraction = 0.2,
        rp_prob: Fraction = 0.2,
        rhf_prob: Fraction = 0.5,
        rpd_prob: Fraction = 0.2,
        rpb_prob: Fraction = 0.2,
        top_range: Rows = _GAITSSB[0],
        bot_range: Rows = _GAITSSB[1],
    ) -> None:
        cut = BaseSilCuttingTransform(cutting=cutting)
        self.steps = [
            RandomAffine(ra_prob),
            RandomPerspective(rp_prob),
            cut,
            RandomHorizontalFlip(rhf_prob),
            RandomPartDilate(rpd_prob, top_range, bot_range),
            RandomPartBlur(rpb_prob, top_range, bot_range),
        ]
        self.divisor = cut.divisor
