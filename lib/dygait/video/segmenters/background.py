"""Background subtraction for a fixed camera, by OpenCV's mixture of Gaussians.

Z. Zivkovic, *Improved adaptive Gaussian mixture model for background subtraction*, ICPR 2004 (MOG2). It updates every
pixel in every frame, so that somebody who stops fades into the background. Here the model is learnt first and then
updated outside the people only; objects that stand still for long are added to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from dygait.errors import UserError
from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter, people_in_mask, people_in_masks
from dygait.video.segmenters.outlines import outline

_UPDATE = 5  # frames between updates of the model
_MEMORY_SECONDS = 60.0  # the time constant of the updates
_ABSORB_SECONDS = 30.0  # objects that do not move for longer become background
_STILL = 12  # the largest change from second to second of an object that does not move, in grey levels
_SPARSE = 8  # step between the rows and columns in which the exposure is measured
_LEAST_GAIN = 0.02
_CHANGED = 0.5  # share of a picture that differs after the light has changed or the camera was moved
_RELEARN_SECONDS = 2.0
_SHAKE = 2.0  # the largest shift of the picture that does no harm, in pixels
_MARGIN = 8  # pixels around foreground, for the filters
_EXPLAINED = 0.7  # the largest share of the difference that remains after a shift is undone
_SHAKE_SCALE = 4  # factor by which pictures are shrunk to measure a shift


@SEGMENTERS.register("background")
class BackgroundSubtraction(Segmenter):
    """Segments everything that differs from the background; for fixed cameras.

    Args:
        background: a picture without people; None: the median of the first seconds.
        learn_seconds: length of the video from which the background is learnt; people may walk by meanwhile.
        sensitivity: squared distance from a pixel's mean, in variances, above which it is foreground; a lower value
            finds more, and more noise.
        shadow: the darkest that a cast shadow can be, as a fraction of the background's brightness; 1 keeps shadows.
        least_area: area in pixels below which foreground is noise.
    """

    def __init__(
        self,
        background: str | None = None,
        learn_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0,
        sensitivity: Annotated[float, Field(ge=1, le=10_000)] = 20.0,
        shadow: Annotated[float, Field(ge=0, le=1)] = 0.5,
        least_area: Annotated[int, Field(ge=1)] = 300,
    ) -> None:
        super().__init__()
        self.learn_seconds = learn_seconds
        self._scene = None if background is None else _read_background(Path(background))
        self._sensitivity = sensitivity
        self._shadow = shadow
        self._least_area = least_area

    def learn(self, pictures: Sequence[np.ndarray], rate: float) -> None:
        """Learn the background: the median of the pictures, and the variance of each pixel."""
        self._rate = rate
        median = _median(pictures)
        if self._scene is not None:
            if self._scene.shape != median.shape:
                height, width = median.shape[:2]
                raise UserError(
                    f"the picture of the background has {self._scene.shape[1]}x{self._scene.shape[0]} pixels, the "
                    f"source {width}x{height}: give one of the same camera at the same resolution"
                )
            median = self._scene
        self._restart(median)
        for picture in pictures:
            # People are replaced by the median, as they say nothing about the noise.
            differs = cv2.absdiff(picture, median).max(2) > 40
            without_people = picture.copy()
            without_people[differs] = median[differs]
            self._model.apply(without_people, None, 1 / 20)
        self._background = self._model.getBackgroundImage()
        self._noise = max(1.0, 1.5 * float(np.median(cv2.absdiff(pictures[len(pictures) // 2], self._background))))

    def _restart(self, picture: np.ndarray) -> None:
        """Reset the model to a picture of the background."""
        self._model = cv2.createBackgroundSubtractorMOG2(500, self._sensitivity, self._shadow < 1)
        self._model.setShadowThreshold(self._shadow)
        self._model.apply(picture, None, 1.0)
        self._background = picture
        self._frame = 0
        self._relearning = 0
        self._changed = 0
        self._seconds_still = np.zeros(picture.shape[:2], np.uint8)
        self._second_ago = picture
        self._small_background = _shrink(picture)
        self._shaken = False

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a picture."""
        self._frame += 1
        if self._relearning:
            self._relearning -= 1
            self._model.apply(picture, None, 0.1)
            if not self._relearning:
                self._background = self._model.getBackgroundImage()
                self._small_background = _shrink(self._background)
            return []
        picture = self._match_exposure(picture)
        labels = self._model.apply(picture, None, 0)
        if self._light_changed(labels):
            return []
        mask = self._clean(picture, labels)
        self._notice_shake(picture, mask)
        if self._frame % _UPDATE == 0:
            self._update(picture, mask)
        return _group_people(mask, self._least_area)

    def _match_exposure(self, picture: np.ndarray) -> np.ndarray:
        """Undo a change of the camera's automatic exposure, as when somebody dark or bright comes near."""
        pixels, reference = (image[::_SPARSE, ::_SPARSE].reshape(-1, 3) + 1.0 for image in (picture, self._background))
        gain = np.median(pixels / reference, 0)
        if np.abs(gain - 1).max() < _LEAST_GAIN:
            return picture
        return cv2.multiply(picture, np.array([*(1 / gain), 0.0]))  # OpenCV's scalars have four numbers

    def _light_changed(self, labels: np.ndarray) -> bool:
        """Return whether most of the picture differs from the background; if this lasts, relearn the background."""
        if cv2.countNonZero(labels) < _CHANGED * labels.size:
            self._changed = 0
            return False
        self._changed += 1
        if self._changed == 3:
            self.notices.append(
                "most of the picture changed at once (the light, or the camera was moved): the background is learnt "
                f"anew for {_RELEARN_SECONDS:.0f} s"
            )
            self._changed = 0
            self._relearning = max(1, round(_RELEARN_SECONDS * self._rate))
        return True

    def _clean(self, picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the people's mask, uint8 (H, W), 0 or 255, without shadows, specks, small holes and blurred rims."""
        differs = cv2.medianBlur(labels, 5)
        count, parts, stats, _ = cv2.connectedComponentsWithStats((differs > 0).view(np.uint8), connectivity=8)
        people = np.zeros(labels.shape, np.uint8)
        for part in range(1, count):
            left, top, width, height, area = (int(value) for value in stats[part])
            if area < self._least_area:
                continue
            window = np.s_[
                max(top - _MARGIN, 0) : top + height + _MARGIN, max(left - _MARGIN, 0) : left + width + _MARGIN
            ]
            part_labels = np.where(parts[window] == part, differs[window], 0).astype(np.uint8)
            people[window] |= outline(part_labels, picture[window], self._background[window], self._noise)
        return people

    def _notice_shake(self, picture: np.ndarray, mask: np.ndarray) -> None:
        if self._shaken or self._frame % _UPDATE:
            return
        small = _shrink(picture)
        people = cv2.resize(mask, small.shape[::-1], interpolation=cv2.INTER_AREA) > 0
        small[people] = self._small_background[people]
        (x, y), _ = cv2.phaseCorrelate(self._small_background, small)
        shift = _SHAKE_SCALE * float(np.hypot(x, y))
        if shift > _SHAKE and _explains(x, y, self._small_background, small):
            self._shaken = True
            self.notices.append(
                f"the camera moves (by {shift:.0f} pixels): outlines are wrong there; this segmenter is "
                "for a fixed camera"
            )

    def _update(self, picture: np.ndarray, mask: np.ndarray) -> None:
        """Update the model outside the people, and add objects that have stood still for long."""
        second = max(1, round(self._rate / _UPDATE)) * _UPDATE
        if self._frame % second == 0:
            moved = cv2.absdiff(picture, self._second_ago).max(2) > _STILL
            self._seconds_still = np.where(moved | (mask == 0), 0, np.minimum(self._seconds_still, 254) + 1)
            self._seconds_still = self._seconds_still.astype(np.uint8)
            self._second_ago = picture
            self._background = self._model.getBackgroundImage()
            self._small_background = _shrink(self._background)
        people = cv2.dilate(mask, _NEAR)
        people[self._seconds_still >= _ABSORB_SECONDS] = 0
        without_people = picture.copy()
        cv2.copyTo(self._background, people, without_people)
        self._model.apply(without_people, None, min(1.0, _UPDATE / (_MEMORY_SECONDS * self._rate)))


_NEAR = np.ones((15, 15), np.uint8)
_TALL = np.ones((15, 3), np.uint8)


def _group_people(mask: np.ndarray, least_area: int) -> list[Person]:
    """Return the people in a mask; parts with a small vertical gap, such as a head and a trunk, are one person."""
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return []
    cropped = mask[top : top + height, left : left + width]
    people = []
    for (x, y, columns, rows), dilated, _ in people_in_mask(cv2.dilate(cropped, _TALL), least_area):
        for person in people_in_masks([dilated & cropped[y : y + rows, x : x + columns]]):
            if cv2.countNonZero(person.mask) >= least_area:
                right, down, *size = person.box
                people.append(person._replace(box=(left + x + right, top + y + down, size[0], size[1])))
    return people


def _median(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return the median of pictures, uint8 (H, W, 3), computed a few rows at a time to save memory."""
    stack = [np.median([picture[row : row + 32] for picture in pictures], 0) for row in range(0, len(pictures[0]), 32)]
    return np.concatenate(stack).astype(np.uint8)


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Return a small grey picture, float32."""
    height, width = picture.shape[:2]
    size = (max(8, width // _SHAKE_SCALE), max(8, height // _SHAKE_SCALE))
    return cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY).astype(np.float32)


def _explains(x: float, y: float, before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether a shift by (x, y) pixels explains most of the difference between two pictures."""
    moved = cv2.warpAffine(before, np.array([[1, 0, x], [0, 1, y]], np.float32), before.shape[::-1])
    rows, columns = math.ceil(abs(y)), math.ceil(abs(x))
    if 2 * rows >= len(before) or 2 * columns >= before.shape[1]:
        return False
    inside = np.s_[rows : len(before) - rows, columns : before.shape[1] - columns]
    difference, remaining = (float(np.abs(after[inside] - other[inside]).mean()) for other in (before, moved))
    return remaining < _EXPLAINED * difference


def _read_background(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if picture is None:
        raise UserError(f"{path}: no such picture, or it cannot be decoded; give a PNG or JPEG of the empty scene")
    return picture
