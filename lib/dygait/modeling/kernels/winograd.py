"""A 3x3x3 convolution with about half the multiplications: Winograd's minimal filtering, over time.

Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016; here along the frames only. A filter of
three taps computes m output frames from m + 2 input frames with m + 2 products instead of 3 m: frames and filter are
polynomials, which are multiplied by multiplying their values at m + 2 points. A product is a 3x3 convolution of a map.

N sequences, C input channels, O output channels, S frames, H x W pixels. The frames are cut into tiles of four; the
last tile may be shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Where polynomials are evaluated, besides the point at infinity; a tile of m frames uses the first m + 1. More points
# would save more products and increase rounding errors: tiles of six frames double those of four. Points near one,
# whose powers have similar magnitudes, round less than the usual (0, 1, -1, 2, -1/2): by a third in input gradients.
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
_TILE = len(_POINTS) - 1
_SLOTS = _TILE + 2
_MIN_CHANNELS = (64, 128)
_MIN_FRAMES = 4
# Sequences are computed at a time up to this many values at the points, which bounds memory; convolutions stay large.
_VALUES_AT_A_TIME = 2**23


@lru_cache
def _matrices(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (m, m + 2) and B (m + 2, m + 2): m outputs of the filter g over the frames d are A ((G g) * (B d))."""
    points = _POINTS[: frames + 1]
    polynomial = np.polynomial.polynomial
    a, b = np.zeros((frames, frames + 2)), np.zeros((frames + 2, frames + 2))
    a[-1, 0], b[0] = 1.0, polynomial.polyfromroots(points)
    for i, point in enumerate(points, 1):
        others = [other for other in points if other != point]
        a[:, i] = [point**k for k in range(frames)]
        b[i, :-1] = polynomial.polyfromroots(others) / np.prod([point - other for other in others])
    return torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)


def is_faster(x: torch.Tensor, out_channels: int) -> bool:
    """Return whether this is faster than a plain convolution: in float32 on a CPU, with many channels and frames.

    The cost of the transforms grows with the sum of the numbers of channels, that of the saved products with their
    product. Measured on AVX-512, forward and backward, channels last: 64 or 128 to 128 or more channels take 0.8 of the
    time, 32 to 128 the same time, 16 take longer.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and type(x) is torch.Tensor  # fake tensors have no memory to write to
        and min(x.shape[1], out_channels) >= _MIN_CHANNELS[0]
        and max(x.shape[1], out_channels) >= _MIN_CHANNELS[1]
        and x.shape[2] >= _MIN_FRAMES
    )


def transformed(weight: torch.Tensor) -> torch.Tensor:
    """Return a filter's values at the points, G g: (6, O, C, 3, 3) for (O, C, 3, 3, 3)."""
    g = weight.new_tensor([[0.0, 0.0, 1.0], *([1.0, p, p * p] for p in _POINTS)])
    return torch.einsum("pk,ockhw->pohwc", g, weight).permute(0, 1, 4, 2, 3)


class _Convolution(torch.autograd.Function):
    """Convolve sequences with filters of 3x3x3, zero-padded by one: float32, on a CPU.

    Takes x (N, C, S, H, W) and filters (6, O, C, 3, 3), as `transformed` makes them; returns (N, O, S, H, W), channels
    last in memory.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, filters)
        n, c, s, h, w = x.shape
        channels = filters.shape[1]
        rows, tiles, size = _rows(x), _tiles(s), _sequences_at_a_time(x.shape, channels)
        # The output must not be a view, which could not be modified in place later; `result` is a view of it.
        output = torch.empty((n, channels, s, h, w), dtype=x.dtype, memory_format=torch.channels_last_3d)
        result = _frames(output)
        values, products = _buffer(x, size, c), _buffer(x, size, channels)
        for first in range(0, n, size):
            group = rows[first : first + size]
            count = len(group)
            _to_points(group, tiles, values)
            for p, used in enumerate(_tiles_per_point(tiles)):
                _store(products, p, used, F.conv2d(_maps(values, p, used, count, (h, w)), filters[p], padding=1))
            for t, (start, frames) in enumerate(tiles):
                a, _ = _matrices(frames)
                target = result[first : first + count, start : start + frames]
                torch.bmm(a.expand(count, -1, -1), _tile_values(products, t, frames, count), out=target)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, filters = ctx.saved_tensors
        n, c, s, h, w = x.shape
        channels = filters.shape[1]
        tiles, size = _tiles(s), _sequences_at_a_time(x.shape, channels)
        rows, grad_result = _rows(x), _frames(gradient)
        needs_x, needs_filters = ctx.needs_input_grad
        grad_rows = torch.zeros_like(rows) if needs_x else None
        grad_filters = torch.zeros_like(filters) if needs_filters else None
        # The values at the points are cheap to recompute and larger than x, so forward does not save them.
        values, grad_values, grad_products = _buffer(x, size, c), _buffer(x, size, c), _buffer(x, size, channels)
        for first in range(0, n, size):
            group = rows[first : first + size]
            count = len(group)
            _to_points(group, tiles, values)
            for t, (start, frames) in enumerate(tiles):
                a, _ = _matrices(frames)
                source = grad_result[first : first + count, start : start + frames]
                torch.bmm(a.T.expand(count, -1, -1), source, out=_tile_values(grad_products, t, frames, count))
            for p, used in enumerate(_tiles_per_point(tiles)):
                grad_maps, grad_filter, _ = torch.ops.aten.convolution_backward(
                    _maps(grad_products, p, used, count, (h, w)), _maps(values, p, used, count, (h, w)), filters[p],
                    None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [needs_x, needs_filters, False],
                )  # fmt: skip
                if needs_x:
                    _store(grad_values, p, used, grad_maps)
                if grad_filters is not None:
                    grad_filters[p] += grad_filter
            if grad_rows is not None:
                for t, (start, frames) in enumerate(tiles):
                    _, b = _matrices(frames)
                    target = grad_rows[first : first + count, start : start + frames + 2]
                    target.baddbmm_(b.T.expand(count, -1, -1), _tile_values(grad_values, t, frames, count))
        grad_x = None if grad_rows is None else grad_rows[:, 1:-1].unflatten(2, (h, w, c)).permute(0, 4, 1, 2, 3)
        return grad_x, grad_filters


convolution: Callable[..., torch.Tensor] = _Convolution.apply


def _tiles(frames: int) -> list[tuple[int, int]]:
    """Return each tile's first frame and its number of frames."""
    return [(start, min(_TILE, frames - start)) for start in range(0, frames, _TILE)]


def _tiles_per_point(tiles: list[tuple[int, int]]) -> list[int]:
    """Return how many tiles use each point: a shorter last tile uses only the first points."""
    return [sum(point < frames + 2 for _, frames in tiles) for point in range(_SLOTS)]


def _sequences_at_a_time(shape: Sequence[int], channels: int) -> int:
    n, c, s, h, w = shape
    return max(1, min(n, _VALUES_AT_A_TIME // (_SLOTS * len(_tiles(s)) * h * w * max(c, channels))))


def _buffer(x: torch.Tensor, sequences: int, channels: int) -> torch.Tensor:
    """Allocate the values of maps at every point of every tile: (6, tiles, sequences, H W channels)."""
    _, _, s, h, w = x.shape
    return x.new_empty(_SLOTS, len(_tiles(s)), sequences, h * w * channels)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Return (N, S + 2, H W C): a row for each frame, channels last, with a row of zeros before and after."""
    return F.pad(_frames(x), (0, 0, 1, 1))


def _frames(x: torch.Tensor) -> torch.Tensor:
    """Return (N, S, H W C), a row for each frame, channels last; a view if that is the memory layout."""
    return x.permute(0, 2, 3, 4, 1).flatten(2)


def _to_points(rows: torch.Tensor, tiles: list[tuple[int, int]], values: torch.Tensor) -> None:
    """Write the values at the points of every tile, B d."""
    for t, (start, frames) in enumerate(tiles):
        _, b = _matrices(frames)
        source = rows[:, start : start + frames + 2]
        torch.bmm(b.expand(len(rows), -1, -1), source, out=_tile_values(values, t, frames, len(rows)))


def _tile_values(buffer: torch.Tensor, tile: int, frames: int, sequences: int) -> torch.Tensor:
    """Return the values of one tile at its points: (sequences, frames + 2, H W channels)."""
    return buffer[: frames + 2, tile, :sequences].transpose(0, 1)


def _maps(buffer: torch.Tensor, point: int, used: int, sequences: int, size: tuple[int, int]) -> torch.Tensor:
    """Return the maps of the tiles that use a point, as a batch (tiles x sequences, C, H, W)."""
    return buffer[point, :used, :sequences].unflatten(2, (*size, -1)).flatten(0, 1).permute(0, 3, 1, 2)


def _store(buffer: torch.Tensor, point: int, used: int, maps: torch.Tensor) -> None:
    target = buffer[point, :used, : len(maps) // max(used, 1)]
    target.copy_(maps.permute(0, 2, 3, 1).reshape(target.shape))
