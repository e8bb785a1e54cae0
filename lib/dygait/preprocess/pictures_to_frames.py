"""The frames of a sequence from its pictures: decoded, optionally cleaned, normalised, and checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from dygait.data.stores.pickles import parse_pickle
from dygait.errors import UserError
from dygait.frames.jumping_frames import Measures, find_jumps, measure
from dygait.frames.mask_cleaning import THRESHOLDED, MaskError, clean_mask
from dygait.frames.normalisation import normalise_silhouette
from dygait.preprocess.archives import DamagedError
from dygait.preprocess.images import ImageError, decode_picture, decode_silhouette

EMPTY_PICTURE = "nobody in it"
"""The reason for skipping a picture without a subject: part of the normalisation, not a loss."""


@dataclass(frozen=True)
class Normalisation:
    """Settings of the normalisation of pictures to frames.

    Attributes:
        height: R, the rows and columns of a frame.
        clean: whether masks are cleaned (`dygait.frames.mask_cleaning.clean_mask`).
        keep_normalised: whether pictures of R x R are used as they are.
        numbered: whether frames are numbered one after the other, so that gaps are reported.
        every: n, to use every nth picture.
    """

    height: int
    clean: bool
    keep_normalised: bool
    numbered: bool
    every: int = 1


class Remarks(NamedTuple):
    """Remarks on the frames of a sequence for the user, as plain values that are written to the journal.

    Attributes:
        cleaned: the number of pictures for each step of the cleaning.
        jumps: pictures that jump against their neighbours, and how.
        gaps: numbers that are missing among the pictures: `13`, `20 to 24`.
    """

    cleaned: dict[str, int]
    jumps: tuple[tuple[str, str], ...] = ()
    gaps: tuple[str, ...] = ()


class NormalisedSequence(NamedTuple):
    """Frames uint8 (S, R, R), or of a pickle's width, S possibly 0; skipped pictures as (name, reason); remarks."""

    frames: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    remarks: Remarks


@dataclass(frozen=True)
class _Picture:
    frame: np.ndarray
    measures: Measures
    steps: tuple[str, ...]
    inverted: bool


def normalise_sequence(
    names: Sequence[str], load: Callable[[str], bytes], settings: Normalisation
) -> NormalisedSequence:
    """Normalise the pictures of a sequence, in order; `load` returns the content of a file, or raises `DamagedError`.

    Whether masks are inverted is decided by the whole sequence: a person close to the camera may fill the edge of some.
    """
    results = {name: _decode(name, load, settings, None) for name in names[:: settings.every]}
    inverted = [picture.inverted for picture in results.values() if isinstance(picture, _Picture)]
    if len(set(inverted)) == 2:
        common = sum(inverted) > len(inverted) / 2
        differing = [n for n, p in results.items() if isinstance(p, _Picture) and p.inverted != common]
        results |= {name: _decode(name, load, settings, common) for name in differing}
    usable = {name: picture for name, picture in results.items() if isinstance(picture, _Picture)}
    skipped = tuple((name, reason) for name, reason in results.items() if isinstance(reason, str))
    jumps = find_jumps([picture.measures for picture in usable.values()])
    usable_names = list(usable)
    remarks = Remarks(
        cleaned=dict(sorted(Counter(step for picture in usable.values() for step in picture.steps).items())),
        jumps=tuple((usable_names[jump.frame], str(jump)) for jump in jumps),
        gaps=_gaps(names) if settings.numbered else (),
    )
    frames = [picture.frame for picture in usable.values()]
    stacked = np.stack(frames) if frames else np.zeros((0, settings.height, settings.height), np.uint8)
    return NormalisedSequence(stacked, skipped, remarks)


def stored_sequence(names: Sequence[str], load: Callable[[str], bytes], settings: Normalisation) -> NormalisedSequence:
    """Normalise the frames of pickles, uint8 (S, H, W), concatenated in order; otherwise like `normalise_sequence`."""
    frames: list[np.ndarray] = []
    skipped: list[tuple[str, str]] = []
    for name in names:
        try:
            pickled = parse_pickle(load(name), name)[:: settings.every]
        except DamagedError:
            skipped.append((name, "unreadable"))
            continue
        except UserError as problem:
            skipped.append((name, str(problem).removeprefix(f"{name} ")))
            continue
        if settings.keep_normalised and pickled.shape[1] == settings.height:
            frames.extend(pickled)
            continue
        normalised = [normalise_silhouette(frame, settings.height) for frame in pickled]
        frames += [frame for frame in normalised if frame is not None]
        skipped += [(f"{name}, frame {n}", EMPTY_PICTURE) for n, frame in enumerate(normalised) if frame is None]
    stacked = np.stack(frames) if frames else np.zeros((0, settings.height, settings.height), np.uint8)
    return NormalisedSequence(stacked, tuple(skipped), Remarks({}))


def _decode(name: str, load: Callable[[str], bytes], settings: Normalisation, inverted: bool | None) -> _Picture | str:
    """Decode and normalise a picture, or return the reason for skipping it."""
    height = settings.height
    try:
        content = load(name)
        if settings.clean:
            picture = decode_picture(content)
            image, steps, inverted = clean_mask(picture, inverted)
            if picture.shape == (height, height) and THRESHOLDED in steps and not inverted:
                image, steps = _with_levels(picture, image), tuple(step for step in steps if step != THRESHOLDED)
        else:
            image, steps, inverted = decode_silhouette(content), (), False
    except (ImageError, MaskError) as problem:
        return str(problem)
    except DamagedError:
        return "unreadable"
    frame: np.ndarray | None
    if settings.keep_normalised and image.shape == (height, height):
        frame = image if image.any() else None
    else:
        frame = normalise_silhouette(image, height)
    return EMPTY_PICTURE if frame is None else _Picture(frame, measure(image), steps, inverted)


def _with_levels(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a picture of the size of a frame with its soft edge around the mask, and zeros elsewhere."""
    return np.where(cv2.dilate(mask, np.ones((3, 3), np.uint8)), picture, np.uint8(0))


def _gaps(names: Sequence[str]) -> tuple[str, ...]:
    """Return the missing numbers of files that are numbered in equal steps, by the last number in each name."""
    digits = [re.findall(r"\d+", name.rpartition("/")[2].rpartition(".")[0]) for name in names]
    if not all(digits):
        return ()
    numbers = [int(groups[-1]) for groups in digits]
    steps = Counter(after - before for before, after in pairwise(numbers))
    step = steps.most_common(1)[0][0] if steps else 0
    if step < 1:
        return ()
    gaps = [(before + step, after - step) for before, after in pairwise(numbers) if after - before >= 2 * step]
    return tuple(str(first) if first == last else f"{first} to {last}" for first, last in gaps)
