"""Masks of an external segmentation: pictures in which people are white, or label maps."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter, people_in_mask, people_in_masks

_MOST_LABELS = 64
_LEAST_OF_A_LABEL = 16  # pixels; grey levels of a smoothed or compressed outline have fewer
_FAINTEST = 32  # the largest value of an empty 8-bit mask, due to compression


@SEGMENTERS.register("masks")
class Masks(Segmenter):
    """Masks: people are the connected white components, or, in a label map, the values other than 0.

    Args:
        labels: whether the pictures are label maps; None: from the first picture whose values look like labels.
        least_area: area in pixels below which a component is noise.
    """

    reads_masks = True

    def __init__(self, labels: bool | None = None, least_area: Annotated[int, Field(ge=1)] = 100) -> None:
        super().__init__()
        self._labels = labels
        self._least_area = least_area

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a mask: grey, (H, W), or colour, (H, W, 3 or 4), of any depth."""
        values = _one_channel(picture)
        levels, counts = np.unique(values, return_counts=True)
        if self._labels is None and 2 < len(levels) <= _MOST_LABELS and int(counts.min()) >= _LEAST_OF_A_LABEL:
            self._labels = True  # every value covers an area
        if not self._labels:
            return people_in_mask(_white(values, len(levels)), self._least_area)
        people = [value for value, count in zip(levels, counts, strict=True) if value and count >= self._least_area]
        return people_in_masks(np.where(values == value, 255, 0).astype(np.uint8) for value in people)


def _one_channel(picture: np.ndarray) -> np.ndarray:
    """Return an integer for each pixel, (H, W): the grey level, or a number for each colour of a colour picture."""
    if picture.ndim == 2:
        return picture
    colour = picture[:, :, :3].astype(np.int32)
    if picture.shape[2] == 4:  # transparent is background
        colour = colour * (picture[:, :, 3:] > 0)
    if (colour[:, :, :1] == colour[:, :, 1:]).all():
        return colour[:, :, 0]
    return colour @ np.array([1, 256, 65536])


def _white(values: np.ndarray, levels: int) -> np.ndarray:
    """Return the mask of pixels above half of the brightest, or above 0 if there are two levels: uint8, 0 or 255."""
    threshold = 0.0 if levels <= 2 else max(int(values.max()) / 2, _FAINTEST)
    return np.where(values > threshold, 255, 0).astype(np.uint8)
