"""A contact sheet of SynGait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dygait.errors import UserError
from dygait.files import replacing
from dygait.silhouettes import normalise_silhouette
from dygait.synthetic.cameras import HEIGHT, VIEWS, WIDTH
from dygait.synthetic.walker import render_sequence, walk

SUBJECTS = (2, 3, 10)
"""The subjects of the sheet; with seed 0, their bags are of three kinds."""
CONDITIONS = (("nm-01", "normal"), ("bg-01", "bag"), ("cl-01", "coat"))

_COLUMN, _RAW_HEIGHT, _FRAME, _LABEL, _HEADER = 84, 128, 68, 92, 20
_GROUND, _LINE, _INK = 26, 60, 190
_FRAMES = (60, 60)


def save_strip(path: Path, seed: int) -> None:
    """Draw the sheet and save it as a PNG.

    Rows: three subjects in normal clothes, with a bag and in a coat, the first as raw pictures and the others as
    normalised frames; one stride of each from the side. Columns: the 11 views, or phases of the stride.

    Raises:
        UserError: the path is not that of a PNG file.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--strip {path}: give the name of a .png file")
    _, encoded = cv2.imencode(".png", draw_strip(seed), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(encoded.tobytes())
    except OSError as error:
        raise UserError(f"--strip {path}: this file cannot be written: {error}") from None


def draw_strip(seed: int) -> np.ndarray:
    """Return the sheet as uint8 (H, W); see :func:`save_strip`."""
    rows = [_header(VIEWS)]
    for subject in SUBJECTS:
        for kind, name in CONDITIONS:
            pictures = _views(seed, subject, kind)
            raw = subject == SUBJECTS[0]
            rows.append(
                _row(f"{subject:03d} {name}", [_window(p) if raw else _tile(normalise_silhouette(p)) for p in pictures])
            )
    rows.append(_header([f"{100 * step // len(VIEWS)}%" for step in range(len(VIEWS))]))
    for subject in SUBJECTS:
        rows.append(_row(f"{subject:03d} stride", [_tile(normalise_silhouette(p)) for p in _stride(seed, subject)]))
    return np.vstack(rows)


def _views(seed: int, subject: int, kind: str) -> list[np.ndarray]:
    """Return the middle frame of one walk in all views, uint8 (240, 320) each."""
    figure = walk(seed, subject, kind, _FRAMES)
    middle = [len(figure.centres) // 2]
    return [render_sequence(seed, subject, kind, view, figure, middle)[0] for view in VIEWS]


def _stride(seed: int, subject: int) -> list[np.ndarray]:
    """Return phases of one stride from the side, uint8 (240, 320) each."""
    figure = walk(seed, subject, CONDITIONS[0][0], _FRAMES)
    left, right = (figure.centres[:, figure.names.index(f"heel_{side}"), 0] for side in (0, 1))
    # The maxima of the distance from right to left heel are about the left heel strikes; a stride is between two.
    lead = left - right
    strikes = [i for i in range(1, len(lead) - 1) if lead[i] > 0.15 and lead[i - 1] < lead[i] >= lead[i + 1]]
    first, last = strikes[0], strikes[1]
    frames = [first + round((last - first) * step / len(VIEWS)) for step in range(len(VIEWS))]
    return list(render_sequence(seed, subject, CONDITIONS[0][0], "090", figure, frames))


def _window(picture: np.ndarray) -> np.ndarray:
    """Crop a raw picture to a window around the body, (128, 84)."""
    left, top, width, height = cv2.boundingRect(picture)
    x = min(max(left + width // 2 - _COLUMN // 2, 0), WIDTH - _COLUMN)
    y = min(max(top + height // 2 - _RAW_HEIGHT // 2, 0), HEIGHT - _RAW_HEIGHT)
    return picture[y : y + _RAW_HEIGHT, x : x + _COLUMN]


def _tile(frame: np.ndarray | None) -> np.ndarray:
    """Centre a normalised frame in a tile, (68, 84)."""
    tile = np.zeros((_FRAME, _COLUMN), np.uint8)
    if frame is not None:
        y, x = (_FRAME - frame.shape[0]) // 2, (_COLUMN - frame.shape[1]) // 2
        tile[y : y + frame.shape[0], x : x + frame.shape[1]] = frame
    return tile


def _row(label: str, tiles: list[np.ndarray]) -> np.ndarray:
    height = tiles[0].shape[0]
    name = np.full((height, _LABEL), _GROUND, np.uint8)
    cv2.putText(name, label, (4, height // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    row = np.hstack([name, *(np.maximum(tile, _GROUND) for tile in tiles)])
    row[-1, :] = _LINE
    return row


def _header(names: Sequence[str]) -> np.ndarray:
    header = np.full((_HEADER, _LABEL + _COLUMN * len(names)), _GROUND, np.uint8)
    for column, name in enumerate(names):
        origin = (_LABEL + column * _COLUMN + _COLUMN // 2 - 4 * len(name), _HEADER - 6)
        cv2.putText(header, name, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return header
