"""Sources of frames: video files, cameras, folders of pictures.

Every source except a camera can be read more than once; messages about it for the user are in its `notices`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dygait.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ASSUMED_RATE = 25.0
LEAST_SIZE = 32
"""The least height and width of a picture."""

_SAMPLES = 40  # pictures from which the background is learnt
_SAMPLE_BYTES = 2**27  # the most memory of these pictures
_RATES = (1.0, 1000.0)
_MOST_MISSING = 20  # the largest ratio of the last number to the number of pictures
_READ_SHORT = 0.02  # share of missing frames at which a file counts as complete: some containers estimate the count


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source."""

    index: int  # from 0; numbered pictures keep their gaps
    time: float  # seconds from the source's start
    picture: np.ndarray  # uint8 (H, W, 3), BGR; masks as they are stored in their files


class Source(ABC):
    """A sequence of frames in temporal order.

    Attributes:
        name: name in files and tables.
        address: the argument of `open_source`.
        rate: frames per second.
        count: the number of frames; None if it is not known.
        is_live: whether it is a camera, which cannot be read again.
        notices: messages for the user.
        lost: whether some frames could not be read.
    """

    name: str
    rate: float
    count: int | None = None
    is_live = False

    def __init__(self, address: str) -> None:
        self.address = address
        self.notices: list[str] = []
        self.lost = False

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield the frames; UserError if there is none, or a picture is too small."""

    def sample(self, seconds: float) -> list[np.ndarray]:
        """Return pictures of the first seconds of the source, evenly spaced; at least one."""
        count = max(1, round(seconds * self.rate))
        pictures: list[np.ndarray] = []
        step = 1
        for number, frame in enumerate(self.frames()):
            if number >= count:
                break
            if number == 0:
                step = max(1, count // min(_SAMPLES, max(5, _SAMPLE_BYTES // frame.picture.nbytes)))
            if number % step == 0:
                pictures.append(frame.picture)
        return pictures


def open_source(address: str, rate: float | None = None, masks: bool = False) -> Source:
    """Open a video file, a camera (a number), or a folder of pictures.

    Args:
        rate: frames per second; None: those of the source.
        masks: whether pictures are masks, which are read without conversion to BGR.

    Raises:
        UserError: there is no such source, or nothing can be read from it.
    """
    # For a file that cannot be read, show our own error without the log lines of OpenCV and FFmpeg.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    path = Path(address)
    if path.is_dir():
        return PictureSource(path, rate or ASSUMED_RATE, masks)
    if path.is_file():
        return VideoSource(path, rate)
    if re.fullmatch(r"\d{1,3}", address):
        return CameraSource(int(address), rate)
    raise UserError(f"{address}: no such file or folder; give a video file, a folder of pictures, or a camera's number")


class VideoSource(Source):
    """A video file that OpenCV (FFmpeg) can read."""

    def __init__(self, path: Path, rate: float | None) -> None:
        super().__init__(str(path))
        self.name = path.stem
        self._path = path
        capture = self._open()
        self.count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None
        file_rate = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        if rate is None and not _RATES[0] <= file_rate <= _RATES[1]:
            self.notices.append(f"{path} has {file_rate:g} frames per second; {ASSUMED_RATE:.0f} are assumed (--rate)")
            rate = ASSUMED_RATE
        self._has_times = rate is None
        self.rate = rate or file_rate

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise UserError(
                f"{self._path}: not a video, or cut off before its index; if a video player plays it, convert "
                "it with `ffmpeg -i FILE out.mp4`"
            )
        return capture

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        capture = self._open()
        index, last_time = 0, -1.0
        try:
            while True:
                done, picture = capture.read()
                if not done:
                    break
                if index == 0:
                    _check_size(picture, self._path)
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._has_times else index / self.rate
                if time <= last_time:  # the file has no times
                    time = last_time + 1 / self.rate
                yield Frame(index, time, picture)
                index, last_time = index + 1, time
        finally:
            capture.release()
        if index == 0:
            raise UserError(f"{self._path}: no frame can be decoded; convert it with `ffmpeg -i FILE out.mp4`")
        if self.count is not None and index < self.count * (1 - _READ_SHORT) - 1:
            self.lost = True
            self.notices.append(f"{self._path} ends after {index} of {self.count} frames: it is cut off or damaged")


class CameraSource(Source):
    """A camera of this machine; time starts at the first frame that is read."""

    is_live = True

    def __init__(self, number: int, rate: float | None) -> None:
        super().__init__(str(number))
        self.name = f"camera{number}"
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise UserError(f"{number}: no such camera, or another program uses it; `ls /dev/video*` lists the cameras")
        camera_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate or (camera_rate if _RATES[0] <= camera_rate <= _RATES[1] else ASSUMED_RATE)
        self._start: int | None = None
        self._index = 0

    def frames(self) -> Iterator[Frame]:
        """Yield the frames until the camera stops."""
        while True:
            done, picture = self._capture.read()
            if not done:
                break
            now = cv2.getTickCount()
            if self._start is None:
                self._start = now
                _check_size(picture, self.name)
            yield Frame(self._index, (now - self._start) / cv2.getTickFrequency(), picture)
            self._index += 1
        if self._index == 0:
            raise UserError(f"{self.name}: it sends no picture; try it in another program")


class PictureSource(Source):
    """The pictures of a folder, ordered by the numbers in their names if all have one, else by name."""

    def __init__(self, folder: Path, rate: float, masks: bool) -> None:
        super().__init__(str(folder))
        self.name = folder.resolve().name
        self.rate = rate
        self._folder = folder
        self._flags = cv2.IMREAD_UNCHANGED if masks else cv2.IMREAD_COLOR
        names = [path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES]
        if not names:
            raise UserError(f"{folder}: no picture in this folder; give one that holds {', '.join(PICTURES[:3])} files")
        numbers = _frame_numbers(names)
        self._files = sorted(zip(numbers, names, strict=True)) if numbers else list(enumerate(sorted(names)))
        self.count = len(names)
        missing = self._files[-1][0] + 1 - len(names)
        if missing:
            self.notices.append(f"{folder}: {missing} of the numbered pictures are missing{self._first_gap()}")

    def _first_gap(self) -> str:
        for (number, name), (following, after) in zip(self._files, self._files[1:], strict=False):
            if following > number + 1:
                return f", the first between {name} and {after}"
        return ""

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures; those that cannot be decoded are skipped, with a notice."""
        size: tuple[int, int] | None = None
        skipped: list[str] = []
        for number, name in self._files:
            content = np.fromfile(self._folder / name, np.uint8)
            picture = cv2.imdecode(content, self._flags) if content.size else None
            if picture is None:
                skipped.append(name)
                continue
            if size is None:
                size = picture.shape[:2]
                _check_size(picture, self._folder / name)
            if picture.shape[:2] != size:
                raise UserError(
                    f"{self._folder / name} has {picture.shape[1]}x{picture.shape[0]} pixels, the pictures before it "
                    f"{size[1]}x{size[0]}: those of one camera have one size; for masks that were cut out, use "
                    "`dygait prepare`"
                )
            yield Frame(number, number / self.rate, picture)
        if size is None:
            raise UserError(f"{self._folder}: none of its {len(self._files)} pictures can be decoded")
        if skipped and not self.lost:
            self.lost = True
            more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
            self.notices.append(f"{self._folder}: {skipped[0]}{more} cannot be decoded and is left out")


def _frame_numbers(names: list[str]) -> list[int] | None:
    """Return the frame number of each picture, from 0, by the last number in its name; None if there is none.

    Numbers may have a common step (every fifth frame was stored). Sparse numbers, such as times of day, are not taken
    for frame numbers.
    """
    digits = [re.findall(r"\d+", Path(name).stem) for name in names]
    if not all(digits):
        return None
    numbers = [int(groups[-1]) for groups in digits]
    first = min(numbers)
    step = max(1, math.gcd(*(number - first for number in numbers)))
    frames = [(number - first) // step for number in numbers]
    if len(set(frames)) < len(frames) or max(frames) > _MOST_MISSING * len(frames):
        return None
    return frames


def _check_size(picture: np.ndarray, where: Path | str) -> None:
    height, width = picture.shape[:2]
    if min(height, width) < LEAST_SIZE:
        raise UserError(
            f"{where}: the picture has {width}x{height} pixels; nobody can be found in less than "
            f"{LEAST_SIZE}x{LEAST_SIZE}"
        )
