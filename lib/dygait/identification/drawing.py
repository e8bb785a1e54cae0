"""Drawing the names of people into the frames of a video."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dygait.identification.answers import Identified, decision_of
from dygait.identification.gallery import Answer
from dygait.video.preview import Box, colour_of, draw, draw_box
from dygait.video.sources import Source
from dygait.video_file import VideoFile

_UNKNOWN = (90, 90, 90)


def write_video(results: Sequence[Identified], source: Source, target: Path) -> None:
    """Read a source again, and write it as an .mp4 file with boxes and names.

    Raises:
        UserError: the source cannot be read, or the file cannot be written.
    """
    boxes = _boxes_by_frame(results)
    with VideoFile(target, source.rate) as file:
        for frame in source.frames():
            picture = draw(frame, [])
            for box, number, answer in boxes.get(frame.index, []):
                draw_name(picture, box, number, answer)
            file.write(picture)


def draw_name(picture: np.ndarray, box: Box, number: int, answer: Answer | None) -> None:
    """Draw a box, and the name of its person if known, into a picture, uint8 (H, W, 3), in place."""
    is_known = answer is not None and answer.name is not None
    draw_box(picture, box, _label(number, answer), colour_of(number) if is_known else _UNKNOWN)


def _label(number: int, answer: Answer | None) -> str:
    """Return a label in ASCII, all that OpenCV can draw: accents are dropped, and so are other scripts."""
    if answer is None:
        return str(number)
    decision = unicodedata.normalize("NFKD", decision_of(answer)).encode("ascii", "ignore").decode()
    distance = "" if answer.distance is None else f"{answer.distance:.3g}"
    return " ".join([str(number), *decision.split(), distance]).strip()


def _boxes_by_frame(results: Sequence[Identified]) -> dict[int, list[tuple[Box, int, Answer]]]:
    boxes: dict[int, list[tuple[Box, int, Answer]]] = {}
    for walk, answer in results:
        if walk.track is not None:
            for index, box in zip(walk.track.indices.tolist(), walk.track.boxes.tolist(), strict=True):
                boxes.setdefault(index, []).append((tuple(box), walk.track.number, answer))
    return boxes
