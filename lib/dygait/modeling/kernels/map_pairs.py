"""Operations on two maps in one tensor, the output of one convolution with two sets of filters.

Channels 0 to O - 1 are the first map's, O to 2 O - 1 the second's. N sequences, S frames, H x W pixels; `lengths` as in
`dygait.modeling.layers`. An operation on both is one pass over memory: on a CPU the passes between convolutions take a
fifth of the time of the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from dygait.modeling.kernels.batch_norm import BatchNorm3d, batch_norm
from dygait.modeling.layers import FrameBatchNorm, has_channels_last, over_valid_frames


def norm_pair(
    pair: torch.Tensor, first: FrameBatchNorm, second: FrameBatchNorm, lengths: torch.Tensor | None
) -> torch.Tensor:
    """Apply a BatchNorm to each map: (N, 2 O, S, H, W) to the same; the values of padded frames are undefined."""
    norms = (first.norm, second.norm)
    training = norms[0].training
    if any(not isinstance(n, BatchNorm3d) or n.momentum is None or n.training != training for n in norms):
        halves = zip((first, second), pair.chunk(2, 1), strict=True)  # mostly SyncBatchNorm
        return torch.cat([norm(half, lengths) for norm, half in halves], 1)
    weight, bias, mean, variance = (
        torch.cat([getattr(norm, name) for norm in norms]) for name in ("weight", "bias", "running_mean", "running_var")
    )

    def joint_norm(x: torch.Tensor) -> torch.Tensor:
        return batch_norm(x, mean, variance, weight, bias, training, norms[0].momentum or 0.0, norms[0].eps)

    result = over_valid_frames(joint_norm, pair, lengths if training else None)
    if training:
        with torch.no_grad():
            for name, joint in (("running_mean", mean), ("running_var", variance)):
                for norm, half in zip(norms, joint.chunk(2), strict=True):
                    getattr(norm, name).copy_(half)
            for norm in norms:
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked.add_(1)
    return result


def rectified_sum(pair: torch.Tensor) -> torch.Tensor:
    """Return relu(first) + relu(second): (N, 2 O, S, H, W) to (N, O, S, H, W)."""
    if torch.compiler.is_compiling():
        first, second = pair.chunk(2, 1)
        return F.relu(first) + F.relu(second)
    return _RectifiedSum.apply(pair)


class _RectifiedSum(torch.autograd.Function):
    """Saves the pair for backward instead of two rectified maps, and allocates no intermediate map."""

    @staticmethod
    def forward(ctx: Any, pair: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(pair)
        first, second = pair.chunk(2, 1)
        layout = torch.channels_last_3d if has_channels_last(pair) else torch.contiguous_format
        result = torch.empty_like(first, memory_format=layout)
        for piece in _pieces(pair):
            torch.clamp(first[piece], min=0, out=result[piece])
            result[piece] += second[piece].clamp(min=0)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (pair,) = ctx.saved_tensors
        result = torch.empty_like(pair)
        for half, grad_input in zip(pair.chunk(2, 1), result.chunk(2, 1), strict=True):
            torch.ops.aten.threshold_backward(gradient, half, 0, grad_input=grad_input)
        return result


def _pieces(x: torch.Tensor) -> list[slice]:
    """Return the slices of sequences to compute at a time: on a CPU one sequence, which stays in the cache."""
    return [slice(n, n + 1) for n in range(len(x))] if x.device.type == "cpu" else [slice(None)]
