"""Drawing of outlines, boxes and labels into the frames of a video."""

from __future__ import annotations

import cv2
import numpy as np

from dygait.video.pipeline import Seen
from dygait.video.sources import Frame

Box = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""
Colour = tuple[int, int, int]
"""Blue, green, red."""

_FONT, _SIZE, _MARGIN = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 3
_UNUSED, _BLACK, _WHITE = (150, 150, 150), (0, 0, 0), (255, 255, 255)


def draw(frame: Frame, seen: list[Seen]) -> np.ndarray:
    """Return a frame, uint8 (H, W, 3), with its people; those that are not in use are grey, with the reason."""
    picture = _as_colour(frame.picture)
    for person, number, flaw in seen:
        colour = _UNUSED if flaw or number is None else colour_of(number)
        outlines, _ = cv2.findContours(person.mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=person.box[:2])
        cv2.drawContours(picture, outlines, -1, colour, 1)
        draw_box(picture, person.box, " ".join(part for part in (str(number or ""), flaw) if part), colour)
    cv2.putText(picture, f"{frame.time:.1f} s", (6, 16), _FONT, _SIZE, _WHITE, 1, cv2.LINE_AA)
    return picture


def draw_box(picture: np.ndarray, box: Box, label: str, colour: Colour) -> None:
    """Draw a box and a label above it, in ASCII, into a picture, uint8 (H, W, 3), in place."""
    left, top, width, height = box
    cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), colour, 1)
    if not label:
        return
    (columns, rows), _ = cv2.getTextSize(label, _FONT, _SIZE, 1)
    x = max(0, min(left, picture.shape[1] - columns - 2 * _MARGIN))
    y = max(0, top - rows - 2 * _MARGIN)
    cv2.rectangle(picture, (x, y), (x + columns + 2 * _MARGIN, y + rows + 2 * _MARGIN), colour, cv2.FILLED)
    ink = _BLACK if max(colour) > 128 else _WHITE
    cv2.putText(picture, label, (x + _MARGIN, y + rows + _MARGIN), _FONT, _SIZE, ink, 1, cv2.LINE_AA)


def colour_of(number: int) -> Colour:
    """Return the colour of a track; the colours of consecutive numbers differ clearly."""
    hue = number * 67 % 180
    blue, green, red = cv2.cvtColor(np.uint8([[[hue, 200, 255]]]), cv2.COLOR_HSV2BGR)[0, 0].tolist()  # type: ignore[arg-type]
    return blue, green, red


def _as_colour(picture: np.ndarray) -> np.ndarray:
    """Return a copy to draw on, uint8 (H, W, 3); masks become grey."""
    if picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8:
        return picture.copy()
    grey = picture if picture.ndim == 2 else picture.max(2)
    brightest = max(1, int(grey.max()))
    return cv2.cvtColor((grey.astype(np.float32) * (128 / brightest)).astype(np.uint8), cv2.COLOR_GRAY2BGR)
