"""Distances between sequences: mean over parts of the distance of that part's features, in bounded memory.

Letters: M probes, G gallery sequences, C channels, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dygait.errors import UserError

DEFAULT_MAX_BYTES = 64 * 2**20
"""Working memory of a block of distances: small enough to stay near the cache, large enough to keep a GPU busy."""

_FLOAT64_BYTES = 8
_ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Differences smaller than this, relative to the numbers subtracted, are rounding and count as zero."""


def pairwise_distance(
    probe: Tensor, gallery: Tensor, metric: str = "euc", max_bytes: int = DEFAULT_MAX_BYTES
) -> Tensor:
    """Return the distance of every probe to every gallery sequence.

    Args:
        probe: (M, C, P) features.
        gallery: (G, C, P) features.
        metric: ``euc``, the mean over parts of the Euclidean distance, or ``cos``, 1 - the mean over parts of the
            cosine similarity (a part that is all zeros is similar to nothing: 0).
        max_bytes: bound of the working memory; the result, 4·M·G bytes, comes on top.

    Returns:
        (M, G) float32 distances >= 0 on the features' device. Equal vectors are at distance exactly 0, and the result
        does not depend on ``max_bytes``.

    Raises:
        UserError: unknown metric, or features that are not (., C, P) of one C and P.
    """
    rows = [block for _, block in distance_blocks(probe, gallery, metric, max_bytes)]
    return torch.cat(rows) if rows else torch.zeros(0, gallery.shape[0], device=gallery.device)


def distance_blocks(
    probe: Tensor,
    gallery: Tensor,
    metric: str = "euc",
    max_bytes: int = DEFAULT_MAX_BYTES,
    device: torch.device | str | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the distances a block of probes at a time, so that the whole (M, G) matrix need never exist.

    The sums are taken in float64: |x|² + |y|² - 2xy loses half of the digits where two vectors are close, and that is
    just where the nearest neighbour is decided. Only the block at hand is converted, so the features can stay in
    float32 (or half) and even on another device.

    Args:
        probe: (M, C, P) features.
        gallery: (G, C, P) features.
        metric: ``euc`` or ``cos``, as in `pairwise_distance`.
        max_bytes: bound of the working memory of a block, besides its result of 4·G bytes for each probe.
        device: where to compute; None stands for the probes' device.

    Yields:
        The slice of the probes, and their (m, G) float32 distances.

    Raises:
        UserError: as `pairwise_distance`.
    """
    if metric not in _METRICS:
        raise UserError(f"metric: unknown distance {metric!r}; choose one of {', '.join(_METRICS)}")
    if probe.ndim != 3 or gallery.ndim != 3 or probe.shape[1:] != gallery.shape[1:]:
        raise UserError(
            f"features: probes {tuple(probe.shape)} and gallery {tuple(gallery.shape)} must be (sequences, C, P), "
            "with the same C and P"
        )
    target = torch.device(device) if device is not None else probe.device
    prepare, side_of_block, block_distance = _METRICS[metric]
    side = side_of_block(probe.shape[1], probe.shape[2], max_bytes // _FLOAT64_BYTES)
    for start in range(0, probe.shape[0], side):
        rows = slice(start, min(start + side, probe.shape[0]))
        x = prepare(probe[rows].detach().to(target, torch.float64))
        distance = torch.empty(rows.stop - rows.start, gallery.shape[0], device=target)
        for left in range(0, gallery.shape[0], side):
            y = prepare(gallery[left : left + side].detach().to(target, torch.float64))
            distance[:, left : left + side] = block_distance(x, y)
        yield rows, distance


def _parts_first(x: Tensor) -> Tensor:
    return x.permute(2, 0, 1).contiguous()


def _euclidean_side(channels: int, parts: int, numbers: int) -> int:
    # side² + 2·side·C numbers per part: the distances, and the two blocks of features.
    return max(1, int(math.sqrt(channels**2 + numbers / parts) - channels))


def _euclidean_block(x: Tensor, y: Tensor) -> Tensor:
    x_square, y_square = x.square().sum(2), y.square().sum(2)
    scale = x_square[:, :, None] + y_square[:, None, :]
    squared = torch.baddbmm(scale, x, y.transpose(1, 2), alpha=-2)
    squared = squared.masked_fill_(squared < scale.mul_(_ROUNDING), 0.0)
    return squared.sqrt_().mean(0).float()


def _unit_parts(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1, eps=torch.finfo(torch.float64).tiny).flatten(1) / math.sqrt(
        x.shape[2]
    )


def _cosine_side(channels: int, parts: int, numbers: int) -> int:
    return max(1, int(math.sqrt((channels * parts) ** 2 + numbers) - channels * parts))


def _cosine_block(x: Tensor, y: Tensor) -> Tensor:
    distance = 1 - x @ y.T
    return distance.masked_fill_(distance < _ROUNDING, 0.0).float()


_Side = Callable[[int, int, int], int]
_METRICS: dict[str, tuple[Callable[[Tensor], Tensor], _Side, Callable[[Tensor, Tensor], Tensor]]] = {
    "euc": (_parts_first, _euclidean_side, _euclidean_block),
    "cos": (_unit_parts, _cosine_side, _cosine_block),
}
METRICS = tuple(_METRICS)
"""Names of the distances."""
