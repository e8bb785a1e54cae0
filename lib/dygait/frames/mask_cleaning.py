"""Cleaning of masks from other programs: one person, white on black, without specks.

A speck at the edge of a picture extends the rows that `normalise_silhouette` crops to: the person shrinks in that
frame.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

THRESHOLDED = "grey levels thresholded (Otsu)"
INVERTED = "dark on light, inverted"
SPECKS = "specks removed"
SECOND = "a second large object removed (two people?)"
"""The steps of `clean_mask`."""

_SPECK = 0.01
"""A piece of less than this share of the person's area is a speck."""
_REACH_UP, _REACH_ASIDE = 0.2, 0.03
"""A piece that is nearer than these shares of the person's height belongs to it: segmentation often cuts a head off."""
_LINE = 0.07
"""The thickness (half the width), as a share of the root of its area, below which a piece is a line, not a person."""
_SMALL = 0.1
"""An object of less than this share of the largest one's area is not the person."""
_RIVAL = 0.3
"""An object of more than this share of the person's area is reported."""
_LABELS = 32
"""The most levels of a label map; a picture with soft edges may have as few, but none of them fills an area."""
_MAX_SPREAD = 0.3
"""The largest spread of a mask: the standard deviations in the person and in the background, as the root of the sum of
their squares, as a share of the contrast. Strong compression gives 0.1, blur that hides the legs 0.29, photographs
0.32 and more.
"""


class MaskError(ValueError):
    """A picture that is not a mask of one person; the message is a short reason."""


class CleanedMask(NamedTuple):
    """A cleaned mask, and the steps of its cleaning.

    Attributes:
        mask: uint8 (H, W), 0 and 255; all 0 if nobody is in the picture.
        steps: those that were applied, of `THRESHOLDED`, `INVERTED`, `SPECKS` and `SECOND`.
        inverted: whether the person is darker than the background.
    """

    mask: np.ndarray
    steps: tuple[str, ...]
    inverted: bool


def clean_mask(picture: np.ndarray, inverted: bool | None = None) -> CleanedMask:
    """Find the mask of one person in a picture.

    Grey levels are thresholded by Otsu's method (1979) unless there are only two. The background is the side that fills
    most of the picture's edge. Of several connected pieces, the largest is kept, with those that are close to it and
    not tiny. Holes are not filled, as most are between an arm and the body.

    Args:
        picture: uint8 (H, W), or (H, W, 3) in any order of colours.
        inverted: whether the person is darker than the background; None to decide it by the picture's edge.

    Raises:
        MaskError: the picture is a photograph, or a label map of several objects.
    """
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    levels = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    if len(levels) < 2:
        return CleanedMask(np.zeros_like(grey), (), bool(inverted))
    steps = []
    if len(levels) == 2:
        light = np.uint8(255) * (grey == levels[1])
    else:
        _check_labels(grey, levels)
        if levels[-1] - levels[0] < _LABELS:  # the noise of a compressed picture of nobody
            return CleanedMask(np.zeros_like(grey), (), bool(inverted))
        light = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
        _check_tones(picture, light)
        steps.append(THRESHOLDED)
    if inverted is None:
        inverted = _share_of_edge(light) > 0.5
    if inverted:
        light = cv2.bitwise_not(light)
        steps.append(INVERTED)
    mask, removed = keep_person(light)
    return CleanedMask(mask, (*steps, *removed), inverted)


def keep_person(mask: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Keep the largest object of a mask, with the pieces that belong to it.

    Args:
        mask: uint8 (H, W), 0 and 255.

    Returns:
        uint8 (H, W), and the step that removed something, if any: (`SPECKS`,), (`SECOND`,) or ().
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return mask, ()
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    person = _person(mask, labels, areas)
    solid = (areas >= _SPECK * areas[person])[labels]
    rows, columns = (1 + round(reach * float(stats[person, cv2.CC_STAT_HEIGHT])) for reach in (_REACH_UP, _REACH_ASIDE))
    dilated = cv2.dilate(solid.astype(np.uint8), np.ones((rows, columns), np.uint8))
    groups = cv2.connectedComponents(dilated, connectivity=8)[1]
    is_person = solid & (groups == groups[labels == person][0])
    is_removed = np.bincount(labels[is_person], minlength=count) == 0
    removed: tuple[str, ...] = ()
    if is_removed[1:].any():
        removed = (SECOND,) if areas[is_removed].max() > _RIVAL * areas[person] else (SPECKS,)
    return np.where(is_person, mask, np.uint8(0)), removed


def _person(mask: np.ndarray, labels: np.ndarray, areas: np.ndarray) -> int:
    """Return the label of the largest object that is no line (as along the picture's edge), else of the largest."""
    largest = np.flatnonzero(areas >= _SMALL * areas.max())
    if len(largest) > 1:
        distance = cv2.distanceTransform(mask, cv2.DIST_C, 3)
        solid = [n for n in largest.tolist() if distance[labels == n].max() >= _LINE * np.sqrt(areas[n])]
        largest = np.array(solid) if solid else largest
    return int(largest[areas[largest].argmax()])


def _share_of_edge(mask: np.ndarray) -> float:
    """Return the share of the picture's outermost pixels that are white."""
    width = max(1, min(mask.shape) // 50)
    sides = (mask[:width], mask[-width:], mask[width:-width, :width], mask[width:-width, -width:])
    return sum(int(np.count_nonzero(side)) for side in sides) / sum(side.size for side in sides)


def _check_labels(grey: np.ndarray, levels: np.ndarray) -> None:
    """Raise a MaskError for a label map: few levels, of which one between the extremes fills an area."""
    if len(levels) > _LABELS:
        return
    areas = (cv2.erode(np.uint8(255) * (grey == level), np.ones((3, 3), np.uint8)) for level in levels[1:-1])
    if any(area.any() for area in areas):
        listed = ", ".join(map(str, levels[:4])) + (", ..." if len(levels) > 4 else "")
        raise MaskError(f"a label map (levels {listed}): write a mask of 0 and 255 for each person")


def _check_tones(picture: np.ndarray, light: np.ndarray) -> None:
    """Raise a MaskError for a photograph, whose levels vary much in the person and in the background."""
    means, spreads = [], []
    for half in (light, cv2.bitwise_not(light)):
        mean, deviation = cv2.meanStdDev(picture, mask=half)
        means.append(mean)
        spreads.append(float(np.linalg.norm(deviation)))
    if float(np.linalg.norm(spreads)) > _MAX_SPREAD * float(np.linalg.norm(means[0] - means[1])):
        raise MaskError("a photograph, not a mask of one person")
