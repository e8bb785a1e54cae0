"""Masks that something else has made: one picture a frame, in which people are white, or a label map."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter, people_in_mask, people_in_masks

_MOST_LABELS = 64
_LEAST_OF_A_LABEL = 16  # pixels; the grey levels of a smoothed or compressed outline are rarer
_FAINTEST = 32  # of 8-bit masks; compression leaves a little in an empty one


@SEGMENTERS.register("masks")
class Masks(Segmenter):
    """Masks: people are the connected white parts, or, in a label map, the values other than 0.

    Args:
        labels: whether the pictures are label maps; None: from the first that has several values, each of a surface.
        least_area: pixels; what is smaller is noise.
    """

    reads_masks = True

    def __init__(self, labels: bool | None = None, least_area: Annotated[int, Field(ge=1)] = 100) -> None:
        super().__init__()
        self._labels = labels
        self._least_area = least_area

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a mask: grey, (H, W), or colour, (H, W, 3 or 4), of any depth."""
        values = _one_channel(picture)
        found, counts = np.unique(values, return_counts=True)
        if self._labels is None and 2 < len(found) <= _MOST_LABELS and int(counts.min()) >= _LEAST_OF_A_LABEL:
            self._labels = True  # every value is a surface
        if not self._labels:
            return people_in_mask(_white(values, len(found)), self._least_area)
        people = [value for value, count in zip(found, counts, strict=True) if value and count >= self._least_area]
        return people_in_masks(np.where(values == value, 255, 0).astype(np.uint8) for value in people)


def _one_channel(picture: np.ndarray) -> np.ndarray:
    """Return a number for each pixel, int (H, W): the grey level, or one of the colour, where colours differ."""
    if picture.ndim == 2:
        return picture
    colour = picture[:, :, :3].astype(np.int32)
    if picture.shape[2] == 4:  # transparent is background
        colour = colour * (picture[:, :, 3:] > 0)
    if (colour[:, :, :1] == colour[:, :, 1:]).all():
        return colour[:, :, 0]
    return colour @ np.array([1, 256, 65536])


def _white(values: np.ndarray, levels: int) -> np.ndarray:
    """Return a mask, uint8 (H, W), 0 or 255: what is nearer to the brightest than to black, of two levels the other."""
    least = 0.0 if levels <= 2 else max(int(values.max()) / 2, _FAINTEST)
    return np.where(values > least, 255, 0).astype(np.uint8)
