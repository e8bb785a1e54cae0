"""The fast form of a stage of a Dynamic Augmentation Module; the plain form is `dygait.modeling.dam.DynamicStage`.

N sequences, C channels, O output channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from dygait.modeling.export_mode import is_exporting
from dygait.modeling.kernels import winograd
from dygait.modeling.kernels.map_pairs import norm_pair, rectified_sum
from dygait.modeling.layers import channels_last, sum_over_frames, temporal_mean

if TYPE_CHECKING:
    from dygait.modeling.dam import DynamicStage


def fast_stage(stage: DynamicStage, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Return (N, O, S, H, W) for (N, C, S, H, W), which must be zero in padding.

    The global branch and the sum of the others are one convolution. Without gradients the BatchNorms are folded into
    the weights at every call: caching the folded weights would miss changes that PyTorch does not track (`.data`,
    NumPy, collectives), and would save 0.3 to 2 % of a batch's time.
    """
    x = channels_last(x)
    folded = is_exporting() or not (torch.is_grad_enabled() or stage.training or torch.compiler.is_compiling())
    weight, slices, shift = _weights(stage, folded)
    pair = _convolve(x, weight, shift)
    if slices is not None:
        pair = _subtract_mean(pair, temporal_mean(x, lengths), slices, lengths)
    if stage.norm_global is not None and stage.norm_local is not None and not folded:
        pair = norm_pair(pair, stage.norm_global, stage.norm_local, lengths)
    return rectified_sum(pair)


def pointwise(convolution: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """Apply a 1x1x1 convolution to (N, C, S, H, W): on a CPU as a matrix product, which keeps the memory layout."""
    if x.device.type != "cpu":
        return convolution(x)
    return F.linear(channels_last(x).movedim(1, 4), convolution.weight.flatten(1)).movedim(4, 1)


def _weights(stage: DynamicStage, folded: bool) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return the weights of a stage; `folded`: with the BatchNorms of evaluation mode folded into them.

    Returns:
        (2 O, C, 3, 3, 3), the weights of the global branch, and the sum of those of the dynamic and the spatial branch;
        (3 O, C, 3, 3), the time slices of the dynamic branch, which convolve the mean: for the previous frame, the
        frame itself and the next; None where no mean is subtracted;
        (2 O,), the bias of the convolution where BatchNorms are folded, else None.
    """
    global_, dynamic = stage.conv_global.weight, stage.conv_dynamic.weight
    local, shift = dynamic, None
    if stage.conv_spatial is not None:
        spatial = stage.conv_spatial.weight
        local = dynamic + (F.pad(spatial, (0, 0, 0, 0, 1, 1)) if spatial.shape[2] == 1 else spatial)
    if folded and stage.norm_global is not None and stage.norm_local is not None:
        (factor, first), (factor_local, second) = (
            norm.factor_and_shift() for norm in (stage.norm_global, stage.norm_local)
        )
        global_ = global_ * factor.view(-1, 1, 1, 1, 1)
        local, dynamic = (w * factor_local.view(-1, 1, 1, 1, 1) for w in (local, dynamic))
        shift = torch.cat([first, second])
    slices = dynamic.permute(2, 0, 1, 3, 4).flatten(0, 1) if stage.options.dynamic else None
    return torch.cat([global_, local]), slices, shift


def _convolve(x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
    """Convolve (N, C, S, H, W), and return a new tensor (N, 2 O, S, H, W)."""
    if not winograd.is_faster(x, len(weight)):
        return F.conv3d(x, weight, shift, padding=1)
    result = winograd.convolution(x, winograd.transformed(weight))
    if shift is not None:
        result += shift.view(-1, 1, 1, 1)
    return result


def _subtract_mean(
    pair: torch.Tensor, mean: torch.Tensor, slices: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """Subtract the dynamic branch's convolution of the mean (N, C, 1, H, W) from the second map, in place.

    The mean is one map per sequence, so its 3-D convolution is three 2-D convolutions, one for each time slice of the
    weight. The slice for the previous frame does not apply at the first frame, nor that for the next at the last.
    """
    previous, current, following = F.conv2d(mean.squeeze(2), slices, padding=1).chunk(3, 1)
    if is_exporting() and lengths is not None:
        return _subtract_mean_exported(pair, previous, current, following, lengths)
    last = None if lengths is None else (lengths - 1).to(pair.device, non_blocking=True)
    return _SubtractMean.apply(pair, previous + current + following, previous, following, last)


def _subtract_mean_exported(
    pair: torch.Tensor, previous: torch.Tensor, current: torch.Tensor, following: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """`_subtract_mean` without indexing or in-place operations, which not every runtime supports."""
    frames = torch.arange(pair.shape[2], device=pair.device)[None, None, :, None, None]
    last = (lengths.to(pair.device) - 1)[:, None, None, None, None]
    previous, current, following = (x.unsqueeze(2) for x in (previous, current, following))
    mean = previous * (frames > 0) + current + following * (frames != last)
    first, second = pair.chunk(2, 1)
    return torch.cat([first, second - mean], 1)


class _SubtractMean(torch.autograd.Function):
    """Subtract a map from every frame of a pair's second map, and add others to the first and to the last valid frame.

    In place, since no convolution needs the pair again. The explicit backward pass reads the frames once, for their
    sum, and allocates no map per frame.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pair: torch.Tensor,
        everywhere: torch.Tensor,
        at_first: torch.Tensor,
        at_last: torch.Tensor,
        last: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(last)
        if torch.compiler.is_compiling():
            pair = pair.clone()
        else:
            ctx.mark_dirty(pair)
        local = pair[:, everywhere.shape[1] :]
        local -= everywhere.unsqueeze(2)
        local[:, :, 0] += at_first
        if last is None:
            local[:, :, -1] += at_last
        else:
            local[torch.arange(len(pair), device=pair.device), :, last] += at_last
        return pair

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (last,) = ctx.saved_tensors
        local = gradient[:, gradient.shape[1] // 2 :]
        rows = torch.arange(len(local), device=local.device)
        at_last = local[:, :, -1] if last is None else local[rows, :, last]
        return gradient, -sum_over_frames(gradient)[:, -local.shape[1] :], local[:, :, 0], at_last, None
