"""Live identification: the last frames of every track of a camera are searched repeatedly."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from dygait.frames.normalisation import normalise_silhouette
from dygait.identification.answers import decision_of
from dygait.identification.drawing import draw_name
from dygait.identification.gallery import Answer, Gallery
from dygait.untrusted import printable
from dygait.video.pipeline import Seen
from dygait.video.preview import draw
from dygait.video.sources import Frame

_WINDOWS = 4  # the last windows of a track, which are searched
_TIMEOUT = 5.0  # seconds after which a track that is not seen is dropped
_TITLE = "dygait"


@dataclass
class _Follower:
    frames: deque[np.ndarray]  # the last frames in use, uint8 (64, 64) each
    new: int = 0  # frames since the last search
    seen: float = 0.0  # time of the last frame, in seconds
    answer: Answer | None = None


class LiveNames:
    """An observer of `dygait.video.tracks` that prints who is seen, and shows the frames if there is a display.

    Args:
        gallery: the people to search.
        stride: use every `stride`-th frame, for a camera with a higher frame rate than the weights expect.
        fpir: as for `Gallery.identify`.
    """

    def __init__(self, gallery: Gallery, stride: int = 1, fpir: float | None = None) -> None:
        self.gallery, self.stride, self.fpir = gallery, stride, fpir
        self._max_frames = gallery.window + (_WINDOWS - 1) * gallery.step
        self._followers: dict[int, _Follower] = {}
        self._show_frames = _has_display()

    def __call__(self, frame: Frame, seen: list[Seen]) -> None:
        """Process the people of a frame."""
        for person, number, flaw in seen:
            if number is None or flaw or frame.index % self.stride:
                continue
            silhouette = normalise_silhouette(person.mask)
            if silhouette is not None:
                follower = self._followers.setdefault(number, _Follower(deque(maxlen=self._max_frames)))
                follower.frames.append(silhouette)
                follower.new, follower.seen = follower.new + 1, frame.time
                if follower.new >= self.gallery.step and len(follower.frames) >= self.gallery.window:
                    self._search(frame.time, number, follower)
        for number in [n for n, follower in self._followers.items() if frame.time - follower.seen > _TIMEOUT]:
            del self._followers[number]
        if self._show_frames:
            self._show(frame, seen)

    def _search(self, time: float, number: int, follower: _Follower) -> None:
        previous = follower.answer
        (follower.answer,) = self.gallery.identify([np.stack(follower.frames)], self.fpir)
        follower.new = 0
        decision = decision_of(follower.answer)
        if previous is None or decision_of(previous) != decision:
            nearest = follower.answer.nearest[0]
            details = f"nearest {nearest.name}, distance {nearest.distance:.4g}"
            print(printable(f"{time:.1f} s, track {number}: {decision} ({details})"), flush=True)

    def _show(self, frame: Frame, seen: list[Seen]) -> None:
        picture = draw(frame, [])
        for person, number, _ in seen:
            if number is not None:
                follower = self._followers.get(number)
                draw_name(picture, person.box, number, None if follower is None else follower.answer)
        cv2.imshow(_TITLE, picture)
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            raise KeyboardInterrupt


def _has_display() -> bool:
    """Return whether a window can be shown: there is a display, and OpenCV has a GUI (`opencv-python`)."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error:  # opencv-python-headless
        return False
    return True
