"""Distances between sequences: mean over parts of the distance of that part's features, in bounded memory.

Letters: M probes, G gallery sequences, C channels, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dygait.errors import UserError

METRICS = ("euc", "cos")
DEFAULT_MAX_BYTES = 256 * 2**20
"""Working memory of a block of distances: large enough that features are rearranged only a few times."""

_ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Differences smaller than this, relative to the operands, are rounding errors and are set to zero."""

_TILE = 768
"""Side of a float32 tile, chosen such that distances and features of a part stay in the cache."""
_EDGE = 64
"""Tiles at the edge are padded to a multiple of this, so that every product uses the same kernel, with equal bits."""
_CHUNK = 16
"""Sequences whose features are rearranged at a time, so that they stay in the cache."""
_FLOAT64_PAIRS = 512**2
"""With fewer pairs than this everything is computed in float64."""
_CLOSE = 1 / 16
"""Squared distances below this share of |x|² + |y|² are recomputed in float64."""
_UNDERFLOW = 1e-30
_SAMPLE = 128


def pairwise_distance(
    probe: Tensor, gallery: Tensor, metric: str = "euc", max_bytes: int = DEFAULT_MAX_BYTES
) -> Tensor:
    """Return the distance of every probe to every gallery sequence; arguments and errors as `distance_blocks`.

    Returns:
        (M, G) float32 distances >= 0 on the features' device. Equal vectors are at distance exactly 0, and the result
        does not depend on ``max_bytes``.
    """
    result = torch.empty(len(probe), len(gallery), device=probe.device)
    for _ in distance_blocks(probe, gallery, metric, max_bytes, out=result):
        pass
    return result


def distance_blocks(
    probe: Tensor,
    gallery: Tensor,
    metric: str = "euc",
    max_bytes: int = DEFAULT_MAX_BYTES,
    device: torch.device | str | None = None,
    probe_rows: Tensor | None = None,
    gallery_rows: Tensor | None = None,
    out: Tensor | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the distances one block of probes at a time, so that the whole (M, G) matrix is never allocated.

    |x|² + |y|² - 2xy loses half of the digits if two vectors are close, and close vectors decide the nearest neighbour.
    On a GPU, for few pairs, for the cosine and of float64, the sums are therefore computed in float64. Euclidean
    distances on a CPU are computed in float32, of features from which their common mean is subtracted, and recomputed
    in float64 if x and y are close: if |x - y|² < (|x|² + |y|²) / 16. In the worst case the distance of a part then has
    a relative error of 8·n·u (n = C + 2 products, u = 2⁻²⁴). Observed is about 1e-7; the tests allow 2e-6.

    Only the current block is converted, so the features can be float32 (or half) and on another device.

    Args:
        probe: (M, C, P) features.
        gallery: (G, C, P) features.
        metric: ``euc``, the mean over parts of the Euclidean distance, or ``cos``, 1 - the mean over parts of the
            cosine similarity (a part that is all zeros is similar to nothing: 0).
        max_bytes: bound of the working memory of a block. Its result, 4·G bytes for each probe, comes on top and is
            bounded by four times as much. The minimum is a pair of tiles of 768 sequences in float32, a pair of
            sequences in float64.
        device: where to compute; None for the device of the probes.
        probe_rows: indices of the M probes in `probe`; None for all.
        gallery_rows: indices of the G gallery sequences in `gallery`; None for all.
        out: (M, G) float32 on the device of the computation, of which the blocks are views; None to allocate each.

    Yields:
        The slice of the probes, and their (m, G) float32 distances.

    Raises:
        UserError: unknown metric, or features that are not (., C, P) of one C and P.
    """
    if metric not in METRICS:
        raise UserError(f"metric: unknown distance {metric!r}; choose one of {', '.join(METRICS)}")
    if probe.ndim != 3 or gallery.ndim != 3 or probe.shape[1:] != gallery.shape[1:]:
        raise UserError(
            f"features: probes {tuple(probe.shape)} and gallery {tuple(gallery.shape)} must be (sequences, C, P), "
            "with the same C and P"
        )
    target = torch.device(device) if device is not None else probe.device
    x, y = _Rows(probe.detach(), probe_rows, target), _Rows(gallery.detach(), gallery_rows, target)
    few = len(x) * len(y) < _FLOAT64_PAIRS or min(len(x), len(y)) < _EDGE
    if metric == "cos" or target.type != "cpu" or few or probe.dtype == torch.float64:
        return _float64_blocks(x, y, metric, max_bytes, out)
    return _float32_blocks(x, y, max_bytes, out)


class _Rows:
    """Selected rows of features, read one block at a time."""

    def __init__(self, features: Tensor, rows: Tensor | None, device: torch.device) -> None:
        self.features, self.device = features, device
        self.rows = None if rows is None else rows.to(features.device)

    def __len__(self) -> int:
        return len(self.features if self.rows is None else self.rows)

    def take(self, start: int, stop: int, dtype: torch.dtype | None = None) -> Tensor:
        selected = self.features[start:stop] if self.rows is None else self.features[self.rows[start:stop]]
        return selected.to(self.device, dtype)

    def part(self, part: int, indices: Tensor) -> Tensor:
        """Return one part of the sequences at these indices: (., C) float64."""
        rows = indices if self.rows is None else self.rows[indices]
        return self.features[:, :, part][rows.to(self.features.device)].to(self.device, torch.float64)


def _float64_blocks(
    x: _Rows, y: _Rows, metric: str, max_bytes: int, out: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    prepare, block_distance = _EXACT[metric]
    # A block of the Euclidean distance is computed for each part: side² + 2·side·C numbers, the distances and the two
    # blocks of features. That of the cosine is computed for all parts at once: side² + 2·side·C·P numbers.
    _, channels, parts = x.features.shape
    row, matrices = (channels, parts) if metric == "euc" else (channels * parts, 1)
    side = max(1, int(math.sqrt(row**2 + max_bytes // 8 / matrices) - row))
    for start in range(0, len(x), side):
        rows = slice(start, min(start + side, len(x)))
        left_side = prepare(x.take(rows.start, rows.stop, torch.float64))
        distance = torch.empty(rows.stop - rows.start, len(y), device=x.device) if out is None else out[rows]
        for left in range(0, len(y), side):
            right_side = prepare(y.take(left, left + side, torch.float64))
            distance[:, left : left + side] = block_distance(left_side, right_side)
        yield rows, distance


def _float32_blocks(x: _Rows, y: _Rows, max_bytes: int, out: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Compute Euclidean distances in tiles on a fixed grid, so that the result does not depend on the memory limit."""
    tiles = _Tiles(x, y)
    _, channels, parts = x.features.shape
    # Besides the left operands, memory holds one right operand, chunks of features being rearranged (less than another
    # operand), and the distances of a tile in two precisions.
    row_bytes = 4 * parts * (channels + 3)
    available = max_bytes - 2 * _TILE * row_bytes - 16 * _TILE**2
    count = max(1, min(available // (_TILE * row_bytes), 4 * max_bytes // (4 * len(y) * _TILE)))
    for start in range(0, len(x), count * _TILE):
        rows = slice(start, min(start + count * _TILE, len(x)))
        tops = range(start, rows.stop, _TILE)
        lefts = [tiles.left(top, min(top + _TILE, rows.stop)) for top in tops]
        distance = torch.zeros(rows.stop - start, len(y)) if out is None else out[rows].zero_()
        for left in range(0, len(y), _TILE):
            right = tiles.right(left, min(left + _TILE, len(y)))
            for top, prepared in zip(tops, lefts, strict=True):
                part = distance[top - start : top - start + _TILE, left : left + _TILE]
                tiles.fill(part, prepared, right, top, left)
        if not math.isfinite(float(distance.sum())):  # magnitudes so different that some squares overflow float32
            block = _Rows(x.take(rows.start, rows.stop), None, x.device)
            for _ in _float64_blocks(block, y, "euc", max_bytes, distance):
                pass
        yield rows, distance


def _padded(count: int) -> int:
    return -(-count // _EDGE) * _EDGE


class _Tiles:
    """Squared distances as one product: (-2x, |x|², 1) · (y, 1, |y|²), of centred and scaled features."""

    def __init__(self, x: _Rows, y: _Rows) -> None:
        self.x, self.y = x, y
        _, self.channels, self.parts = x.features.shape
        # Any centre and any power of two are correct; these keep the values small, and squares neither 0 nor infinite.
        indices = torch.linspace(0, len(y) - 1, min(len(y), _SAMPLE)).long()
        sample = y.features[indices if y.rows is None else y.rows[indices.to(y.rows.device)]]
        sample = sample.to("cpu", torch.float64)
        self.centre = sample.mean(0)
        largest = float((sample - self.centre).abs().max())
        self.scale = 2.0 ** -math.frexp(largest)[1] if largest > 0 else 1.0
        # Allocating memory for every tile costs as much as filling it.
        self.operand = torch.empty(_TILE * self.parts * (self.channels + 2))
        self.tile = torch.empty(_TILE**2)

    def left(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        features = torch.empty(self.parts, _padded(stop - start), self.channels + 2)
        square = self._centred(self.x, start, stop, features, -2).div_(4)
        features[:, :, self.channels] = square
        features[:, :, self.channels + 1] = 1
        return features, square

    def right(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        count = _padded(stop - start)
        features = self.operand[: self.parts * count * (self.channels + 2)].view(self.parts, count, self.channels + 2)
        square = self._centred(self.y, start, stop, features, 1)
        features[:, :, self.channels] = 1
        features[:, :, self.channels + 1] = square
        return features.transpose(1, 2), square

    def _centred(self, rows: _Rows, start: int, stop: int, features: Tensor, factor: int) -> Tensor:
        """Write the centred features, times a factor, and return their squares: (P, padded)."""
        inner, square = features[:, :, : self.channels], torch.zeros(features.shape[:2])
        inner[:, stop - start :] = 0
        # In chunks that stay in the cache between the passes.
        squares = torch.empty(self.parts, _CHUNK, self.channels)
        shift = (self.centre * (-factor * self.scale)).T[:, None].float()
        for a in range(0, stop - start, _CHUNK):
            b = min(a + _CHUNK, stop - start)
            numbers, chunk = inner[:, a:b], rows.take(start + a, start + b, torch.float32).permute(2, 0, 1)
            torch.add(shift, chunk, alpha=factor * self.scale, out=numbers)
            torch.sum(torch.mul(numbers, numbers, out=squares[:, : b - a]), 2, out=square[:, a:b])
        return square

    def fill(
        self, distance: Tensor, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], top: int, start: int
    ) -> None:
        """Add the distances to zeros (m, g), the tile whose first pair is (top, start)."""
        (x, x_square), (y, y_square) = left, right
        height, width = distance.shape
        tile = self.tile[: x.shape[1] * y.shape[2]].view(x.shape[1], y.shape[2])
        inner = tile[:height, :width]
        x_square, y_square = x_square[:, :height], y_square[:, :width]
        limits = (x_square + y_square.amax(1, keepdim=True)).mul_(_CLOSE).add_(_UNDERFLOW)
        for part in range(self.parts):
            torch.mm(x[part], y[part], out=tile)
            # The minimum of each row rules out close pairs in most tiles; a NaN compares as not far.
            far = inner.amin(1).gt(limits[part])
            if not far.all():
                self._recompute_close(inner, far, x_square[part], y_square[part], part, top, start)
            distance += tile.sqrt_()[:height, :width]
        distance /= self.parts * self.scale

    def _recompute_close(
        self, squared: Tensor, far: Tensor, x_square: Tensor, y_square: Tensor, part: int, top: int, start: int
    ) -> None:
        """Recompute the close pairs of a tile in float64; rows marked as far have none."""
        rows = far.logical_not().nonzero()[:, 0]
        scale = x_square[rows, None] + y_square
        close = squared[rows].gt(scale.mul_(_CLOSE).add_(_UNDERFLOW)).logical_not_()
        i, j = close.nonzero(as_tuple=True)
        i = rows[i]
        if len(i) * 32 < squared.numel():
            for a in range(0, len(i), 8192):
                chunk_i, chunk_j = i[a : a + 8192], j[a : a + 8192]
                difference = self.x.part(part, chunk_i + top) - self.y.part(part, chunk_j + start)
                squared[chunk_i, chunk_j] = difference.mul_(self.scale).square().sum(1).float()
            return
        x = self.x.part(part, rows + top)
        y = self.y.part(part, torch.arange(start, start + squared.shape[1]))
        centre = self.centre[:, part]
        exact = _squared((x - centre).mul_(self.scale)[None], (y - centre).mul_(self.scale)[None])[0]
        squared[i, j] = exact.float()[close]


def _parts_first(x: Tensor) -> Tensor:
    return x.permute(2, 0, 1).contiguous()


def _squared(x: Tensor, y: Tensor) -> Tensor:
    x_square, y_square = x.square().sum(2), y.square().sum(2)
    scale = x_square[:, :, None] + y_square[:, None, :]
    squared = torch.baddbmm(scale, x, y.transpose(1, 2), alpha=-2)
    return squared.masked_fill_(squared < scale.mul_(_ROUNDING), 0.0)


def _euclidean_block(x: Tensor, y: Tensor) -> Tensor:
    return _squared(x, y).sqrt_().mean(0).float()


def _unit_parts(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1, eps=torch.finfo(torch.float64).tiny).flatten(1) / math.sqrt(
        x.shape[2]
    )


def _cosine_block(x: Tensor, y: Tensor) -> Tensor:
    distance = 1 - x @ y.T
    return distance.masked_fill_(distance < _ROUNDING, 0.0).float()


_EXACT = {"euc": (_parts_first, _euclidean_block), "cos": (_unit_parts, _cosine_block)}
"""Metric -> the preparation of features in float64, and the distance of two blocks."""
