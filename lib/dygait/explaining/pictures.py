"""Pictures of the responses of the branches: strips of frames, and a contact sheet of them.

T tiles of a strip, one for the middle frame of every three frames of the sequence. Pictures are BGR, as in OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dygait.explaining.energies import MERGED, Maps
from dygait.reporting.explanation import SHOWN_BRANCHES

TILE = 128
"""The height of a tile."""
_LEVELS = 32
_BRIGHTEST = 99.5
"""The percentile of a strip's response that is mapped to the brightest colour."""
_OUTLINE = (190, 190, 190)
_PARTS = (
    (0, 0, 0), (232, 174, 90), (76, 137, 242), (154, 195, 53), (198, 146, 226), (65, 179, 227), (255, 211, 143),
    (240, 156, 182),
)  # fmt: skip
"""Black, then the colours of the parts, which are those of the charts in the dark scheme."""
_LABEL, _GAP, _INK = 150, 6, (190, 190, 190)


class Strip(NamedTuple):
    """A row of tiles of one kind."""

    name: str
    dam: str  # the DAM whose response it shows; empty for silhouettes and parts
    tiles: np.ndarray  # uint8 (T, 128, W, 3)


class Film(NamedTuple):
    """The strips of one sequence."""

    name: str
    strips: list[Strip]


def film(name: str, frames: np.ndarray, labels: np.ndarray, maps: Maps) -> Film:
    """Draw the strips of a sequence: silhouettes, body parts, and the response of each branch of each DAM.

    The response is the square root of the energy.

    Args:
        frames: uint8 (S, H, W), the network's input.
        labels: uint8 (S, H', W'), labels of the parts in the frames before the transform.
        maps: as `dygait.modeling.branches.branch_energies` returns them.
    """
    indices = np.arange(len(frames) // MERGED) * MERGED + MERGED // 2
    size = (round(frames.shape[2] * TILE / frames.shape[1]), TILE)
    silhouettes = [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames[indices]]
    outlines = [_outline(silhouette) for silhouette in silhouettes]
    strips = [
        Strip("silhouettes", "", np.stack([cv2.cvtColor(s, cv2.COLOR_GRAY2BGR) for s in silhouettes])),
        Strip("parts", "", np.stack([_colour_parts(labels[frame], size) for frame in indices])),
    ]
    for dam, branches in maps.items():
        for branch in SHOWN_BRANCHES:
            if branch in branches:
                tiles = _heat(branches[branch], indices, frames.shape, size)
                for tile, outline in zip(tiles, outlines, strict=True):
                    cv2.drawContours(tile, outline, -1, _OUTLINE, 1)
                strips.append(Strip(f"{dam} {branch}", dam, tiles))
    return Film(name, strips)


def _outline(silhouette: np.ndarray) -> Sequence[np.ndarray]:
    body = (silhouette > 127).astype(np.uint8)
    return cv2.findContours(body, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]


def _colour_parts(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colour the labels of a frame, (H, W), cropped and resized to a tile, (128, W, 3)."""
    width = round(size[0] * labels.shape[0] / size[1])
    left = max(0, (labels.shape[1] - width) // 2)
    colours = np.array(_PARTS, np.uint8)[labels[:, left : left + width]]
    return cv2.resize(colours, size, interpolation=cv2.INTER_NEAREST)


def _heat(energy: np.ndarray, indices: np.ndarray, shape: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Draw energies (S', H', W') as heat maps: tiles (T, 128, W, 3) for frames of shape (S, H, W)."""
    frames, height, width = shape
    response = np.sqrt(energy[indices] if len(energy) == frames else energy[: len(indices)])
    side = height // response.shape[1]
    tiles = []
    for frame in response.astype(np.float32):
        fine = cv2.resize(frame, (frame.shape[1] * side, frame.shape[0] * side), interpolation=cv2.INTER_LINEAR)
        missing = height - fine.shape[0], width - fine.shape[1]  # odd sizes lose a row or column when halved
        fine = cv2.copyMakeBorder(fine, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        tiles.append(cv2.resize(fine, size, interpolation=cv2.INTER_LINEAR))
    brightest = max(float(np.percentile(response, _BRIGHTEST)), 1e-12)
    levels = np.rint(np.clip(np.stack(tiles) / brightest, 0, 1) * (_LEVELS - 1)) * (255 / (_LEVELS - 1))
    return np.stack([cv2.applyColorMap(level, cv2.COLORMAP_INFERNO) for level in levels.astype(np.uint8)])


def row(strip: Strip) -> np.ndarray:
    """Return the tiles of a strip side by side, uint8 (128, T W, 3)."""
    return np.concatenate(list(strip.tiles), 1)


def screen(film: Film) -> np.ndarray:
    """Return an animation of all strips, side by side, as its vertically stacked frames, uint8 (T 128, W, 3)."""
    panels = [np.pad(strip.tiles[:, :, 2:-2], ((0, 0), (0, 0), (2, 2), (0, 0))) for strip in film.strips]
    return np.concatenate(list(np.concatenate(panels, 2)))


def sheet(films: Sequence[Film]) -> np.ndarray:
    """Return a contact sheet with the names and strips of sequences, uint8 (H, W, 3)."""
    widest = _LABEL + max(strip.tiles.shape[0] * strip.tiles.shape[2] for film in films for strip in film.strips)
    rows = []
    for film in films:
        rows.append(_text(film.name, 22, widest))
        for strip in film.strips:
            tiles = np.concatenate([_text(strip.name, TILE, _LABEL), row(strip)], 1)
            rows.append(cv2.copyMakeBorder(tiles, 0, _GAP, 0, widest - tiles.shape[1], cv2.BORDER_CONSTANT))
    return np.concatenate(rows)


def _text(text: str, height: int, width: int) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    cv2.putText(picture, text, (6, height // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return picture


def summary(film: Film) -> np.ndarray:
    """Return the strips of silhouettes and of the first DAM's branches, stacked vertically, uint8 (H, W, 3)."""
    first = film.strips[2].dam
    return np.concatenate([row(strip) for strip in film.strips if strip.dam == first or strip is film.strips[0]])


def png(picture: np.ndarray) -> bytes:
    """Encode a picture as PNG."""
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
