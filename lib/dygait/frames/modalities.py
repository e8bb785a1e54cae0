"""Frames of several channels: stacking the modalities of a sequence, and the picture of such a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from dygait.errors import UserError

Frames = TypeVar("Frames", bound=Any)


def channels_to_stack(modalities: Sequence[Frames], with_channels: int) -> list[Frames]:
    """Return frames (..., C, H, W) of equal size, to be concatenated; those (..., H, W) get a channel.

    `with_channels` is the number of dimensions of frames with channels. All are cut to the width of the narrowest, to
    the columns in the middle, as OpenGait does with square heat maps beside narrow silhouettes.

    Raises:
        UserError: their heights differ.
    """
    if len({frames.shape[-2] for frames in modalities}) > 1:
        sizes = " and ".join(f"{frames.shape[-2]}x{frames.shape[-1]}" for frames in modalities)
        raise UserError(f"frames of {sizes} cannot be stacked to channels: prepare them at one height")
    width = min(frames.shape[-1] for frames in modalities)
    cut = [frames[..., (frames.shape[-1] - width) // 2 :][..., :width] for frames in modalities]
    return [frames if frames.ndim == with_channels else frames[..., None, :, :] for frames in cut]


def brightest_channel(frames: np.ndarray) -> np.ndarray:
    """Return frames to display, uint8 (S, H, W): of (S, C, H, W), the maximum over the channels of each pixel."""
    return frames if frames.ndim == 3 else frames.max(1)
