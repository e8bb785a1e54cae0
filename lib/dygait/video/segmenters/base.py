"""The base class of segmenters, their registry, and people from masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import cv2
import numpy as np

from dygait.registry import Registry


class Person(NamedTuple):
    """One person in one picture."""

    box: tuple[int, int, int, int]  # left, top, width and height, in pixels
    mask: np.ndarray  # uint8 (height, width), 0 or 255
    score: float = 1.0  # confidence of a detector, 0..1


class Segmenter(ABC):
    """Finds the people of each picture of one source, in the order of its pictures.

    Attributes:
        reads_masks: whether pictures are masks, which are passed as they are stored: any depth, grey or colour.
        learn_seconds: length of the beginning that :meth:`learn` is called with; None: it is not called.
        notices: messages for the user about the source; the caller prints and clears them.
    """

    reads_masks: bool = False
    learn_seconds: float | None = None

    def __init__(self) -> None:
        self.notices: list[str] = []

    def learn(self, pictures: Sequence[np.ndarray], rate: float) -> None:  # noqa: B027 - most have nothing to learn
        """Learn from pictures of the beginning, uint8 (H, W, 3), and the frames per second."""

    @abstractmethod
    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a picture, uint8 (H, W, 3), BGR."""


SEGMENTERS: Registry[type[Segmenter]] = Registry("segmenter", key="segmenter")


def people_in_mask(mask: np.ndarray, least_area: int) -> list[Person]:
    """Return the 8-connected components of a mask, uint8 (H, W), 0 or 255, of at least `least_area` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    people = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        if area >= least_area:
            part = labels[top : top + height, left : left + width] == label
            people.append(Person((left, top, width, height), part.view(np.uint8) * np.uint8(255)))
    return people


def people_in_masks(masks: Iterable[np.ndarray], scores: Iterable[float] = repeat(1.0)) -> list[Person]:
    """Return the people in masks of the whole picture, uint8 (H, W), 0 or 255; empty masks are skipped."""
    people = []
    for mask, score in zip(masks, scores, strict=False):
        left, top, width, height = cv2.boundingRect(mask)
        if width:
            cropped = mask[top : top + height, left : left + width].copy()
            people.append(Person((left, top, width, height), cropped, float(score)))
    return people
