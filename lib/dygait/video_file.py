"""Writing of video files, complete or not at all."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from dygait.errors import UserError


class VideoFile:
    """A video file that is complete when the `with` block ends without an exception, and absent otherwise.

    Args:
        rate: frames per second.
        codec: the four letters of OpenCV's name for it.

    Raises:
        UserError: it cannot be written, or OpenCV has no such codec for files of this suffix.
    """

    def __init__(self, path: Path, rate: float, codec: str = "mp4v") -> None:
        if path.suffix.lower() not in (".mp4", ".avi"):
            raise UserError(f"{path}: give the name of an .mp4 or .avi file")
        self._path = path
        self._part = path.with_name(f".part-{path.name}")
        self._rate = rate
        self._codec = cv2.VideoWriter.fourcc(*codec)
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        """Add a picture, uint8 (H, W, 3); all have the size of the first."""
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            self._writer = cv2.VideoWriter(str(self._part), self._codec, self._rate, size)
            if not self._writer.isOpened():
                raise UserError(f"{self._path}: this video cannot be written: give a file in a folder of yours")
        self._writer.write(picture)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._part.exists():
            self._part.replace(self._path)
        self._part.unlink(missing_ok=True)
