"""DyGait's backbones: 3-D convolutions around the Dynamic Augmentation Module.

Wang et al., *DyGait: Exploiting Dynamic Representations for High-performance Gait Recognition*, ICCV 2023.
N sequences, C channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dygait.modeling.kernels import winograd
from dygait.modeling.kernels.map_pairs import norm_pair, rectified_sum
from dygait.modeling.layers import (
    FrameBatchNorm,
    LocalTemporalAggregation,
    avoid_two_frames,
    channels_last,
    sum_over_frames,
    temporal_mean,
    zero_padding,
)
from dygait.modeling.registry import BACKBONES

Norm = Literal["none", "batch"]
Form = Literal["fast", "plain"]
Shortcut = Literal["where needed", "always"]
Features = tuple[torch.Tensor, torch.Tensor | None]


class DynamicStage(nn.Module):
    """One stage of a DAM: relu(global) + relu(dynamic + spatial).

    The global branch convolves the features; the dynamic branch convolves their difference from the sequence's temporal
    mean, which keeps what moves; the spatial branch keeps each frame's shape.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        spatial_frames: how many frames the spatial branch sees, 1 or 3; 0: there is no such branch.
        norm: `none`, or `batch`: a BatchNorm on the global branch and one on the sum of the others, before each relu.
        form: `plain` computes what the formula says; `fast` the same with fewer products, and at inference with weights
            that hold the BatchNorms. Parameters are the same for both.
        dynamic: False: the dynamic branch convolves the features themselves. For ablations: all weights and BatchNorms
            stay, so that nothing but the subtraction is missing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_frames: int,
        norm: Norm,
        form: Form = "fast",
        dynamic: bool = True,
    ) -> None:
        super().__init__()
        self.conv_global = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_dynamic = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv_spatial: nn.Conv3d | None = None
        if spatial_frames:
            kernel, padding = (spatial_frames, 3, 3), (spatial_frames // 2, 1, 1)
            self.conv_spatial = nn.Conv3d(in_channels, out_channels, kernel, padding=padding, bias=False)
        self.norm_global = FrameBatchNorm(out_channels) if norm == "batch" else None
        self.norm_local = FrameBatchNorm(out_channels) if norm == "batch" else None
        self.form = form
        self.dynamic = dynamic
        self._prepared: tuple[object, _Weights] | None = None

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return (N, C_out, S, H, W) for (N, C_in, S, H, W), which must be zero in padding."""
        if self.form == "fast":
            return self._fast(channels_last(x), lengths)
        whole, local = self.conv_global(x), self.local_plain(x, lengths)
        if self.norm_global is None or self.norm_local is None:
            return F.relu(whole) + F.relu(local)
        # BatchNorm keeps its input for the backward pass, not its result.
        return torch.relu_(self.norm_global(whole, lengths)) + torch.relu_(self.norm_local(local, lengths))

    def _fast(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        # At inference the BatchNorms are multiplied into the weights, at every call: to keep the products would be to
        # miss changes that PyTorch does not count (`.data`, NumPy, collectives), for 0.3 to 2 % of a batch's time.
        folded = not (torch.is_grad_enabled() or self.training or torch.compiler.is_compiling())
        by_winograd = winograd.pays(x, 2 * self.conv_global.out_channels)
        pair = _branches(x, lengths, self._weights(by_winograd, folded))
        if self.norm_global is not None and self.norm_local is not None and not folded:
            pair = norm_pair(pair, self.norm_global, self.norm_local, lengths)
        return rectified_sum(pair)

    def local_plain(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Return the sum of the dynamic and the spatial branch, as the formula says."""
        moving = zero_padding(x - temporal_mean(x, lengths), lengths) if self.dynamic else x
        local: torch.Tensor = self.conv_dynamic(moving)
        return local if self.conv_spatial is None else local + self.conv_spatial(x)

    def _weights(self, by_winograd: bool, folded: bool) -> _Weights:
        """Return the fast form's weights; `folded`: with the BatchNorms in them, as they are in evaluation mode."""
        whole, dynamic = self.conv_global.weight, self.conv_dynamic.weight
        local, shift = dynamic, None
        if self.conv_spatial is not None:
            spatial = self.conv_spatial.weight
            local = dynamic + (F.pad(spatial, (0, 0, 0, 0, 1, 1)) if spatial.shape[2] == 1 else spatial)
        if folded and self.norm_global is not None and self.norm_local is not None:
            (factor, first), (factor_local, second) = (
                norm.factor_and_shift() for norm in (self.norm_global, self.norm_local)
            )
            whole = whole * factor.view(-1, 1, 1, 1, 1)
            local, dynamic = (w * factor_local.view(-1, 1, 1, 1, 1) for w in (local, dynamic))
            shift = torch.cat([first, second])
        pair = torch.cat([whole, local])
        slices = dynamic.permute(2, 0, 1, 3, 4).flatten(0, 1) if self.dynamic else None
        return _Weights(by_winograd, winograd.transformed(pair) if by_winograd else pair, slices, shift)


class _Weights(NamedTuple):
    """What the fast form convolves with.

    Attributes:
        by_winograd: whether `pair` is filters' values at Winograd's points, or filters (2 O, C, 3, 3, 3).
        pair: the global branch's; after them the dynamic and the spatial branch's together.
        slices: (3 O, C, 3, 3), the dynamic branch's, for the mean: what looks back, at the frame itself, and ahead;
            None where no mean is subtracted.
        shift: (2 O,), to be added, where there is a BatchNorm in the weights.
    """

    by_winograd: bool
    pair: torch.Tensor
    slices: torch.Tensor | None
    shift: torch.Tensor | None = None


def _branches(x: torch.Tensor, lengths: torch.Tensor | None, weights: _Weights) -> torch.Tensor:
    """Return the global branch, and the sum of the dynamic and the spatial one: a new tensor (N, 2 O, S, H, W).

    Both are one convolution, the latter with the summed weights. From it is taken the dynamic branch's view of the
    mean. The mean is one map per sequence, so convolving it takes three 2-D convolutions, one for each time slice of
    the weight. The slice that looks back sees nothing at the first frame, the one that looks ahead nothing at the last.
    """
    if weights.by_winograd:
        pair = winograd.convolution(x, weights.pair)
        if weights.shift is not None:
            pair += weights.shift.view(-1, 1, 1, 1)
    else:
        pair = F.conv3d(x, weights.pair, weights.shift, padding=1)
    if weights.slices is None:
        return pair
    of_mean = F.conv2d(temporal_mean(x, lengths).squeeze(2), weights.slices, padding=1)
    back, here, ahead = of_mean.chunk(3, 1)
    last = None if lengths is None else (lengths - 1).to(x.device, non_blocking=True)
    return _LessMean.apply(pair, back + here + ahead, back, ahead, last)


class _LessMean(torch.autograd.Function):
    """Subtract a map from every frame of a pair's second map, less so from the first frame and from the last valid one.

    Changes the pair itself, which no convolution needs again. Written out, so that backward passes over the frames
    once, for their sum, and makes no map for every frame.
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


class DynamicAugmentation(nn.Module):
    """The Dynamic Augmentation Module (DAM): two stages and a shortcut.

    The authors' release adds unlike numbers of channels, which cannot run: here the shortcut is a convolution there
    (docs/fidelity.md).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        norm: as in `DynamicStage`.
        form: as in `DynamicStage`.
        checkpointing: in training keep only the input, and compute the rest again in the backward pass.
        dynamic: as in `DynamicStage`.
        spatial: False: no stage has a spatial branch.
        shortcut: `where needed`: a 1x1x1 convolution where the numbers of channels differ, else the identity; `always`:
            the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm = "none",
        form: Form = "fast",
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: Shortcut = "where needed",
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.stage1 = DynamicStage(in_channels, out_channels, 1 if spatial else 0, norm, form, dynamic)
        self.stage2 = DynamicStage(out_channels, out_channels, 3 if spatial else 0, norm, form, dynamic)
        projected = shortcut == "always" or in_channels != out_channels
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1, bias=False) if projected else nn.Identity()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C_out, S, H, W), zero in padding, for (N, C_in, S, H, W), which must be zero in padding."""
        if self.checkpointing and torch.is_grad_enabled():
            found: torch.Tensor = checkpoint(
                self._compute, x, lengths, use_reentrant=False,
                context_fn=lambda: (nullcontext(), _statistics_as_they_are(self)),
            )  # fmt: skip
            return found
        return self._compute(x, lengths)

    def _compute(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        between = zero_padding(self.stage1(x, lengths), lengths)
        return zero_padding(self.stage2(between, lengths) + self._pass_by(x), lengths)

    def _pass_by(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.shortcut, nn.Identity) or self.stage1.form == "plain" or x.device.type != "cpu":
            found: torch.Tensor = self.shortcut(x)
            return found
        # One matrix product over all pixels; PyTorch's convolution may leave the layout.
        return F.linear(channels_last(x).movedim(1, 4), self.shortcut.weight.flatten(1)).movedim(4, 1)


@contextmanager
def _statistics_as_they_are(module: nn.Module) -> Iterator[None]:
    """Compute again without counting the batch again in the running statistics of BatchNorms."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


def _halve(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool3d(x, (1, 2, 2))


@BACKBONES.register("DyGaitDeep")
class DeepBackbone(nn.Module):
    """DAM(1, c0), pool, DAM(c0, c1), LTA(c1), DAM(c1, c2), pool, DAM(c2, c3), DAM(c3, c3).

    Args:
        channels: [c0, c1, c2, c3].
        norm: as in `DynamicStage`.
        form: as in `DynamicStage`.
        checkpointing: as in `DynamicAugmentation`.
        dynamic: as in `DynamicStage`.
        spatial: as in `DynamicAugmentation`.
        shortcut: as in `DynamicAugmentation`.
    """

    depth = 4
    pools = 2

    def __init__(
        self,
        channels: Sequence[int],
        norm: Norm = "none",
        form: Form = "fast",
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: Shortcut = "where needed",
    ) -> None:
        super().__init__()
        c0, c1, c2, c3 = channels
        dam = partial(
            DynamicAugmentation, norm=norm, form=form, checkpointing=checkpointing, dynamic=dynamic, spatial=spatial,
            shortcut=shortcut,
        )  # fmt: skip
        self.dam0 = dam(1, c0)
        self.dam1 = dam(c0, c1)
        self.lta = LocalTemporalAggregation(c1)
        self.dam2 = dam(c1, c2)
        self.dam3 = dam(c2, c3)
        self.dam4 = dam(c3, c3)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c3, S // 3, H // 4, W // 4) and its lengths for (N, 1, S, H, W), S at least 3."""
        x = _halve(self.dam0(x, lengths))
        x, lengths = avoid_two_frames(*self.lta(self.dam1(x, lengths), lengths))
        x = _halve(self.dam2(x, lengths))
        return self.dam4(self.dam3(x, lengths), lengths), lengths


@BACKBONES.register("DyGaitShallow")
class ShallowBackbone(nn.Module):
    """Conv3d(1, c0) + LeakyReLU, LTA(c0), DAM(c0, c1), pool, DAM(c1, c2), DAM(c2, c2).

    Args:
        channels: [c0, c1, c2].
        norm: as in `DynamicStage`; the first convolution has none.
        form: as in `DynamicStage`.
        checkpointing: as in `DynamicAugmentation`.
        dynamic: as in `DynamicStage`.
        spatial: as in `DynamicAugmentation`.
        shortcut: as in `DynamicAugmentation`.
    """

    depth = 3
    pools = 1

    def __init__(
        self,
        channels: Sequence[int],
        norm: Norm = "none",
        form: Form = "fast",
        checkpointing: bool = False,
        dynamic: bool = True,
        spatial: bool = True,
        shortcut: Shortcut = "where needed",
    ) -> None:
        super().__init__()
        c0, c1, c2 = channels
        dam = partial(
            DynamicAugmentation, norm=norm, form=form, checkpointing=checkpointing, dynamic=dynamic, spatial=spatial,
            shortcut=shortcut,
        )  # fmt: skip
        self.form = form
        self.conv0 = nn.Conv3d(1, c0, 3, padding=1, bias=False)
        self.lta = LocalTemporalAggregation(c0)
        self.dam0 = dam(c0, c1)
        self.dam1 = dam(c1, c2)
        self.dam2 = dam(c2, c2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        """Return (N, c2, S // 3, H // 2, W // 2) and its lengths for (N, 1, S, H, W), S at least 3."""
        first = F.leaky_relu(self.conv0(channels_last(x) if self.form == "fast" else x), 0.01)
        x, lengths = avoid_two_frames(*self.lta(first, lengths))
        x = _halve(self.dam0(x, lengths))
        return self.dam2(self.dam1(x, lengths), lengths), lengths
