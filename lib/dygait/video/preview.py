"""What was found, drawn into the frames of a video: outlines, boxes and numbers."""

from __future__ import annotations

import cv2
import numpy as np

from dygait.video.pipeline import Seen
from dygait.video.segmenters import Person
from dygait.video.sources import Frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_UNUSED = (150, 150, 150)


def draw(frame: Frame, seen: list[Seen]) -> np.ndarray:
    """Return a frame, uint8 (H, W, 3), with its people; grey are those who are not in use there, and why."""
    picture = _as_colour(frame.picture)
    for person, number, flaw in seen:
        colour = _UNUSED if flaw or number is None else colour_of(number)
        label = " ".join(part for part in (str(number or ""), flaw) if part)
        draw_person(picture, person, label, colour)
    cv2.putText(picture, f"{frame.time:.1f} s", (6, 16), _FONT, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def draw_person(picture: np.ndarray, person: Person, label: str, colour: tuple[int, int, int]) -> None:
    """Draw a person's outline, box and label into a picture, uint8 (H, W, 3), in place."""
    outlines, _ = cv2.findContours(person.mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=person.box[:2])
    cv2.drawContours(picture, outlines, -1, colour, 1)
    draw_box(picture, person.box, label, colour)


def draw_box(picture: np.ndarray, box: tuple[int, int, int, int], label: str, colour: tuple[int, int, int]) -> None:
    """Draw a box (left, top, width, height) and a label above it into a picture, uint8 (H, W, 3), in place."""
    left, top, width, height = box
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), colour, 1)
    where = (max(left, 2), top - 5 if top > 18 else top + 14)
    for ink, thickness in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(picture, label, where, _FONT, 0.45, ink, thickness, cv2.LINE_AA)


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour of a track; those of tracks that follow each other differ clearly."""
    hue = int(number * 67) % 180
    blue, green, red = cv2.cvtColor(np.uint8([[[hue, 200, 255]]]), cv2.COLOR_HSV2BGR)[0, 0].tolist()  # type: ignore[arg-type]
    return blue, green, red


def _as_colour(picture: np.ndarray) -> np.ndarray:
    """Return a picture that can be drawn on, uint8 (H, W, 3): a copy, of a mask in grey."""
    if picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8:
        return picture.copy()
    grey = picture if picture.ndim == 2 else picture.max(2)
    brightest = max(1, int(grey.max()))
    return cv2.cvtColor((grey.astype(np.float32) * (128 / brightest)).astype(np.uint8), cv2.COLOR_GRAY2BGR)
