"""A contact sheet of SynGait."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dygait.errors import UserError
from dygait.files import replacing, write_errors
from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic.cameras import HEIGHT, WIDTH
from dygait.synthetic.presets import CASIA
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import draw_walk, render_sequence, walk

SUBJECTS: Sequence[int] = (2, 3, 10)
"""The subjects of the sheet; with seed 0, they have three kinds of bags."""
CONDITIONS: Sequence[tuple[str, str]] = (("nm-01", "normal"), ("bg-01", "bag"), ("cl-01", "coat"))
"""The walks of the sheet, and their labels."""
MORE_SUBJECTS = range(1, 8)
MORE_TYPES = ("nm-01", "bg-01", "cl-01", "cl-02")
"""The subjects and walks of the sheet for other worlds, in which people and outfits vary more."""

_PHASES = 11

_COLUMN, _RAW_HEIGHT, _FRAME, _LABEL, _HEADER = 84, 128, 68, 92, 20
_GROUND, _LINE, _INK = 26, 60, 190
_FRAMES = (60, 60)


def save_strip(path: Path, settings: Settings) -> None:
    """Draw the sheet and save it as a PNG.

    Rows: walks of subjects as normalised frames (in the presets' world `CASIA`, the first subject's as raw pictures),
    and a stride of three subjects from the side. Columns: the views, or phases of the stride.

    Raises:
        UserError: the path has another suffix than .png, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--strip {path}: give the name of a .png file")
    _, encoded = cv2.imencode(".png", draw_strip(settings), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with write_errors(f"--strip {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(encoded.tobytes())


def draw_strip(settings: Settings) -> np.ndarray:
    """Return the sheet as uint8 (H, W); see :func:`save_strip`."""
    settings = dataclasses.replace(settings, frames=_FRAMES)
    rows = [_header(settings.views)]
    subjects, walks = SUBJECTS, CONDITIONS
    if settings.world != CASIA:
        subjects, walks = MORE_SUBJECTS, [(kind, kind) for kind in settings.types if kind in MORE_TYPES]
    for subject in subjects:
        for kind, name in walks:
            pictures = _views(settings, subject, kind)
            raw = settings.world == CASIA and subject == SUBJECTS[0]
            rows.append(
                _row(f"{subject:03d} {name}", [_window(p) if raw else _tile(normalise_silhouette(p)) for p in pictures])
            )
    rows.append(_header([f"{100 * step // _PHASES}%" for step in range(_PHASES)]))
    for subject in SUBJECTS:
        rows.append(_row(f"{subject:03d} stride", [_tile(normalise_silhouette(p)) for p in _stride(settings, subject)]))
    return np.vstack(rows)


def _views(settings: Settings, subject: int, kind: str) -> list[np.ndarray]:
    """Return the middle frame of one walk in all views, uint8 (240, 320) each."""
    figure = walk(settings, subject, kind)
    middle = [len(figure.centres) // 2]
    return [render_sequence(settings, subject, kind, view, figure, middle)[0] for view in settings.views]


def _stride(settings: Settings, subject: int) -> list[np.ndarray]:
    """Return phases of one stride from the side (or in the first view), uint8 (240, 320) each."""
    kind = settings.types[0]
    figure, phase = walk(settings, subject, kind), draw_walk(settings, subject, kind).phase
    phases = np.ceil(phase[0]) + np.arange(_PHASES) / _PHASES
    frames = np.searchsorted(phase, phases).clip(max=len(phase) - 1).tolist()
    view = "090" if "090" in settings.views else settings.views[0]
    return list(render_sequence(settings, subject, kind, view, figure, frames))


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
