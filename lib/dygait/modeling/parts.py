"""Horizontal parts: pooling by strips (mean and maximum, or GeM), and convolutions within strips.

N sequences, C channels, H x W pixels, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from dygait.modeling.layers import at_least_float32, has_channels_last


def check_bins(bin_num: Sequence[int]) -> None:
    """Raise ValueError unless the numbers of horizontal strips are positive."""
    if not bin_num or min(bin_num) < 1:
        raise ValueError(f"bin_num: takes positive numbers of strips, got {list(bin_num)}")


def check_rows(rows: int, bin_num: Sequence[int]) -> None:
    """Raise ValueError unless the rows of a map divide into each number of strips."""
    invalid = [b for b in bin_num if rows % b]
    if invalid:
        raise ValueError(
            f"bin_num: features {rows} rows high do not divide into {invalid} strips; choose divisors of {rows}, or "
            f"silhouettes of another height"
        )


class HorizontalPooling(nn.Module):
    """Cut the map into horizontal strips and add the mean and the maximum of each strip.

    Fu et al., *Horizontal Pyramid Matching for Person Re-identification*, AAAI 2019. `bin_num` holds the numbers of
    strips, one pooling each; their sum is P.
    """

    def __init__(self, bin_num: Sequence[int]) -> None:
        super().__init__()
        check_bins(bin_num)
        self.bin_num = list(bin_num)
        self.finest = math.lcm(*bin_num)  # coarser strips are pooled from these, so that pixels are read once

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, P) for (N, C, H, W); H must be a multiple of every number of strips."""
        h, w = x.shape[2:]
        check_rows(h, self.bin_num)
        if x.device.type == "cpu" and has_channels_last(x):  # so that the gradient has the same layout
            means = x.permute(0, 2, 3, 1).unflatten(1, (self.finest, -1)).mean((2, 3)).transpose(1, 2)
            maxima = F.max_pool2d(x, (h // self.finest, w))
        else:
            strips = x.unflatten(2, (self.finest, -1)).flatten(3)
            means, maxima = strips.mean(3), strips.amax(3, keepdim=True)
        pooled = [
            means.unflatten(2, (b, -1)).mean(3) + F.max_pool2d(maxima, (self.finest // b, 1)).squeeze(3)
            for b in self.bin_num
        ]
        return torch.cat(pooled, 2)


class GeMHorizontalPooling(nn.Module):
    """Cut the map into horizontal strips and take the generalised mean of each strip, (mean of x^p)^(1/p).

    Strips: Fu et al., *Horizontal Pyramid Matching*, AAAI 2019; the learnt exponent in gait: Lin et al., ICCV 2021.
    Computed in float32 (or float64) under autocast too: x^6.5 exceeds the range of half precision.

    Args:
        bin_num: numbers of strips, one pooling each; their sum is P.
        p: the exponent's initial value.
        eps: values are clamped to at least this.
    """

    def __init__(self, bin_num: Sequence[int], p: float = 6.5, eps: float = 1e-6) -> None:
        super().__init__()
        check_bins(bin_num)
        self.bin_num = list(bin_num)
        self.p = nn.Parameter(torch.full((1,), p))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, C, P) for (N, C, H, W); H must be a multiple of every number of strips."""
        n, c, h, _ = x.shape
        check_rows(h, self.bin_num)
        with torch.autocast(x.device.type, enabled=False):
            rows = _GeneralisedMean.apply(at_least_float32(x), self.p, self.eps)
            # The mean over a strip is the mean of the means of its rows.
            strips = [
                rows if b == h else _GeneralisedMean.apply(rows.reshape(n, c, b, h // b), self.p, 0.0)
                for b in self.bin_num
            ]
            return torch.cat(strips, 2)


class _GeneralisedMean(torch.autograd.Function):
    """(mean of x^p)^(1/p) over the last dimension, x clamped to at least `eps`: (N, C, H, W) to (N, C, H).

    Powers are those of x / max(x), since (1e-6)^p underflows in float32 once p exceeds 7.5. Powers below 2^-80 of the
    largest are clamped to it, which changes no sum: a CPU is many times slower on denormal numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: torch.Tensor, eps: float) -> torch.Tensor:
        largest = x.amax(3, keepdim=True).clamp(min=eps)
        floor = (largest * (-80 / p).exp2()).clamp(min=eps)
        # log2 and exp2 rather than pow, whose gradient in p takes the logarithm again.
        logs = (x.clamp(min=floor) / largest).log2_()
        powers = (logs * p).exp2_()
        total = powers.sum(3)
        log_mean = (total / x.shape[3]).log2_() / p
        mean = log_mean.exp2() * largest.squeeze(3)
        ctx.save_for_backward(x, p, floor, logs, powers, total, log_mean, mean)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, p, floor, logs, powers, total, log_mean, mean = ctx.saved_tensors
        gradient = gradient * mean
        shares = powers * (gradient / total).unsqueeze(3)
        grad_p = ((shares * logs).sum() - (gradient * log_mean).sum()) * math.log(2) / p
        return (shares / x).masked_fill_(x < floor, 0), grad_p, None


def by_strips(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, strips: int) -> torch.Tensor:
    """Apply a padded convolution to each horizontal strip separately: (N, C, ..., H, W) to (N, C_out, ..., H, W).

    The strips, whose number divides H, become a dimension of the batch, so that one call computes all.
    """
    if strips == 1:
        return layer(x)
    if x.shape[-2] % strips:
        raise ValueError(
            f"input_size: a map of {x.shape[-2]} rows does not divide into {strips} strips; choose another height"
        )
    channels_last = has_channels_last(x)  # and so are the strips and the result
    pixels = x.movedim(1, -1) if channels_last else x
    rows = pixels.dim() - (3 if channels_last else 2)  # the dimension of the rows
    batch = pixels.unflatten(rows, (strips, -1)).movedim(rows, 1).flatten(0, 1)
    batch = layer(batch.movedim(-1, 1)).movedim(1, -1) if channels_last else layer(batch)
    result = batch.unflatten(0, (x.shape[0], strips)).movedim(1, rows).flatten(rows, rows + 1)
    return result.movedim(-1, 1) if channels_last else result
