"""BatchNorm of channels-last maps on a CPU, as precise as PyTorch's kernel for contiguous maps.

Ioffe and Szegedy, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*, ICML
2015. In training, PyTorch's channels-last kernel sums all pixels of a channel sequentially in float32: over a million
pixels, statistics and gradients are 100 times less precise than those of contiguous maps, which are summed in float64.
Here a map is a matrix of pixels by channels (M, C), whose blocks are summed in float32 and the block sums in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

_ROW = 1024  # elements of a row of a block, which holds as many neighbouring pixels as fit: sized for the L1 cache
_ROWS = 1024  # the most rows that are summed sequentially in float32
_SMALL = 1 << 17  # elements: maps of at most this size are summed in float64
_CHUNK = 1 << 18  # elements written at a time in the backward pass: sized to stay in the cache


def is_supported(x: torch.Tensor) -> bool:
    """Return whether this module normalises (N, C, ...): channels-last maps on a CPU, unless compiling."""
    on_cpu = x.device.type == "cpu" and x.dim() > 2 and not torch.compiler.is_compiling()
    return on_cpu and x.movedim(1, -1).is_contiguous()


def batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> torch.Tensor:
    """Replace `torch.nn.functional.batch_norm`, which is called where `is_supported` is false.

    Takes (N, C, ...) in float32, float64 or a half type, whose statistics are float32; all other tensors are (C,).

    Raises:
        ValueError: in training, a channel has a single value.
    """
    if not training or not is_supported(x) or x.numel() <= x.shape[1]:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, variance = statistics(x)
    count = x.numel() // x.shape[1]
    update_running(running_mean, running_var, mean, variance, count, momentum)
    return normalise(x, mean, variance, weight, bias, count, eps, None)


@torch.no_grad()
def update_running(
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    mean: torch.Tensor,
    variance: torch.Tensor,
    count: int | torch.Tensor,
    momentum: float,
) -> None:
    """Update the running statistics with a batch's mean and biased variance (C,) over `count` values."""
    for running, value in ((running_mean, mean), (running_var, variance * (count / (count - 1)))):
        if running is not None:
            running.mul_(1 - momentum).add_(value.to(running), alpha=momentum)


@torch.no_grad()
def statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the biased variance of each channel of (N, C, ...), both float64 (C,)."""
    pixels = _precise(_pixels(x))
    channels = pixels.shape[1]
    moments, counts = [], []
    for block in _blocks(pixels, _rows_to_add(pixels)):
        dummy = torch.zeros(block.shape[1], dtype=_accumulator(block))  # sets the type of the statistics
        moments.append(torch.stack(torch.batch_norm_update_stats(_as_map(block), dummy, dummy.clone(), 0.0)))
        counts += [len(block)] * (block.shape[1] // channels)
    means, variances = torch.cat(moments, 1).double().view(2, -1, channels)
    return combine_statistics(torch.tensor(counts, dtype=torch.float64)[:, None], means, variances)


def combine_statistics(
    counts: torch.Tensor, means: torch.Tensor, variances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Combine the counts (B, 1), means and biased variances (B, C) of B parts into a mean and a variance (C,).

    Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979.
    """
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return mean, (counts * (variances + (means - mean).square())).sum(0) / total


class _Normalise(torch.autograd.Function):
    """Normalise (N, C, ...) with the statistics of the batch, and backpropagate through the statistics.

    Arguments: x, this process's share of the batch; mean and biased variance (C,) of the batch; weight and bias (C,) or
    None; count, the number of values per channel in the batch; eps, added to the variance; reduce, which sums a tensor
    over all processes where the batch is distributed (every process must then run the backward pass), else None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        count: int | torch.Tensor,
        eps: float,
        reduce: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, mean, weight, bias)
        ctx.inverse_std, ctx.count, ctx.reduce = (variance.double() + eps).rsqrt(), count, reduce
        dtype = _accumulator(x)
        return F.batch_norm(x, mean.to(dtype), variance.to(dtype), weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, mean, weight, bias = ctx.saved_tensors
        pixels, gradients = _pixels(x), _pixels(gradient)
        total, product = _column_sums(gradients, pixels, mean)  # of g, and of g (x - mean)
        product = product * ctx.inverse_std
        grad_weight = None if weight is None else product.to(weight.dtype)
        grad_bias = None if bias is None else total.to(bias.dtype)
        if not ctx.needs_input_grad[0]:
            return None, None, None, grad_weight, grad_bias, None, None, None
        if ctx.reduce is not None:
            total, product = ctx.reduce(torch.stack([total, product]))
        # The gradient of x is a g + b x + c, with factors a, b and c for each channel.
        a = ctx.inverse_std if weight is None else ctx.inverse_std * weight.double()
        b = -a * ctx.inverse_std * product / ctx.count
        c = -a * total / ctx.count - b * mean
        a, b, c = (t.to(_accumulator(x)).repeat(_pixels_per_row(pixels)) for t in (a, b, c))
        grad_x = torch.empty_like(x.movedim(1, -1), memory_format=torch.contiguous_format)
        rows = max(1, _CHUNK // len(c))
        chunks = zip(*(_blocks(t, rows) for t in (grad_x.view(pixels.shape), gradients, pixels)), strict=True)
        for out, gradient_block, pixel_block in chunks:
            width = out.shape[1]
            result = torch.addcmul(c[:width], pixel_block, b[:width], out=out if x.dtype == c.dtype else None)
            result.addcmul_(gradient_block, a[:width])
            if result is not out:
                out.copy_(result)
        return grad_x.movedim(-1, 1), None, None, grad_weight, grad_bias, None, None, None


normalise: Callable[..., torch.Tensor] = _Normalise.apply


def _pixels(x: torch.Tensor) -> torch.Tensor:
    """View (N, C, ...) as a contiguous matrix (M, C); a copy unless the layout is channels last."""
    return x.movedim(1, -1).reshape(-1, x.shape[1]).contiguous()


def _accumulator(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _column_sums(a: torch.Tensor, b: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums over pixels of `a` and of a (b - mean), float64 (C,), for a and b (M, C) and mean (C,)."""
    a, b = _precise(a), _precise(b)
    channels = a.shape[1]
    rounded = mean.to(_accumulator(a))
    means = rounded.repeat(_pixels_per_row(a))
    ones = torch.ones_like(means)
    block_sums = []
    rows = _rows_to_add(a)
    for a_block, b_block in zip(_blocks(a, rows), _blocks(b, rows), strict=True):
        width = a_block.shape[1]
        # One pass of PyTorch's kernel, whose gradients of weight and bias are these sums.
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            _as_map(a_block), _as_map(b_block), ones[:width], None, None, means[:width], ones[:width],
            True, 0.0, [False, True, True],
        )  # fmt: skip
        block_sums.append(torch.stack([sums, products]))
    total, product = torch.cat(block_sums, 1).double().view(2, -1, channels).sum(1)
    return total, product - total * (mean - rounded)


def _precise(pixels: torch.Tensor) -> torch.Tensor:
    """Convert small maps to float64: it costs nothing, and rounding errors do not average out over few blocks."""
    return pixels.double() if pixels.numel() <= _SMALL else pixels


def _pixels_per_row(pixels: torch.Tensor) -> int:
    """Return how many neighbouring pixels of (M, C) a row of a block holds."""
    return max(1, _ROW // pixels.shape[1])


def _rows_to_add(pixels: torch.Tensor) -> int:
    """Return the number of rows of a block of (M, C): few enough for PyTorch's kernels to sum in float32."""
    return min(_ROWS, max(_ROWS // 16, len(pixels) // _pixels_per_row(pixels) // 8))


def _blocks(pixels: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """Cut (M, C) into blocks (rows, B * C), with B pixels in a row; the remaining pixels are a block with B = 1."""
    per_row = _pixels_per_row(pixels)
    end = len(pixels) // per_row * per_row
    blocks = list(pixels[:end].view(-1, per_row * pixels.shape[1]).split(rows)) if end else []
    return [*blocks, pixels[end:]] if end < len(pixels) else blocks


def _as_map(rows: torch.Tensor) -> torch.Tensor:
    """View (R, C) as the channels-last map (1, C, R, 1)."""
    return rows.t()[None, :, :, None]


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """A BatchNorm module computed by `batch_norm`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, ...) for the same."""
        self._check_input_dim(x)
        training = self.training or self.running_mean is None
        return batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, count_batch(self), self.eps
        )


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` computed by `batch_norm`."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` computed by `batch_norm`."""


def count_batch(norm: nn.modules.batchnorm._BatchNorm) -> float:
    """Count a batch in training, and return its momentum: the weight of the batch in the running statistics."""
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            return 1 / float(norm.num_batches_tracked)
    return norm.momentum or 0.0
