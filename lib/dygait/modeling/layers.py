"""The layers of gait networks, exact on padded batches.

N sequences, C channels, S frames, H x W pixels, P parts (horizontal strips), K classes. `lengths` (N,) is the number of
valid frames of each sequence, or None: all have S. A layer that mixes frames sees zeros beyond the end of a sequence,
as a convolution does at the end of an unpadded one; so a sequence has the same embedding alone and in a batch.

`lengths` stay on the host, which can read them without waiting for a GPU; masks and indices are computed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from dygait.modeling.export_mode import is_exporting
from dygait.modeling.kernels.batch_norm import BatchNorm3d

# What PyTorch's convolutions in bfloat16 can train on: at least so many frames of maps of at least so many pixels.
_LEAST_FRAMES = 8
_LARGE_MAP = 2048


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Convert a floating-point tensor to float32, unless it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return (F, C, H, W) or (N, C, S, H, W) in the fastest memory layout: channels last on a CPU.

    PyTorch's operations keep the layout, so that only the first map of a network is copied.
    """
    if x.device.type != "cpu" or is_exporting():
        return x
    if x.shape[1] == 1:  # both layouts are identical in memory: only set the strides of channels last
        return x.squeeze(1).contiguous().unsqueeze(-1).movedim(-1, 1)
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


def has_channels_last(x: torch.Tensor) -> bool:
    """Return whether (F, C, H, W) or (N, C, S, H, W) is channels last in memory."""
    layout = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return not is_exporting() and x.is_contiguous(memory_format=layout)


def valid_frames(lengths: torch.Tensor, frames: int, device: torch.device | None = None) -> torch.Tensor:
    """Return a mask of the valid frames, bool (N, S), on a device; None: that of the lengths."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None]).to(device, non_blocking=True)


def valid_indices(lengths: torch.Tensor, frames: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return the indices (sequence, frame) of the F valid frames, (F,) each, on a device.

    They select the same frames as the mask of `valid_frames`, indexing with which would synchronise a GPU.
    """
    indices = valid_frames(lengths, frames).nonzero(as_tuple=True)
    return tuple(index.to(device, non_blocking=True) for index in indices)


def zero_padding(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Set padded frames to zero: (N, C, S, H, W) to the same."""
    if lengths is None:
        return x
    return x * valid_frames(lengths, x.shape[2], x.device)[:, None, :, None, None].to(x.dtype)


def temporal_mean(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Average over the valid frames of each sequence: (N, C, S, H, W), zero in padding, to (N, C, 1, H, W)."""
    count = x.shape[2] if lengths is None else lengths[:, None, None, None, None].to(x, non_blocking=True)
    return sum_over_frames(x).unsqueeze(2) / count


def sum_over_frames(x: torch.Tensor) -> torch.Tensor:
    """Sum the frames, (N, C, S, H, W) to (N, C, H, W); output and gradient keep the memory layout."""
    # The compiler chooses layouts itself, and that of PyTorch 2.4 fails if the backward pass requests one.
    if torch.compiler.is_compiling() or not has_channels_last(x):
        return x.sum(2)
    return x.movedim(1, 4).sum(1).movedim(3, 1)


def temporal_max(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Take the maximum over the valid frames of each sequence: (N, C, S, H, W) to (N, C, H, W).

    The first of equal values gets the gradient; `amax` would distribute it, in several passes over all frames.
    """
    if lengths is not None:
        valid = valid_frames(lengths, x.shape[2], x.device)[:, None, :, None, None]
        x = torch.where(valid, x, -torch.inf)  # `masked_fill` would change the layout
    if is_exporting() or torch.compiler.is_compiling():
        return x.amax(2)
    if x.device.type == "cpu" and has_channels_last(x):  # pooling is vectorised for this layout, `max` is not
        return F.max_pool3d(x, (x.shape[2], 1, 1)).squeeze(2)
    return x.max(2).values


def whole_sequences(
    silhouettes: torch.Tensor, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prepare silhouettes (N, S, H, W) for networks that convolve over time: zero in padding, at least three frames.

    Returns silhouettes and lengths, in which shorter sequences are repeated: one frame three times, two frames as
    a, b, a, b.
    """
    frames, device = silhouettes.shape[1], silhouettes.device
    if lengths is None:
        return (silhouettes.repeat(1, 3 if frames == 1 else 2, 1, 1) if frames < 3 else silhouettes), None
    if not is_exporting() and frames >= 4 and int(lengths.min()) >= 3:
        return silhouettes * valid_frames(lengths, frames, device)[:, :, None, None], lengths
    repeated = torch.where(lengths == 1, 3, torch.where(lengths == 2, 4, lengths))
    target = frames if is_exporting() else max(frames, int(repeated.max()))  # exported for four frames or more
    index = torch.arange(target, device=lengths.device)[None]
    source = torch.where(lengths[:, None] < 3, index % lengths[:, None], index.clamp(max=frames - 1))
    source = source.to(device, non_blocking=True)[:, :, None, None].expand(-1, -1, *silhouettes.shape[2:])
    return silhouettes.gather(1, source) * valid_frames(repeated, target, device)[:, :, None, None], repeated


def avoid_few_frames(x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pad maps of few frames (N, C, S, H, W), where PyTorch cannot train on so few.

    On a CPU in bfloat16, PyTorch (at least 2.13) returns uninitialised memory as the weight gradient of a 3-D
    convolution over exactly two frames, and, where the CPU has AMX (2.14), wrong values, of any size, over fewer than
    eight frames of large maps: seen for 64 x 44 pixels or more. The padding changes no result, since every layer knows
    the true lengths.
    """
    frames = x.shape[2]
    if not torch.is_autocast_enabled("cpu") or x.device.type != "cpu" or not torch.is_grad_enabled():
        return x, lengths
    least = _LEAST_FRAMES if x.shape[3] * x.shape[4] >= _LARGE_MAP else 3 if frames == 2 else 1
    if frames >= least:
        return x, lengths
    lengths = torch.full((len(x),), frames) if lengths is None else lengths
    return F.pad(x, (0, 0, 0, 0, 0, least - frames)), lengths


def over_valid_frames(
    norm: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """Apply a norm to (N, C, S, H, W) with the statistics of valid frames; the result is zero in padding."""
    if lengths is None:
        return norm(x)
    frames = x.movedim(1, -1)  # contiguous in channels last
    valid = valid_indices(lengths, x.shape[2], x.device)
    normed = norm(frames[valid].movedim(-1, 1).unsqueeze(2)).squeeze(2).movedim(1, -1)
    return frames.new_zeros(frames.shape, dtype=normed.dtype).index_put(valid, normed).movedim(-1, 1)


class FrameBatchNorm(nn.Module):
    """BatchNorm3d with the statistics of valid frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm3d(channels)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C, S, H, W) for the same; the values of padded frames are undefined."""
        return over_valid_frames(self.norm, x, lengths if self.training else None)

    def factor_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factor (C,) and the shift (C,) that the layer applies to channels in evaluation mode."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        factor = self.norm.weight * (variance + self.norm.eps).rsqrt()
        return factor, self.norm.bias - mean * factor


class LocalTemporalAggregation(nn.Module):
    """Merge every three frames into one: Conv3d (3, 1, 1) with stride 3, LeakyReLU(0.01).

    Lin et al., *Gait Recognition via Effective Global-Local Feature Representation and Local Temporal Aggregation*,
    ICCV 2021. One or two remaining frames at the end are dropped.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(3, 1, 1), bias=False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (N, C, S // 3, H, W), zero in padding, and floor(lengths / 3) for (N, C, S, H, W) and lengths >= 3."""
        lengths = None if lengths is None else lengths // 3
        return zero_padding(F.leaky_relu(self.conv(x), 0.01), lengths), lengths


class SeparateFCs(nn.Module):
    """A separate fully connected layer, without bias, for each part.

    Initialised as in other gait code: Xavier uniform over the (P, C_in, C_out) tensor, whose fans are larger than those
    of one part. Initial distances between embeddings are then of the order of the triplet margin; with fans by part
    they are several times larger, and training first reduces them for hundreds of iterations (docs/fidelity.md).
    """

    def __init__(self, parts_num: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.fc_bin = nn.Parameter(torch.empty(parts_num, in_channels, out_channels))
        nn.init.xavier_uniform_(self.fc_bin)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C_out, P) for (N, C_in, P)."""
        return torch.einsum("ncp,pco->nop", x, self.fc_bin)


class SeparateBNNecks(nn.Module):
    """A BNNeck for each part: BatchNorm over C x P jointly, then cosine logits against normalised class weights.

    Luo et al., *Bag of Tricks and a Strong Baseline for Deep Person Re-identification*, CVPRW 2019, by part.

    Args:
        part_weights: factors of the parts in the returned features, scaled to a mean of 1; None: 1. Logits ignore them.
    """

    part_weights: torch.Tensor | None

    def __init__(
        self, parts_num: int, in_channels: int, class_num: int, part_weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        weights = None if part_weights is None else torch.tensor(part_weights) * len(part_weights) / sum(part_weights)
        self.register_buffer("part_weights", weights, persistent=False)
        self.bn1d = nn.BatchNorm1d(in_channels * parts_num)
        self.fc_bin = nn.Parameter(torch.empty(parts_num, in_channels, class_num))
        nn.init.xavier_uniform_(self.fc_bin)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosine logits (N, K, P) in -1..1 and normalised, weighted features (N, C, P) for (N, C, P)."""
        features = self.features(x)
        return self.logits(features), features if self.part_weights is None else features * self.part_weights

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features (N, C, P) after BatchNorm, each part of length 1, from which logits are computed."""
        n, c, p = x.shape
        return F.normalize(self.bn1d(x.reshape(n, c * p)).reshape(n, c, p), dim=1)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return cosine logits (N, K, P) for the result of `features` (N, C, P)."""
        if is_exporting():
            return torch.einsum("ncp,pck->nkp", features, F.normalize(self.fc_bin, dim=1))
        return _Cosines.apply(features.permute(2, 0, 1), self.fc_bin).permute(1, 2, 0)


class _Cosines(torch.autograd.Function):
    """Cosines (P, N, K) of unit vectors (P, N, C) with the columns of a weight (P, C, K).

    The products are divided by the lengths of the columns, instead of normalising the columns: for GREW a normalised
    copy of the weight has 317 million elements, and so has its gradient. Backward allocates only the gradient itself.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        x, factor = x.to(dtype), torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp(min=1e-12).reciprocal()
        rounded = weight.to(dtype)
        cosines = torch.bmm(x, rounded).to(weight.dtype)
        # PyTorch 2.11 compiles a forward pass that changes its result in place to one whose gradient is zero.
        cosines = cosines * factor if torch.compiler.is_compiling() else cosines.mul_(factor)
        ctx.save_for_backward(x, weight, rounded, factor, cosines)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, rounded, factor, cosines = ctx.saved_tensors
        scaled = (gradient * factor).to(x.dtype)
        grad_x = torch.bmm(scaled, rounded.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = torch.bmm(x.transpose(1, 2), scaled).to(weight.dtype)
            projection = (gradient * cosines).sum(1, keepdim=True) * factor.square()
            grad_weight.addcmul_(weight, projection, value=-1)  # a longer column has the same cosine
        return grad_x, grad_weight


def mean_of_windows(features: torch.Tensor, owners: torch.Tensor, sequences: int) -> torch.Tensor:
    """Average the features of the windows of each of N sequences: the direction of their mean, with their mean length.

    The mean itself would be shorter the more the windows differ, and a short feature is close to all others. Parts of
    length 1, as from BNNecks, keep length 1.

    Args:
        features: (W, C, P) of W windows.
        owners: long (W,), index of the sequence of each window, 0 to N - 1.
        sequences: N, of which (N, C, P) are returned.
    """
    zeros = features.new_zeros(sequences, features.shape[1] + 1, features.shape[2])
    lengths = features.norm(dim=1, keepdim=True)
    sums = zeros.index_add_(0, owners.to(features.device), torch.cat([features, lengths], 1))
    total, length = sums[:, :-1], sums[:, -1:]
    counts = torch.bincount(owners, minlength=sequences).to(features)[:, None, None]
    return F.normalize(total, dim=1) * (length / counts)


def initialise(model: nn.Module) -> None:
    """Initialise as OpenGait does: convolutions and linear layers Xavier uniform, BatchNorm weights N(1, 0.02)."""
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
