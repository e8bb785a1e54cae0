"""Frames of several channels: several modalities of a sequence stacked to one frame, and what is shown of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from dygait.errors import UserError

Frames = TypeVar("Frames", bound=Any)


def channels_to_stack(modalities: Sequence[Frames], with_channels: int) -> list[Frames]:
    """Return frames (..., C, H, W) of equal size, to be concatenated; those (..., H, W) get a channel.

    `with_channels` is how many dimensions frames with channels have. They are cut to the columns in the middle that the
    narrowest has, as OpenGait does with square heat maps beside narrow silhouettes.

    Raises:
        UserError: they are not of one height.
    """
    if len({frames.shape[-2] for frames in modalities}) > 1:
        sizes = " and ".join(f"{frames.shape[-2]}x{frames.shape[-1]}" for frames in modalities)
        raise UserError(f"frames of {sizes} cannot be stacked to channels: prepare them at one height")
    width = min(frames.shape[-1] for frames in modalities)
    cut = [frames[..., (frames.shape[-1] - width) // 2 :][..., :width] for frames in modalities]
    return [frames if frames.ndim == with_channels else frames[..., None, :, :] for frames in cut]


def brightest_channel(frames: np.ndarray) -> np.ndarray:
    """Return frames to look at, uint8 (S, H, W), of a store's: of (S, C, H, W) the largest level of each pixel."""
    return frames if frames.ndim == 3 else frames.max(1)
