"""Horizontal parts: pooling by strips, and convolutions that stay inside a strip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dygait.modeling.layers import check_bins, check_rows, has_channels_last


class HorizontalPooling(nn.Module):
    """Cut the map into horizontal strips and add each strip's mean and its largest value.

    Fu et al., *Horizontal Pyramid Matching for Person Re-identification*, AAAI 2019. `bin_num` holds the numbers of
    strips, one pooling each; their sum is P.
    """

    def __init__(self, bin_num: Sequence[int]) -> None:
        super().__init__()
        check_bins(bin_num)
        self.bin_num = list(bin_num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, P) for (N, C, H, W); H must be a multiple of every number of strips."""
        check_rows(x.shape[2], self.bin_num)
        if has_channels_last(x):  # whole pixels, whose gradient is in the same layout
            pixels = x.permute(0, 2, 3, 1)
            rows = (pixels.unflatten(1, (b, -1)).flatten(2, 3) for b in self.bin_num)
            return torch.cat([s.mean(2) + s.amax(2) for s in rows], 1).transpose(1, 2)
        strips = (x.unflatten(2, (b, -1)).flatten(3) for b in self.bin_num)
        return torch.cat([s.mean(3) + s.amax(3) for s in strips], 2)


def by_strips(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, strips: int) -> torch.Tensor:
    """Apply a padded convolution to each horizontal strip alone: (N, C, ..., H, W) to (N, C_out, ..., H, W).

    The strips, whose number divides H, become sequences of a batch: one call computes all.
    """
    if strips == 1:
        return layer(x)
    if x.shape[-2] % strips:
        raise ValueError(
            f"input_size: a map of {x.shape[-2]} rows does not divide into {strips} strips; choose another height"
        )
    last = has_channels_last(x)  # and so are the strips and the result
    pixels = x.movedim(1, -1) if last else x
    rows = pixels.dim() - (3 if last else 2)
    apart = pixels.unflatten(rows, (strips, -1)).movedim(rows, 1).flatten(0, 1)
    found = layer(apart.movedim(-1, 1)).movedim(1, -1) if last else layer(apart)
    together = found.unflatten(0, (x.shape[0], strips)).movedim(1, rows).flatten(rows, rows + 1)
    return together.movedim(-1, 1) if last else together
