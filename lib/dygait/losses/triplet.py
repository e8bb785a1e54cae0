"""The batch-all triplet loss, per part."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from dygait.losses.base import LOSSES, Loss, Statistics


def pairwise_distance(x: torch.Tensor) -> torch.Tensor:
    """Return Euclidean distances (P, N, N) of embeddings (P, N, C), with a gradient of zero where a distance is zero.

    They are computed from the Gram matrix, which is one batched product. The first embedding is subtracted from all,
    since rounding errors of the squared norms would otherwise exceed the distances between close embeddings, as at the
    start of training. (Subtracting the mean would make equal distances unequal.) Squared distances below a few rounding
    errors of the squared norms are set to zero, so that equal embeddings have distance zero and no gradient.
    """
    x = x - x[:, :1].detach()
    squared = (x * x).sum(2)
    gram = torch.matmul(x, x.transpose(1, 2))
    sums = squared.unsqueeze(2) + squared.unsqueeze(1)
    difference = sums - 2 * gram
    meaningful = ~(difference <= sums * (8 * torch.finfo(x.dtype).eps))  # written so that NaN stays NaN
    return torch.where(meaningful, difference, 1.0).sqrt() * meaningful


class _Violations(torch.autograd.Function):
    """Sum relu(d(a, p) - d(a, n) + margin) over all triplets of a part, and count those above zero.

    The N^3 triplets are never stored: the negatives of an anchor are sorted, a binary search counts those nearer than a
    positive plus the margin, and a cumulative sum gives the sum of their distances. The gradient of a distance is the
    number of triplets in which it is the positive, minus those in which it is the negative.
    """

    @staticmethod
    def forward(
        ctx: Any, distance: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return total and count, each (P,), for distances (P, N, N) and masks (N, N)."""
        reach = distance + margin
        nearest_first = distance.masked_fill(~negative, torch.inf).sort(2).values
        positive_counts = torch.searchsorted(nearest_first, reach) * positive
        # In float64: the difference of two sums over many distances may be small.
        cumulative = F.pad(nearest_first.masked_fill(nearest_first == torch.inf, 0).double().cumsum(2), (1, 0))
        sums = positive_counts * reach.double() - cumulative.gather(2, positive_counts)
        total = torch.where(positive, sums, 0).sum((1, 2)).to(distance.dtype)
        reaches = reach.masked_fill(~positive, -torch.inf).sort(2).values
        negative_counts = (distance.shape[2] - torch.searchsorted(reaches, distance, right=True)) * negative
        ctx.save_for_backward((positive_counts - negative_counts).to(distance.dtype))
        count = positive_counts.sum((1, 2))
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (counts,) = ctx.saved_tensors
        return counts * gradient[:, None, None], None, None, None


@LOSSES.register("TripletLoss")
class TripletLoss(Loss):
    """relu(d(a, p) - d(a, n) + margin) over all triplets of a part, averaged over those above zero.

    Hermans et al., *In Defense of the Triplet Loss for Person Re-Identification*, 2017; by part: Chao et al.,
    *GaitSet*, AAAI 2019. By default an anchor counts as its own positive, as in the code of published results.

    Args:
        margin: how much farther than the positive the negative must be.
        exclude_self: whether to exclude an anchor from its own positives.
    """

    reads = "embeddings"
    needs_whole_batch = True
    prefix = "triplet"

    def __init__(self, margin: float = 0.2, exclude_self: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.exclude_self = exclude_self

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the mean over parts of the mean over non-zero triplets of a part (zero if it has none).

        Takes embeddings (N, C, P) and labels (N,), any integers. The statistics are means over parts: `hard_loss` (the
        farthest positive and the nearest negative of each anchor), `loss_num` (non-zero triplets), `mean_dist`.
        """
        distance = pairwise_distance(outputs.permute(2, 0, 1))
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device) if self.exclude_self else same
        total, count = _Violations.apply(distance, positive, ~same, self.margin)
        loss = (total / count.clamp(min=1)).mean()
        with torch.no_grad():
            farthest = distance.masked_fill(~positive, -torch.inf).amax(2)
            nearest = distance.masked_fill(same, torch.inf).amin(2)
            hard = F.relu(farthest - nearest + self.margin).nan_to_num(0.0, 0.0, 0.0)
            loss_num = count.to(distance.dtype).mean()
            statistics = {"hard_loss": hard.mean(), "loss_num": loss_num, "mean_dist": distance.mean()}
        return loss, statistics
