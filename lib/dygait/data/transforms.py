"""Transforms of frames: uint8 (S, H, W) to uint8 (S, H', W') in the loader, scaled to 0..1 on the device.

Frames of several channels, uint8 (S, C, H, W), are transformed likewise, all channels of a frame alike. Random
transforms are in `augmentation`; they sample once for a sequence, from their generator argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import cv2
import numpy as np
from pydantic import Field

from dygait.config_problems import Problem, below
from dygait.errors import UserError
from dygait.registry import Registry

# Width of a frame -> number of columns that are usually cut from each side.
_CUTTINGS = {64: 10, 128: 20, 44: 0, 88: 0}


class Transform(Protocol):
    """The interface of transforms.

    Attributes:
        divisor: by which grey levels are divided on the device, to scale them to 0..1.
    """

    divisor: float

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uint8 (S, H', W') for uint8 (S, H, W), or (S, C, H', W') for (S, C, H, W)."""


TRANSFORMS: Registry[type] = Registry("transform")

Size = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]


@TRANSFORMS.register("NoOperation")
class NoOperation:
    """Return the frames unchanged, with grey levels 0 to 255."""

    divisor = 1.0

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return frames


@TRANSFORMS.register("BaseSilTransform")
class BaseSilTransform:
    """Scale to 0..1.

    Args:
        divisor: the largest grey level.
        img_shape: [H, W] or [C, H, W] of the frames, for flattened data.
    """

    def __init__(self, divisor: float = 255.0, img_shape: list[int] | None = None) -> None:
        self.divisor = divisor
        self.shape = img_shape

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.shape is None:
            return frames
        try:
            return frames.reshape(len(frames), *self.shape)
        except ValueError:
            raise UserError(f"frames of {frames.shape[1:]} do not reshape to img_shape {self.shape}") from None


@TRANSFORMS.register("BaseSilCuttingTransform")
class BaseSilCuttingTransform:
    """Cut the same number of columns from both sides, and scale to 0..1.

    Args:
        divisor: the largest grey level.
        cutting: number of columns to cut from each side. By default 10 for width 64, 20 for 128, 0 for 44 and 88.
    """

    def __init__(self, divisor: float = 255.0, cutting: int | None = None) -> None:
        self.divisor = divisor
        self.cutting = cutting

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        width = frames.shape[-1]
        cutting = _CUTTINGS.get(width) if self.cutting is None else self.cutting
        if cutting is None:
            raise UserError(f"frames are {width} wide: set `cutting`, whose default is for {sorted(_CUTTINGS)} only")
        if cutting < 0 or 2 * cutting >= width:
            raise UserError(f"cutting {cutting} columns from both sides of frames that are {width} wide leaves nothing")
        return frames[..., cutting : width - cutting]


@TRANSFORMS.register("BaseParsingCuttingTransform")
class BaseParsingCuttingTransform(BaseSilCuttingTransform):
    """Cut the same number of columns from both sides of parsing maps, whose values are the classes of body parts.

    Args:
        cutting: number of columns to cut from each side. By default 10 for width 64, 20 for 128, 0 for 44 and 88.
    """

    def __init__(self, cutting: int | None = None) -> None:
        super().__init__(1.0, cutting)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uint8 (S, H, W - 2 * cutting), classes unscaled; silhouettes raise `UserError`."""
        if frames.max() == 255:
            raise UserError("frames with grey levels up to 255 are not parsing maps; use BaseSilCuttingTransform")
        return super().__call__(frames, rng)


@TRANSFORMS.register("Resize")
class Resize:
    """Resize each frame; shrinking averages areas, which gives smooth outlines.

    Args:
        size: [H, W] of the output.
    """

    divisor = 1.0

    def __init__(self, size: Size) -> None:
        self.height, self.width = size

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = frames.shape[-2:]
        if (height, width) == (self.height, self.width):
            return frames
        shrinks = self.height <= height and self.width <= width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        size, maps = (self.width, self.height), np.ascontiguousarray(frames).reshape(-1, height, width)
        resized = np.stack([cv2.resize(frame, size, interpolation=interpolation) for frame in maps])
        return resized.reshape(*frames.shape[:-2], self.height, self.width)


@TRANSFORMS.register("Compose")
class Compose:
    """Apply transforms in sequence.

    Args:
        trf_cfg: the mappings of the transforms, in order.
    """

    def __init__(self, trf_cfg: list[dict[str, Any]]) -> None:
        self.steps: list[Transform] = []
        for index, spec in enumerate(trf_cfg):
            with below("trf_cfg", str(index)):
                self.steps.append(TRANSFORMS.build(spec))
        self.divisor = float(np.prod([step.divisor for step in self.steps]))

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for step in self.steps:
            frames = step(frames, rng)
        return frames


def transform_problems(spec: Any) -> list[Problem]:
    """Return the problems of a transform in YAML: a mapping, or a list of mappings."""
    problems = []
    for index, transform in enumerate(spec if isinstance(spec, list) else [spec]):
        path = (str(index),) if isinstance(spec, list) else ()
        if not isinstance(transform, Mapping):
            problems.append(Problem(path, "must be a mapping with a `type`"))
            continue
        problems += [Problem((*path, *p.path), p.message) for p in TRANSFORMS.check(transform)]
    return problems


def build_transform(spec: Any) -> Transform:
    """Build a transform from YAML: a mapping, or a list of mappings, which are applied in sequence."""
    if isinstance(spec, list):
        return Compose([dict(transform) for transform in spec])
    return TRANSFORMS.build(spec)
