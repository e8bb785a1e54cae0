"""A 3x3x3 convolution with about half the products: Winograd's minimal filtering, over time.

Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016; here along the frames alone. A filter of
three taps gives m frames of output from m + 2 of input with m + 2 products instead of 3 m: frames and filter are taken
as polynomials, which are multiplied by their values at m + 2 points. A product is here a 3x3 convolution of a frame.

N sequences, C channels in, O out, S frames, H x W pixels. S frames are cut into tiles of four, and one of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Where polynomials are evaluated, after the point at infinity; a tile of m frames takes the first m + 1. More points
# would save more products and round more: with six frames to a tile, errors are twice those with four. Numbers around
# one, whose powers stay of one size, round less than the usual (0, 1, -1, 2, -1/2): by a third in an input's gradient.
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
_TILE = len(_POINTS) - 1
_SLOTS = _TILE + 2
_FEWEST_CHANNELS = (64, 128)
_FEWEST_FRAMES = 4
# As many sequences at a time as make this many numbers at the points: memory stays bounded, convolutions large.
_AT_A_TIME = 2**23


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

    The transforms cost as much for few channels as for many, and the products they save cost in proportion to both
    numbers of channels. Measured on AVX-512, forward and backward, channels last: 64 or 128 channels to 128 or more
    take 0.8 of the time, 32 to 128 as long as before, 16 take longer.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and type(x) is torch.Tensor  # fake tensors have no memory to write to
        and min(x.shape[1], out_channels) >= _FEWEST_CHANNELS[0]
        and max(x.shape[1], out_channels) >= _FEWEST_CHANNELS[1]
        and x.shape[2] >= _FEWEST_FRAMES
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
        # No view, which could not be changed in place; `result` is one of it.
        found = torch.empty((n, channels, s, h, w), dtype=x.dtype, memory_format=torch.channels_last_3d)
        result = _frames(found)
        values, products = _buffer(x, size, c), _buffer(x, size, channels)
        for first in range(0, n, size):
            some = rows[first : first + size]
            _to_points(some, tiles, values)
            for p, used in enumerate(_used(tiles)):
                _store(products, p, used, F.conv2d(_maps(values, p, used, some, (h, w)), filters[p], padding=1))
            for t, (start, frames) in enumerate(tiles):
                a, _ = _matrices(frames)
                into = result[first : first + len(some), start : start + frames]
                torch.bmm(a.expand(len(some), -1, -1), _of_tile(products, t, frames, some), out=into)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, filters = ctx.saved_tensors
        n, c, s, h, w = x.shape
        channels = filters.shape[1]
        tiles, size = _tiles(s), _sequences_at_a_time(x.shape, channels)
        rows, result_rows = _rows(x), _frames(gradient)
        wants_x, wants_filters = ctx.needs_input_grad
        for_rows = torch.zeros_like(rows) if wants_x else None
        for_filters = torch.zeros_like(filters) if wants_filters else None
        # The values at the points are quickly computed again, and larger than x: they were not kept.
        values, for_values, products = _buffer(x, size, c), _buffer(x, size, c), _buffer(x, size, channels)
        for first in range(0, n, size):
            some = rows[first : first + size]
            _to_points(some, tiles, values)
            for t, (start, frames) in enumerate(tiles):
                a, _ = _matrices(frames)
                own = result_rows[first : first + len(some), start : start + frames]
                torch.bmm(a.T.expand(len(some), -1, -1), own, out=_of_tile(products, t, frames, some))
            for p, used in enumerate(_used(tiles)):
                to_maps, to_filters, _ = torch.ops.aten.convolution_backward(
                    _maps(products, p, used, some, (h, w)), _maps(values, p, used, some, (h, w)), filters[p], None,
                    [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [wants_x, wants_filters, False],
                )  # fmt: skip
                if wants_x:
                    _store(for_values, p, used, to_maps)
                if for_filters is not None:
                    for_filters[p] += to_filters
            if for_rows is not None:
                for t, (start, frames) in enumerate(tiles):
                    _, b = _matrices(frames)
                    into = for_rows[first : first + len(some), start : start + frames + 2]
                    into.baddbmm_(b.T.expand(len(some), -1, -1), _of_tile(for_values, t, frames, some))
        for_x = None if for_rows is None else for_rows[:, 1:-1].unflatten(2, (h, w, c)).permute(0, 4, 1, 2, 3)
        return for_x, for_filters


convolution: Callable[..., torch.Tensor] = _Convolution.apply


def _tiles(frames: int) -> list[tuple[int, int]]:
    """Return each tile's first frame and its number of frames."""
    return [(start, min(_TILE, frames - start)) for start in range(0, frames, _TILE)]


def _used(tiles: list[tuple[int, int]]) -> list[int]:
    """Return of each point how many tiles need it: the last tile, with fewer frames, needs only the first few."""
    return [sum(point < frames + 2 for _, frames in tiles) for point in range(_SLOTS)]


def _sequences_at_a_time(shape: Sequence[int], channels: int) -> int:
    n, c, s, h, w = shape
    return max(1, min(n, _AT_A_TIME // (_SLOTS * len(_tiles(s)) * h * w * max(c, channels))))


def _buffer(x: torch.Tensor, sequences: int, channels: int) -> torch.Tensor:
    """Return memory for maps at every point of every tile: (6, tiles, sequences, H W channels)."""
    _, _, s, h, w = x.shape
    return x.new_empty(_SLOTS, len(_tiles(s)), sequences, h * w * channels)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Return (N, S + 2, H W C): a row for each frame, channels last, and a row of zeros before and after them."""
    return F.pad(_frames(x), (0, 0, 1, 1))


def _frames(x: torch.Tensor) -> torch.Tensor:
    """Return (N, S, H W C), a row for each frame, channels last; a view where they are so in memory."""
    return x.permute(0, 2, 3, 4, 1).flatten(2)


def _to_points(rows: torch.Tensor, tiles: list[tuple[int, int]], values: torch.Tensor) -> None:
    """Write the values at the points of every tile, B d."""
    for t, (start, frames) in enumerate(tiles):
        _, b = _matrices(frames)
        own = rows[:, start : start + frames + 2]
        torch.bmm(b.expand(len(rows), -1, -1), own, out=_of_tile(values, t, frames, rows))


def _of_tile(buffer: torch.Tensor, tile: int, frames: int, some: torch.Tensor) -> torch.Tensor:
    """Return one tile's values at its points: (sequences, frames + 2, H W channels)."""
    return buffer[: frames + 2, tile, : len(some)].transpose(0, 1)


def _maps(buffer: torch.Tensor, point: int, used: int, some: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the maps of all tiles at a point, as a batch (tiles x sequences, C, H, W)."""
    return buffer[point, :used, : len(some)].unflatten(2, (*size, -1)).flatten(0, 1).permute(0, 3, 1, 2)


def _store(buffer: torch.Tensor, point: int, used: int, maps: torch.Tensor) -> None:
    target = buffer[point, :used, : len(maps) // max(used, 1)]
    target.copy_(maps.permute(0, 2, 3, 1).reshape(target.shape))
